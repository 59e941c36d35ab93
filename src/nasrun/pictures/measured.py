"""Pictures of what `nasrun analyze` measures on searches and trainings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from nasrun.pictures.figure import COLOURS, INK, blank, count_along, dress, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nasrun.stage import Metrics

DrawPanel = Callable[["Axes"], None]
LINES = ("-", "--", ":")
"""Styles that tell curves apart when the colours begin again."""


def search(
    record: Mapping[str, Any],
    metrics: Sequence[Metrics],
    operations: Mapping[str, Sequence[int]],
    path: Path,
) -> None:
    """Draw a search's measurements: strengths, skips, and over rounds operations and sharpness.

    `operations` has the number of edges per operation and round. Panels without data are left out.
    """
    drawings: list[DrawPanel] = []
    if record["strengths"]:
        drawings.append(lambda axes: _strengths(axes, record["strengths"]))
    if record["skip_against_parametric"]:
        drawings.append(lambda axes: _skips(axes, record["skip_against_parametric"]))
    if operations:
        drawings.append(lambda axes: _operations(axes, operations))
    if any("skip_share" in round for round in metrics):
        drawings.append(lambda axes: _watched(axes, metrics))
    if not drawings:
        return
    columns = min(2, len(drawings))
    rows = -(-len(drawings) // columns)
    figure = blank(6.5 * columns, 4.2 * rows, w_pad=0.15, h_pad=0.15)
    for place, drawing in enumerate(drawings, 1):
        drawing(figure.add_subplot(rows, columns, place))
    figure.suptitle(f"verdict: {record['verdict']}", color=INK)
    save(figure, path, dpi=110)


def _strengths(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the accuracy discretised to an operation over its probability, a line per edge."""
    edges = list(dict.fromkeys(row["edge"] for row in rows))
    for edge, colour in zip(edges, cycle(COLOURS), strict=False):
        own = sorted((row for row in rows if row["edge"] == edge), key=lambda r: r["probability"])
        p = [row["probability"] for row in own]
        strength = [100 * row["accuracy_discretised"] for row in own]
        axes.plot(p, strength, "o-", color=colour, label=edge, lw=0.8, ms=5)
    dress(axes, "Strength of operations", "probability")
    axes.set_ylabel("accuracy discretised, %", color=INK)
    if len(edges) <= 8:
        axes.legend(frameon=False, labelcolor=INK, fontsize=8)


def _skips(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    places = range(len(rows))
    for key, name, colour, shift in (
        ("skip", "skip connection", COLOURS[1], -0.2),
        ("parametric", "likeliest operation with weights", COLOURS[0], 0.2),
    ):
        values = [row[key] for row in rows]
        axes.barh([p + shift for p in places], values, height=0.4, color=colour, label=name)
    size = 8 if len(rows) <= 20 else 5
    axes.set_yticks(places, [row["edge"] for row in rows], fontsize=size)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    dress(axes, "Skip connections against weights", "probability")
    axes.grid(visible=False, axis="y")
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="lower center", ncols=2,
                bbox_to_anchor=(0.5, -0.32))  # fmt: skip


def _operations(axes: Axes, operations: Mapping[str, Sequence[int]]) -> None:
    from matplotlib.ticker import MaxNLocator

    styles = [(colour, line) for line in LINES for colour in COLOURS]
    for (name, counts), (colour, line) in zip(operations.items(), cycle(styles), strict=False):
        axes.plot(range(1, len(counts) + 1), counts, line, color=colour, label=name, lw=1.8)
    dress(axes, "Operations of the architecture", "round")
    axes.set_ylabel("edges", color=INK)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    count_along(axes)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)


def _watched(axes: Axes, metrics: Sequence[Metrics]) -> None:
    """Draw the watchdog's shares, and the eigenvalue if it was logged, on an axis of its own."""
    looked = [record for record in metrics if "skip_share" in record]  # not those that explore
    rounds = [record["round"] for record in looked]
    handles = []
    for key, name, colour in (
        ("skip_share", "skip connections, worst cell type", COLOURS[1]),
        ("free_share", "operations without weights", COLOURS[5]),
    ):
        values = [100 * record[key] for record in looked]
        handles += axes.plot(rounds, values, color=colour, label=name, lw=1.8)
    dress(axes, "What the watchdog sees, and sharpness", "round")
    axes.set_ylabel("%", color=INK)
    count_along(axes)
    points = [(r["round"], r["alpha_eigenvalue"]) for r in metrics if "alpha_eigenvalue" in r]
    if points:
        right = axes.twinx()
        name = "largest eigenvalue of the Hessian"
        handles += right.plot(*zip(*points, strict=True), "--", color=COLOURS[0], label=name)
        right.set_ylabel("eigenvalue", color=COLOURS[0])
        right.spines["top"].set_visible(False)
        right.spines[["left", "right", "bottom"]].set_color("#999999")
        right.tick_params(color="#999999", labelcolor=COLOURS[0])
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "ncols": 2}
    axes.legend(handles=handles, frameon=False, labelcolor=INK, fontsize=8, **below)


def convergence(record: Mapping[str, Any], measures: Mapping[str, str], path: Path) -> None:
    """Draw test losses and accuracies over epochs, and two measures over the width of the cells.

    A line is the mean of an architecture's seeds, its band one standard deviation; trainings that
    diverged, whose curves are shorter, are left out. Colours are widths, and styles tell
    architectures of equal width apart.
    """
    rows = record["rows"]
    figure = blank(12, 8.5, w_pad=0.15, h_pad=0.15)
    (losses, accuracies), below = figure.subplots(2, 2)
    colours = _colours([row["width"] for row in rows])
    styles: dict[float, int] = {}
    for row in rows:
        place = styles[row["width"]] = styles.get(row["width"], -1) + 1
        style, name = LINES[place % len(LINES)], f"{row['name']} ({row['width']:g}c)"
        for axes, key, scale in ((losses, "loss", 1.0), (accuracies, "accuracy", 100.0)):
            whole = [curve for curve in row["curves"] if len(curve) == record["epochs"]]
            curves = [[scale * epoch[key] for epoch in curve] for curve in whole]
            _band(axes, curves, style, colours[row["width"]], name)
    for axes, title, unit in (
        (losses, "Test loss", "cross entropy"),
        (accuracies, "Test accuracy", "%"),
    ):
        dress(axes, title, "epoch")
        axes.set_ylabel(unit, color=INK)
        count_along(axes)
    if len(rows) <= 14:
        accuracies.legend(frameon=False, labelcolor=INK, fontsize=7, loc="lower right")
    for axes, key, scale in zip(below, ("area", "accuracy"), (1.0, 100.0), strict=True):
        for row in rows:
            of = row["measures"][key]
            if of["mean"] is not None:
                axes.errorbar(
                    *(row["width"], scale * of["mean"]),
                    yerr=scale * (of["std"] or 0.0),
                    fmt="o",
                    color=colours[row["width"]],
                    capsize=3,
                )
        rho = record["correlations"]["width"][key]["spearman"]
        told = "" if rho is None else f", rank correlation {rho:+.2f}"
        dress(axes, f"{measures[key].capitalize()}{told}", "width, c")
        axes.set_ylabel("cross entropy" if key == "area" else "%", color=INK)
    save(figure, path, dpi=110)


def _colours(values: Sequence[float]) -> dict[float, Any]:
    """Return a colour per value, dark for small and light for large values."""
    from matplotlib import colormaps

    distinct = sorted(set(values))
    scale = colormaps["viridis"]
    return {v: scale(0.85 * n / max(1, len(distinct) - 1)) for n, v in enumerate(distinct)}


def _band(
    axes: Axes, curves: Sequence[Sequence[float]], style: str, colour: Any, name: str
) -> None:
    """Draw the mean of curves, and a band of one standard deviation around it."""
    columns = [*zip(*curves, strict=True)]
    epochs = range(1, len(columns) + 1)
    means = [fmean(column) for column in columns]
    spreads = [stdev(column) if len(column) > 1 else 0.0 for column in columns]
    marker = "o" if len(columns) == 1 else ""
    axes.plot(epochs, means, style, color=colour, label=name, lw=1.5, marker=marker)
    low, high = ([m + sign * s for m, s in zip(means, spreads, strict=True)] for sign in (-1, 1))
    axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)


def landscapes(record: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw contours, surfaces and the line of a record of landscapes; return the pictures."""
    drawn = []
    if record["planes"]:
        drawn += [folder / "contours.png", folder / "surfaces.png"]
        _contours(record, drawn[0])
        _surfaces(record, drawn[1])
    if "line" in record:
        drawn.append(folder / "line.png")
        _line(record["line"], drawn[-1])
    return drawn


KINDS = (("loss", "loss"), ("variance", "gradient variance"))
"""What is drawn of a grid, with its title."""


def _logarithms(record: Mapping[str, Any], key: str) -> list[Any]:
    """Return the decimal logarithms of each solution's grid; what is not finite is left out."""
    import numpy as np

    grids = [np.array(plane["grids"][key], dtype=float) for plane in record["planes"]]
    return [np.ma.masked_invalid(np.log10(np.maximum(grid, 1e-12))) for grid in grids]


def _contours(record: Mapping[str, Any], path: Path) -> None:
    """Draw a row of contours per quantity; all solutions share its levels."""
    import numpy as np

    planes, places = record["planes"], record["places"]
    figure = blank(4.2 * len(planes) + 1.2, 8.2, w_pad=0.1, h_pad=0.12)
    for row, (key, title) in enumerate(KINDS):
        grids = _logarithms(record, key)
        low, high = min(grid.min() for grid in grids), max(grid.max() for grid in grids)
        levels = np.linspace(low, high if high > low else low + 1, 25)
        every = []
        for place, (plane, grid) in enumerate(zip(planes, grids, strict=True), 1):
            axes = figure.add_subplot(2, len(planes), row * len(planes) + place)
            filled = axes.contourf(places, places, grid, levels=levels, cmap="viridis")
            axes.contour(places, places, grid, levels=levels[::3], colors="white", linewidths=0.4)
            axes.plot(0, 0, "+", color="white", markersize=9)
            dress(axes, f"{plane['name']}: {title}", "x", size=10)
            axes.set_ylabel("y", color=INK)
            axes.set_aspect("equal")
            axes.grid(visible=False)
            every.append(axes)
        bar = figure.colorbar(filled, ax=every, shrink=0.85)
        bar.set_label(f"log10 of {title}", color=INK)
    save(figure, path, dpi=110)


def _surfaces(record: Mapping[str, Any], path: Path) -> None:
    """Draw a surface per solution and quantity; all solutions share its heights."""
    import numpy as np

    planes, places = record["planes"], np.array(record["places"])
    x, y = np.meshgrid(places, places)
    figure = blank(4.6 * len(planes) + 0.6, 8.4, w_pad=0.1, h_pad=0.1)
    for row, (key, title) in enumerate(KINDS):
        grids = _logarithms(record, key)
        low, high = min(grid.min() for grid in grids), max(grid.max() for grid in grids)
        for place, (plane, grid) in enumerate(zip(planes, grids, strict=True), 1):
            axes: Any = figure.add_subplot(
                2, len(planes), row * len(planes) + place, projection="3d"
            )
            heights = grid.filled(np.nan)
            axes.plot_surface(x, y, heights, cmap="viridis", vmin=low, vmax=high, linewidth=0)
            axes.set_zlim(low, high if high > low else low + 1)
            name = f"{plane['name']}: log10 of {title}"
            axes.set_title(name, fontsize=10, fontweight="bold", color=INK)
            axes.tick_params(labelsize=7)
            axes.set_xlabel("x", fontsize=8, color=INK)
            axes.set_ylabel("y", fontsize=8, color=INK)
            axes.view_init(elev=30, azim=-55)
    save(figure, path, dpi=110)


def _line(line: Mapping[str, Any], path: Path) -> None:
    """Draw loss, accuracy and gradient variance on the line through two solutions."""
    import math

    figure = blank(12, 4, w_pad=0.15)
    for axes, (key, title, scale) in zip(
        figure.subplots(1, 3),
        (("loss", "Loss", 1.0), ("accuracy", "Accuracy, %", 100.0),
         ("variance", "Gradient variance", 1.0)),
        strict=True,
    ):  # fmt: skip
        known = [point[key] for point in line["points"]]
        values = [math.nan if value is None else scale * value for value in known]
        axes.plot(line["steps"], values, "o-", color=COLOURS[0], ms=4)
        for t, name in zip((0, 1), line["ends"], strict=True):
            axes.axvline(t, color=COLOURS[1], lw=0.8, ls="--")
            axes.text(t, 1.0, name, transform=axes.get_xaxis_transform(), rotation=90,
                      va="top", ha="right", fontsize=7, color=INK)  # fmt: skip
        dress(axes, title, "share of the way")
        if key == "variance" and all(value > 0 for value in values):
            axes.set_yscale("log")
    save(figure, path, dpi=110)
