"""Tables that fit the console: no word is broken, so that a path in a cell can be copied."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import wrap
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nasrun.shown import shown

SHORT = 14
"""Width up to which a cell is never split, such as numbers with their units."""
BETWEEN = 2
"""Columns between two cells of a table without lines."""
BOX = 3
"""Columns that lines need per cell."""
UNKNOWN = ("", "-", "–")
"""Cells without information."""
NUMBER = re.compile(r"(< )?[~±+−-]?\.?\d")
"""The beginning of a number."""
TableRow = tuple[str, ...]
Side = Literal["left", "right"]


@dataclass(frozen=True)
class Exhibit:
    """A table of results, for the screen or for a page."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def table(
    console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Print a table without markup, with columns of numbers to the right.

    If its words do not fit side by side, it has no lines; if they still do not, first cells get
    their own lines; else every row becomes a record.
    """
    cells = [tuple("\n".join(map(shown, str(x).split("\n"))) for x in row) for row in rows]
    if title:
        console.print(Text(shown(title), "bold"))
    width = console.width
    sides = _sides(columns, cells)
    if widths := _fitting(columns, cells, width - BOX * len(columns) - 1):
        console.print(_drawn(columns, cells, widths, sides, lines=True))
    elif widths := _fitting(columns, cells, width - BETWEEN * (len(columns) - 1)):
        console.print(_drawn(columns, cells, widths, sides))
    elif len(columns) > 2 and (widths := _fitting_below(columns, cells, width)):
        _print_below(console, columns, cells, widths, sides[1:])
    else:
        _print_records(console, columns, cells)


def _fitting(columns: Sequence[str], cells: Sequence[TableRow], width: int) -> list[int] | None:
    """Return widths of columns that break no word, or `None` if they do not fit.

    Spare width goes first to the columns that need least to have every cell on one line, or to all
    columns alike, whichever makes the lower table.
    """
    texts = list(zip(columns, *cells, strict=True))
    whole = [max(cell_len(line) for text in each for line in text.split("\n")) for each in texts]
    least = [
        full if full <= SHORT else max((cell_len(w) for x in each for w in x.split()), default=0)
        for each, full in zip(texts, whole, strict=True)
    ]
    left = width - sum(least)
    if left < 0:
        return None
    widths = list(least)
    for place in sorted(range(len(whole)), key=lambda place: whole[place] - least[place]):
        more = min(left, whole[place] - least[place])
        widths[place] += more
        left -= more

    def capped(cap: int) -> list[int]:
        return [min(full, max(few, cap)) for full, few in zip(whole, least, strict=True)]

    def height(widths: Sequence[int]) -> int:
        wrapped = ([wrap(x, max(1, w)) for x, w in zip(row, widths, strict=True)] for row in cells)
        return sum(max(map(len, row)) for row in wrapped)

    alike = max(cap for cap in range(width + 1) if sum(capped(cap)) <= width)
    return min(widths, capped(alike), key=height)


def is_numeric(cell: str) -> bool:
    """Return whether a cell reads as a number, maybe with its unit, or tells nothing."""
    return cell in UNKNOWN or NUMBER.match(cell) is not None


def _sides(columns: Sequence[str], cells: Sequence[TableRow]) -> list[Side]:
    """Return the side of every column: names, which come first, and texts stand to the left."""
    return [
        "right" if place > 0 and all(is_numeric(row[place]) for row in cells) else "left"
        for place in range(len(columns))
    ]


def _drawn(
    columns: Sequence[str],
    cells: Sequence[TableRow],
    widths: Sequence[int],
    sides: Sequence[Side],
    *,
    lines: bool = False,
    head: bool = True,
) -> Table:
    drawn = Table(show_header=head) if lines else _plain(head)
    for column, width, side in zip(columns, widths, sides, strict=True):
        drawn.add_column(Text(column), justify=side, width=width)
    for row in cells:
        drawn.add_row(*map(Text, row))
    return drawn


def _plain(head: bool) -> Table:
    return Table(box=None, show_header=head, pad_edge=False, padding=(0, BETWEEN, 0, 0))


def _fitting_below(
    columns: Sequence[str], cells: Sequence[TableRow], width: int
) -> list[int] | None:
    """Return the widths of all columns except the first, which is printed above."""
    beside = width - BETWEEN - BETWEEN * (len(columns) - 2)
    return _fitting(columns[1:], [row[1:] for row in cells], beside)


def _print_below(
    console: Console,
    columns: Sequence[str],
    cells: Sequence[TableRow],
    widths: Sequence[int],
    sides: Sequence[Side],
) -> None:
    """Print first cells on their own lines, consecutive equal ones once, and the others below."""
    from rich.padding import Padding

    others = columns[1:]
    console.print(Text(columns[0], "bold"))
    console.print(Padding(_drawn(others, [], widths, sides), (0, 0, 0, BETWEEN)))
    for name, rows in groupby(cells, key=lambda row: row[0]):
        console.print(Text(name), soft_wrap=True)
        below = _drawn(others, [row[1:] for row in rows], widths, sides, head=False)
        console.print(Padding(below, (0, 0, 0, BETWEEN)))


def _print_records(console: Console, columns: Sequence[str], cells: Sequence[TableRow]) -> None:
    """Print first cells on their own lines, consecutive equal ones once.

    The other cells follow below, each after the name of its column.
    """
    for name, rows in groupby(cells, key=lambda row: row[0]):
        console.print(Text(name, "bold"), soft_wrap=True)
        for row in rows:
            known = [
                pair for pair in zip(columns[1:], row[1:], strict=True) if pair[1] not in UNKNOWN
            ]
            texts = [" ".join((*column.split(), *cell.split())) for column, cell in known]
            for line in _flowing(texts, console.width - BETWEEN):
                console.print(Text(" " * BETWEEN + line), soft_wrap=True)


def _flowing(parts: Sequence[str], width: int) -> Iterator[str]:
    """Yield the parts on as few lines as possible; longer parts are broken between words."""
    line = ""
    for part in parts:
        longer = f"{line}  {part}" if line else part
        if line and cell_len(longer) > width:
            yield line
            longer = part
        *full, line = wrap(longer, width, break_long_words=False, break_on_hyphens=False) or [""]
        yield from full
    if line:
        yield line
