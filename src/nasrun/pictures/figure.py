"""The look of all pictures: a blank figure, its axes, and its file.

Only matplotlib's objects are used, no pyplot: nothing global changes and no display is needed.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#333333"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Colours that differ without red or green (Okabe and Ito, Color Universal Design, 2008)."""


def blank(
    width: float, height: float, *, w_pad: float | None = None, h_pad: float | None = None
) -> Figure:
    """Return a white figure of this size in inches, whose axes make room for their labels."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    air = ConstrainedLayoutEngine(w_pad=w_pad, h_pad=h_pad)
    return Figure(figsize=(width, height), layout=air, facecolor="white")


def dress(axes: Axes, title: str, along: str, size: float = 11) -> None:
    """Give axes a title, a label along x, a grid, and no frame above and on the right."""
    from matplotlib.ticker import ScalarFormatter

    axes.set_title(title, loc="left", fontsize=size, fontweight="bold", color=INK)
    for axis in (axes.xaxis, axes.yaxis):
        formatter = axis.get_major_formatter()
        if isinstance(formatter, ScalarFormatter):  # ticks show numbers in full, without an offset
            formatter.set_useOffset(False)
            formatter.set_scientific(False)
    axes.set_xlabel(along, color=INK)
    axes.grid(color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(color="#999999", labelcolor=INK)


def count_along(axes: Axes) -> None:
    """Put ticks along x at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def place_of(path: Path) -> str:
    """Return the stage folder of a picture, from the name of the run on; empty outside of runs."""
    folder = path.absolute().parent
    run = next((each for each in (folder, *folder.parents) if (each / "run.json").is_file()), None)
    return "" if run is None else folder.relative_to(run.parents[1]).as_posix()


def save(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure, whole or not at all, in the format of the path's suffix.

    A plot of a run has the name of its stage below it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if figure.get_layout_engine() is not None and (place := place_of(path)):
        figure.supxlabel(place, x=0.99, ha="right", fontsize=8, color="#777777")
    picture = BytesIO()
    figure.savefig(picture, format=path.suffix[1:], **options)
    write_whole(path, lambda file: file.write(picture.getbuffer()))
