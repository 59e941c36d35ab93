"""Curves of a stage's metrics over its rounds, one PNG a stage.

Only matplotlib's objects are used, no pyplot: nothing global changes and no display is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nasrun.stage import Metrics

INK = "#333333"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Distinguishable without red or green (Okabe and Ito, Color Universal Design, 2008)."""
MOST_MARKERS = 60
"""Rounds up to which every one gets a marker; denser, the markers would hide the line."""


def search_curves(metrics: list[Metrics], path: Path, groups: Sequence[str] = ()) -> None:
    """Draw how a search went: losses, accuracies, entropies and edges that changed.

    `groups` are the cell types whose entropies (nats) are drawn. A panel without data is left out,
    and without any data no file is written.
    """
    _draw(search_panels(groups), metrics, path)


def retrain_curves(metrics: list[Metrics], path: Path) -> None:
    """Draw how the training of a network went: losses, accuracy and learning rate."""
    _draw(retrain_panels(), metrics, path)


@dataclass(frozen=True)
class Panel:
    """One pair of axes; `curves` maps a metric to its name in the legend, `scale` multiplies."""

    title: str
    unit: str
    curves: Mapping[str, str]
    scale: float = 1.0

    def among(self, metrics: list[Metrics]) -> bool:
        """Whether any round has one of the curves."""
        return any(key in record for record in metrics for key in self.curves)


LOSSES = Panel(
    "Loss",
    "cross entropy",
    {"train_loss": "train", "alpha_loss": "alpha", "validation_loss": "validation"},
)
ACCURACIES = Panel(
    "Accuracy",
    "%",
    {"validation_accuracy": "validation", "best_validation_accuracy": "best so far"},
    scale=100.0,
)


def search_panels(groups: Sequence[str]) -> list[Panel]:
    """What `search_curves` draws where there is data."""
    entropies = {"_".join(filter(None, ("entropy", group))): group for group in groups}
    return [
        LOSSES,
        ACCURACIES,
        Panel("Entropy of the architecture", "nats", entropies),
        Panel("Edges whose strongest operation changed", "edges", {"changed_edges": ""}),
    ]


def retrain_panels() -> list[Panel]:
    """What `retrain_curves` draws where there is data."""
    return [LOSSES, ACCURACIES, Panel("Learning rate", "", {"lr": ""})]


def _draw(panels: list[Panel], metrics: list[Metrics], path: Path) -> None:
    figure = draw_panels(panels, metrics)
    if figure.axes:
        save(figure, path, dpi=120)


def draw_panels(panels: list[Panel], metrics: list[Metrics]) -> Figure:
    """A figure of those panels that have data, at most two in a row."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    shown = [panel for panel in panels if panel.among(metrics)]
    columns = 1 if len(shown) < 3 else 2
    air = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(10, 7), layout=air, facecolor="white")
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
    _dress(axes, panel)
    # Every panel spans all rounds, so that what happened at the same time stands in one column.
    rounds = [record["round"] for record in metrics]
    margin = max(0.5, 0.02 * (max(rounds) - min(rounds)))
    axes.set_xlim(min(rounds) - margin, max(rounds) + margin)


def lineage(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw a population over its intervals: scores, who came from whom, and whose genes are left.

    A record of `history` has the members' `scores` in an interval, the `births` after it, and each
    first member's share of all decisions, `founders`.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    air = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(10, 7), layout=air, facecolor="white")
    above, below = figure.subplots(2, 1)
    rounds = range(1, len(history) + 1)
    for slot in range(len(history[0]["scores"])):
        starts = [0] + [
            place + 1
            for place, past in enumerate(history)
            if any(birth["child"] == slot for birth in past["births"])
        ]
        for start, end in pairwise([*starts, len(history)]):
            lived = [_finite(past["scores"][slot]) for past in history[start:end]]
            above.plot(rounds[start:end], lived, color="#BBBBBB", lw=1, marker=".", ms=4)
    for place, past in enumerate(history[:-1]):
        for birth in past["births"]:
            ends = past["scores"][birth["base"]], history[place + 1]["scores"][birth["child"]]
            above.plot(rounds[place : place + 2], [*map(_finite, ends)], color=COLOURS[0], lw=0.8)
    best = [max((s for s in past["scores"] if math.isfinite(s)), default=0) for past in history]
    above.plot(rounds, best, color=COLOURS[1], lw=2, label="best")
    above.plot([], [], color="#BBBBBB", marker=".", label="member")
    above.plot([], [], color=COLOURS[0], lw=0.8, label="base parent to child")
    scores = sorted(_finite(s) for past in history for s in past["scores"])
    known = [score for score in scores if not math.isnan(score)]
    if known:  # one that diverged must not flatten the others
        low, high = known[len(known) // 10], known[-1]
        margin = 0.05 * (high - low) or 1.0
        above.set_ylim(low - margin, high + margin)
    _dress(above, Panel("Scores of the population", "", {"best": "best"}))
    shares = list(zip(*(past["founders"] for past in history), strict=True))
    below.stackplot(rounds, *([100 * share for share in founder] for founder in shares))
    _dress(below, Panel("Decisions by the first member that they come from", "%", {}))
    save(figure, path, dpi=120)


def returns(episodes: Sequence[Sequence[float]], path: Path) -> None:
    """Draw (step, return) of training episodes, and the mean of every tenth of them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.plot(*zip(*episodes, strict=True), ".", ms=3, color="#BBBBBB") if episodes else None
    size = max(1, len(episodes) // 10)
    parts = [episodes[start : start + size] for start in range(0, len(episodes), size)]
    means = [[sum(column) / len(part) for column in zip(*part, strict=True)] for part in parts]
    axes.plot([step for step, _ in means], [mean for _, mean in means], color=COLOURS[0], lw=1.8)
    _dress(axes, Panel("Return of a training episode, with exploration", "", {}))
    axes.set_xlabel("environment steps", color=INK)
    save(figure, path, dpi=120)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _dress(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel("round", color=INK)
    axes.set_ylabel(panel.unit, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.grid(color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(color="#999999", labelcolor=INK)
    if any(panel.curves.values()):
        axes.legend(frameon=False, labelcolor=INK)


def save(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure at once, never half of it; the format is that of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
    figure.savefig(draft, format=path.suffix[1:], **options)
    draft.replace(path)
