"""Curves of a stage's metrics over its rounds, one PNG a stage, and bars of a selection's events.

Only matplotlib's objects are used, no pyplot: nothing global changes and no display is needed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun.files import write_whole

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


def event_scores(
    scores: Sequence[Mapping[str, Any]], path: Path, measure: str, nodes: Collection[str]
) -> None:
    """Draw the decisions of a selection in order, a panel each: how much is lost by each masking.

    `scores` are the records of `scores.json`, of what `measure` says. A bar is the distance from
    the trial that lost least, on one axis for all. The outcome of a subject among `nodes` is what
    is removed, of any other what stays. Without any record no file is written.
    """
    if not scores:
        return
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.patches import Patch

    columns = min(4, len(scores))
    rows = math.ceil(len(scores) / columns)
    air = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    size = 3.4 * columns, 1.7 * rows + 0.8
    figure = Figure(figsize=size, layout=air, facecolor="white")
    label, scale = LOST.get(measure, (f"{measure} lost", 1.0))
    lost = [_lost(record["scores"], scale) for record in scores]
    most = max((loss for row in lost for loss in row if math.isfinite(loss)), default=0.0) or 1e-3
    longest = max(map(len, lost))
    for position, (record, row) in enumerate(zip(scores, lost, strict=True)):
        axes = figure.add_subplot(rows, columns, position + 1)
        stays = record["subject"] not in nodes
        fates = [(name == record["outcome"]) == stays for name in record["scores"]]
        _draw_event(axes, record, [min(loss, 1.1 * most) for loss in row], fates)
        axes.set_ylim(longest - 0.5, -0.5)
        axes.set_xlim(-0.05 * most, 1.15 * most)
        if position + columns >= len(scores):
            axes.set_xlabel(label, fontsize=7, color=INK)
        if position % columns == 0:
            axes.set_ylabel("masked", fontsize=7, color=INK)
    names = {True: "stays in the network", False: "is removed"}
    figure.legend(
        handles=[Patch(color=FATES[fate], label=name) for fate, name in names.items()],
        loc="outside upper left",
        ncols=2,
        frameon=False,
        labelcolor=INK,
    )
    save(figure, path, dpi=100)


LOST = {
    "accuracy": ("accuracy lost, percentage points", 100.0),
    "loss": ("loss gained", 1.0),
    "probability": ("probability above the least", 1.0),
}
"""What the distance from the best score of an event is, and the factor that makes it so."""
FATES = {True: COLOURS[0], False: COLOURS[5]}
"""What stays and what is removed, of operations and of edges alike."""


def _lost(scores: Mapping[str, float], scale: float) -> list[float]:
    """How far each score is below the best one; infinitely far if it is no number."""
    best = max((score for score in scores.values() if math.isfinite(score)), default=0.0)
    return [
        scale * (best - score) if math.isfinite(score) else math.inf for score in scores.values()
    ]


def _draw_event(
    axes: Axes, record: Mapping[str, Any], lost: Sequence[float], fates: Sequence[bool]
) -> None:
    places, colours = range(len(lost)), [FATES[fate] for fate in fates]
    axes.barh(places, lost, color=colours, height=0.5)
    axes.scatter(lost, places, color=colours, s=18, zorder=2)  # where there is no length to see
    axes.set_yticks(places, list(record["scores"]), fontsize=7)
    axes.locator_params(axis="x", nbins=4)
    title = f"{record['event']}: {record['subject']}"
    _dress(axes, title, "", size=8)
    axes.tick_params(labelsize=7)
    axes.grid(visible=False, axis="y")


def size_frontier(
    rounds: Sequence[tuple[int, float]], best: Sequence[tuple[int, float]], path: Path
) -> None:
    """Draw a search's rounds as (parameters, accuracy) and the ones that no other beats."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(6, 4.5), layout=ConstrainedLayoutEngine(), facecolor="white")
    axes = figure.add_subplot()
    for points, colour, name, line in (
        (rounds, COLOURS[4], "every round", ""),
        (best, COLOURS[1], "frontier", "-"),
    ):
        sizes, accuracies = ([p[0] / 1e6 for p in points], [100 * p[1] for p in points])
        axes.plot(sizes, accuracies, color=colour, label=name, marker="o", linestyle=line)
    _dress(axes, "Supernet accuracy over the size of the derived network", "parameters, million")
    axes.set_ylabel("%", color=INK)
    axes.legend(frameon=False, labelcolor=INK)
    save(figure, path, dpi=120)


def shrinking_space(
    alive: Mapping[str, Sequence[int]],
    metrics: Sequence[Metrics],
    timing: Sequence[Metrics],
    limit: float | None,
    path: Path,
) -> None:
    """Draw how a space was pruned: every decision's choices by round, rewards, and memory in GiB.

    `alive` has a decision's number of choices in every round; `timing` the measured memory, `limit`
    the allowed one, null for none.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import MaxNLocator

    height = 0.25 * len(alive) + 5
    air = ConstrainedLayoutEngine(h_pad=0.1)
    figure = Figure(figsize=(8, height), layout=air, facecolor="white")
    layers, rewards, memory = figure.subplots(3, 1, sharex=True, height_ratios=[height - 4, 2, 2])
    table = list(alive.values())
    rounds = len(table[0])
    extent = (0.5, rounds + 0.5, len(table) - 0.5, -0.5)
    most = max(max(row) for row in table)
    image = layers.imshow(table, aspect="auto", cmap="cividis", vmin=0, vmax=most, extent=extent)
    layers.set_yticks(range(len(table)), list(alive), fontsize=7)
    figure.colorbar(image, ax=layers, ticks=MaxNLocator(integer=True))
    _dress(layers, "Choices alive by decision", "")
    layers.grid(visible=False)
    for axes, title, unit, curves in (
        (rewards, "Reward of drawn paths", "%", {"reward": ("", metrics, 100.0)}),
        (
            memory,
            "Memory",
            "GiB",
            {
                "predicted_memory_gib": ("predicted for the supernet", metrics, 1.0),
                "memory_gib": ("measured, the process's peak so far", timing, 1.0),
            },
        ),
    ):
        for (key, (name, records, scale)), colour in zip(curves.items(), COLOURS, strict=False):
            points = [(r["round"], scale * r[key]) for r in records if key in r]
            if points:
                axes.plot(*zip(*points, strict=True), "o", color=colour, label=name, markersize=4)
        _dress(axes, title, "round" if axes is memory else "")
        axes.set_ylabel(unit, color=INK)
    if limit is not None:
        memory.axhline(limit, color=INK, linestyle="--", linewidth=1, label="the budget")
    memory.set_ylim(bottom=0)
    memory.legend(frameon=False, labelcolor=INK, fontsize=8)
    save(figure, path, dpi=120)


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
    """What `search_curves` draws where there is data."""
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
        Panel("Reward of drawn paths", "%", {"reward": ""}, scale=100.0),
        Panel(
            "Choices of a decision",
            "mean",
            {"alive_choices": "alive", "kept_choices": "in the supernet"},
        ),
        Panel("Predicted memory", "GiB", {"predicted_memory_gib": ""}),
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
    from matplotlib.ticker import MaxNLocator

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
    _dress(axes, panel.title, "round")
    axes.set_ylabel(panel.unit, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    if any(panel.curves.values()):
        axes.legend(frameon=False, labelcolor=INK)
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
    from matplotlib.ticker import MaxNLocator

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
    _dress(above, "Scores of the population", "interval")
    above.legend(frameon=False, labelcolor=INK)
    shares = list(zip(*(past["founders"] for past in history), strict=True))
    below.stackplot(rounds, *([100 * share for share in founder] for founder in shares))
    _dress(below, "Decisions by the first member that they come from", "interval")
    below.set_ylabel("%", color=INK)
    for axes in (above, below):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
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
    _dress(axes, "Return of a training episode, with exploration", "environment steps")
    save(figure, path, dpi=120)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _dress(axes: Axes, title: str, along: str, size: float = 11) -> None:
    from matplotlib.ticker import ScalarFormatter

    axes.set_title(title, loc="left", fontsize=size, fontweight="bold", color=INK)
    for axis in (axes.xaxis, axes.yaxis):
        formatter = axis.get_major_formatter()
        if isinstance(formatter, ScalarFormatter):  # a tick says its whole number
            formatter.set_useOffset(False)
            formatter.set_scientific(False)
    axes.set_xlabel(along, color=INK)
    axes.grid(color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(color="#999999", labelcolor=INK)


def place_of(path: Path) -> str:
    """The stage that a picture is of, from its run's family on; empty outside of runs."""
    folder = path.absolute().parent
    run = next((each for each in (folder, *folder.parents) if (each / "run.json").is_file()), None)
    return "" if run is None else folder.relative_to(run.parents[1]).as_posix()


def save(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure at once, never half of it; the format is that of the path's suffix.

    Below a plot stands the stage that it is of.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if figure.get_layout_engine() is not None and (place := place_of(path)):
        figure.supxlabel(place, x=0.99, ha="right", fontsize=8, color="#777777")
    picture = BytesIO()
    figure.savefig(picture, format=path.suffix[1:], **options)
    write_whole(path, lambda file: file.write(picture.getbuffer()))
