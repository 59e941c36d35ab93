"""Curves of a stage's metrics over its rounds, in one file per stage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from nasrun.pictures.figure import COLOURS, INK, blank, count_along, dress, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nasrun.stage import Metrics

MOST_MARKERS = 60
"""With more rounds there are no markers, which would hide the line."""


def search_curves(metrics: list[Metrics], path: Path, groups: Sequence[str] = ()) -> None:
    """Draw a search over its rounds: losses, accuracies, entropies, changed edges and more.

    `groups` are the cell types whose entropies (nats) are drawn. Panels without data are left out;
    without any data no file is written.
    """
    _draw(search_panels(groups), metrics, path)


def retrain_curves(metrics: list[Metrics], path: Path) -> None:
    """Draw the training of a network over its epochs: losses, accuracy and learning rate."""
    _draw(retrain_panels(), metrics, path)


@dataclass(frozen=True)
class Panel:
    """One pair of axes; `curves` maps a metric to its name in the legend, `scale` multiplies it."""

    title: str
    unit: str
    curves: Mapping[str, str]
    scale: float = 1.0

    def among(self, metrics: list[Metrics]) -> bool:
        """Return whether any round has one of the curves."""
        return any(key in record for record in metrics for key in self.curves)


LOSSES = Panel(
    "Loss",
    "cross entropy",
    {
        "train_loss": "train",
        "alpha_loss": "alpha",
        "penalty": "penalty",
        "validation_loss": "validation",
    },
)
ACCURACIES = Panel(
    "Accuracy",
    "%",
    {"validation_accuracy": "validation", "best_validation_accuracy": "best so far"},
    scale=100.0,
)


def search_panels(groups: Sequence[str]) -> list[Panel]:
    """Return the panels of `search_curves`, including those without data."""
    entropies = {"_".join(filter(None, ("entropy", group))): group for group in groups}
    return [
        LOSSES,
        ACCURACIES,
        Panel("Entropy of the architecture", "nats", entropies),
        Panel("Edges whose strongest operation changed", "edges", {"changed_edges": ""}),
        Panel(
            "Operations without weights",
            "%",
            {"skip_share": "skip connections, worst cell type", "free_share": "all of them"},
            scale=100.0,
        ),
        Panel(
            "Sharpness of the loss in the alphas",
            "eigenvalue",
            {"alpha_eigenvalue": "largest, of the Hessian"},
        ),
        Panel("Reward of drawn paths", "%", {"reward": ""}, scale=100.0),
        Panel(
            "Choices of a decision",
            "mean",
            {"alive_choices": "alive", "kept_choices": "in the supernet"},
        ),
        Panel("Predicted memory", "GiB", {"predicted_memory_gib": ""}),
    ]


def retrain_panels() -> list[Panel]:
    """Return the panels of `retrain_curves`, including those without data."""
    return [LOSSES, ACCURACIES, Panel("Learning rate", "", {"lr": ""})]


def _draw(panels: list[Panel], metrics: list[Metrics], path: Path) -> None:
    figure = draw_panels(panels, metrics)
    if figure.axes:
        save(figure, path, dpi=120)


def draw_panels(panels: list[Panel], metrics: list[Metrics]) -> Figure:
    """Return a figure of the panels that have data, at most two in a row."""
    shown = [panel for panel in panels if panel.among(metrics)]
    columns = 1 if len(shown) < 3 else 2
    figure = blank(10, 7, w_pad=0.12, h_pad=0.12)
    grid = figure.add_gridspec(max(1, math.ceil(len(shown) / columns)), columns)
    for position, panel in enumerate(shown):
        row, column = divmod(position, columns)
        alone = position == len(shown) - 1 and column == 0
        axes = figure.add_subplot(grid[row, :] if alone else grid[row, column])
        _draw_panel(axes, panel, metrics)
    return figure


def _draw_panel(axes: Axes, panel: Panel, metrics: list[Metrics]) -> None:
    for (key, name), colour in zip(panel.curves.items(), cycle(COLOURS), strict=False):
        points = [(record["round"], record[key]) for record in metrics if key in record]
        if not points:
            continue
        axes.plot(
            [round for round, _ in points],
            # A gap shows where training diverged; an infinity would upset the axis instead.
            [panel.scale * value if math.isfinite(value) else math.nan for _, value in points],
            color=colour,
            label=name,
            linewidth=1.8,
            marker="o" if len(points) <= MOST_MARKERS else "",
            markersize=4 if len(points) > 1 else 7,
        )
    dress(axes, panel.title, "round")
    axes.set_ylabel(panel.unit, color=INK)
    count_along(axes)
    if any(panel.curves.values()):
        axes.legend(frameon=False, labelcolor=INK)
    # Each panel spans all rounds, so that the same round is at the same place in all of them.
    rounds = [record["round"] for record in metrics]
    margin = max(0.5, 0.02 * (max(rounds) - min(rounds)))
    axes.set_xlim(min(rounds) - margin, max(rounds) + margin)
