"""Pictures of what one method does: masked choices, sizes, a shrinking space, a population."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun.pictures.figure import COLOURS, INK, blank, count_along, dress, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nasrun.stage import Metrics


def event_scores(
    scores: Sequence[Mapping[str, Any]], path: Path, measure: str, nodes: Collection[str]
) -> None:
    """Draw one panel per decision of a selection, in order: the loss by each masking.

    `scores` are the records of `scores.json`, and `measure` names their scores. The length of a bar
    is the distance from the trial that lost least; all panels have the same axis. The outcome of a
    subject in `nodes` is removed, the outcome of any other subject stays. Without records no file
    is written.
    """
    if not scores:
        return
    from matplotlib.patches import Patch

    columns = min(4, len(scores))
    rows = math.ceil(len(scores) / columns)
    figure = blank(3.4 * columns, 1.7 * rows + 0.8, w_pad=0.08, h_pad=0.08)
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
"""The label of the distance from the best score per measure, and the factor for its unit."""
FATES = {True: COLOURS[0], False: COLOURS[5]}
"""The colours of what stays and of what is removed, whether operations or edges."""


def _lost(scores: Mapping[str, float], scale: float) -> list[float]:
    """Return the distance of each score from the best one; infinite where it is not finite."""
    best = max((score for score in scores.values() if math.isfinite(score)), default=0.0)
    return [
        scale * (best - score) if math.isfinite(score) else math.inf for score in scores.values()
    ]


def _draw_event(
    axes: Axes, record: Mapping[str, Any], lost: Sequence[float], fates: Sequence[bool]
) -> None:
    places, colours = range(len(lost)), [FATES[fate] for fate in fates]
    axes.barh(places, lost, color=colours, height=0.5)
    axes.scatter(lost, places, color=colours, s=18, zorder=2)  # shows a bar of length 0
    axes.set_yticks(places, list(record["scores"]), fontsize=7)
    axes.locator_params(axis="x", nbins=4)
    title = f"{record['event']}: {record['subject']}"
    dress(axes, title, "", size=8)
    axes.tick_params(labelsize=7)
    axes.grid(visible=False, axis="y")


def trade_off(
    points: Sequence[tuple[float, float]],
    best: Sequence[tuple[float, float]],
    path: Path,
    title: str,
    axes_named: tuple[str, str],
    every: str,
) -> None:
    """Draw the points of a search, (cost, merit), and those that no other point beats.

    `axes_named` has the names of cost and merit; `every` says in the legend what the points are.
    """
    figure = blank(6, 4.5)
    axes = figure.add_subplot()
    for drawn, colour, name, line in (
        (points, COLOURS[4], every, ""),
        (best, COLOURS[1], "frontier", "-"),
    ):
        costs, merits = ([point[axis] for point in drawn] for axis in (0, 1))
        axes.plot(costs, merits, color=colour, label=name, marker="o", linestyle=line)
    dress(axes, title, axes_named[0])
    axes.set_ylabel(axes_named[1], color=INK)
    axes.legend(frameon=False, labelcolor=INK)
    save(figure, path, dpi=120)


def widths_and_depths(
    every: Mapping[tuple[float, int], int],
    named: Mapping[tuple[float, int], Sequence[str]],
    of: str,
    path: Path,
) -> None:
    """Draw how many cells of a space have each width (in c) and depth, and where some stand.

    The area of a circle is the share of all.
    """
    figure = blank(7, 4.5)
    axes = figure.add_subplot()
    total = sum(every.values())
    sizes = [4000 * number / total for number in every.values()]
    widths, depths = zip(*every, strict=True)
    axes.scatter(widths, depths, s=sizes, color=COLOURS[4], alpha=0.6, linewidth=0)
    for (width, depth), names in named.items():
        axes.plot(width, depth, "o", color=COLOURS[1], markersize=5)
        axes.annotate(
            "\n".join(names),
            (width, depth),
            xytext=(6, 4),
            textcoords="offset points",
            fontsize=8,
            color=INK,
        )
    dress(axes, f"Widths and depths of all cells: {of}", "width, c")
    axes.margins(0.15)
    axes.set_ylabel("depth, connections", color=INK)
    axes.set_yticks(sorted({depth for _, depth in every}))
    save(figure, path, dpi=120)


def score_scatter(
    panels: Mapping[str, Sequence[tuple[float, float]]], truth: str, path: Path
) -> None:
    """Draw what is true of architectures over their places by each score, a panel per score.

    A place is a share: 1 is the highest score.
    """
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = blank(4 * columns, 3.2 * rows, w_pad=0.12, h_pad=0.12)
    first = None
    for position, (name, points) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, columns, position, sharey=first)
        first = first or axes
        places, true = zip(*points, strict=True)
        axes.plot(places, true, ".", color=COLOURS[0], markersize=3, alpha=0.6)
        dress(axes, name, "place by score, 1 is the highest", size=9)
        if position % columns == 1 or columns == 1:
            axes.set_ylabel(truth, color=INK)
    save(figure, path, dpi=120)


def shrinking_space(
    alive: Mapping[str, Sequence[int]],
    metrics: Sequence[Metrics],
    timing: Sequence[Metrics],
    limit: float | None,
    path: Path,
) -> None:
    """Draw how a space was pruned: choices per decision and round, rewards, and memory in GiB.

    `alive` maps a decision to its number of choices in each round. `timing` holds the measured
    memory; `limit` is the allowed memory, `None` for no limit.
    """
    from matplotlib.ticker import MaxNLocator

    height = 0.25 * len(alive) + 5
    figure = blank(8, height, h_pad=0.1)
    layers, rewards, memory = figure.subplots(3, 1, sharex=True, height_ratios=[height - 4, 2, 2])
    table = list(alive.values())
    rounds = len(table[0])
    extent = (0.5, rounds + 0.5, len(table) - 0.5, -0.5)
    most = max(max(row) for row in table)
    image = layers.imshow(table, aspect="auto", cmap="cividis", vmin=0, vmax=most, extent=extent)
    layers.set_yticks(range(len(table)), list(alive), fontsize=7)
    figure.colorbar(image, ax=layers, ticks=MaxNLocator(integer=True))
    dress(layers, "Choices alive by decision", "")
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
        dress(axes, title, "round" if axes is memory else "")
        axes.set_ylabel(unit, color=INK)
    if limit is not None:
        memory.axhline(limit, color=INK, linestyle="--", linewidth=1, label="the budget")
    memory.set_ylim(bottom=0)
    memory.legend(frameon=False, labelcolor=INK, fontsize=8)
    save(figure, path, dpi=120)


def lineage(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw a population over its intervals: scores, descent, and the shares of the first members.

    A record of `history` has the `scores` of the members in an interval, the `births` after it, and
    `founders`, the share of all decisions that come from each of the first members.
    """
    figure = blank(10, 7, w_pad=0.12, h_pad=0.12)
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
    if known:  # a member that diverged must not flatten the others
        low, high = known[len(known) // 10], known[-1]
        margin = 0.05 * (high - low) or 1.0
        above.set_ylim(low - margin, high + margin)
    dress(above, "Scores of the population", "interval")
    above.legend(frameon=False, labelcolor=INK)
    shares = list(zip(*(past["founders"] for past in history), strict=True))
    below.stackplot(rounds, *([100 * share for share in founder] for founder in shares))
    dress(below, "Decisions by the first member that they come from", "interval")
    below.set_ylabel("%", color=INK)
    for axes in (above, below):
        count_along(axes)
    save(figure, path, dpi=120)


def returns(episodes: Sequence[Sequence[float]], path: Path) -> None:
    """Draw (step, return) of training episodes, and the mean of every tenth of them."""
    figure = blank(8, 4)
    axes = figure.subplots()
    axes.plot(*zip(*episodes, strict=True), ".", ms=3, color="#BBBBBB") if episodes else None
    size = max(1, len(episodes) // 10)
    parts = [episodes[start : start + size] for start in range(0, len(episodes), size)]
    means = [[sum(column) / len(part) for column in zip(*part, strict=True)] for part in parts]
    axes.plot([step for step, _ in means], [mean for _, mean in means], color=COLOURS[0], lw=1.8)
    dress(axes, "Return of a training episode, with exploration", "environment steps")
    save(figure, path, dpi=120)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan
