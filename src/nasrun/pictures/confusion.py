"""The picture of a classifier's answers by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nasrun.pictures.figure import INK, blank, dress, save
from nasrun.shown import shown

MOST_CLASSES = 50
"""With more classes, names and cells would be too small to read, and no picture is drawn."""
MOST_NUMBERS = 20
"""With more classes, cells show their numbers by colour only."""
LONGEST = 24
"""Number of characters of a name that are drawn."""


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], path: Path) -> None:
    """Draw how many images of each class (row) were answered with each class (column).

    The colour of a cell is its share of the row. With more than `MOST_CLASSES` classes, no file is
    written.
    """
    if len(classes) > MOST_CLASSES:
        return
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    side = 2.2 + 0.34 * len(classes)
    figure = blank(side + 0.8, side)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the images of a class")
    places = range(len(classes))
    dress(axes, "Answers by class, test images", "answer")
    names = [shown(name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…") for name in classes]
    axes.set_xticks(places, names, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(places, names, fontsize=8, parse_math=False)
    axes.set_ylabel("class", color=INK)
    axes.grid(visible=False)
    if len(classes) <= MOST_NUMBERS:
        for row, (numbers, parts) in enumerate(zip(counts, shares, strict=True)):
            for column, (count, part) in enumerate(zip(numbers, parts, strict=True)):
                if count:
                    colour = "white" if part > 0.5 else INK
                    axes.text(
                        column, row, str(count), ha="center", va="center", fontsize=7, color=colour
                    )
    save(figure, path, dpi=120)
