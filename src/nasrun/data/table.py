"""Tables of the accuracies of all architectures of a space, such as NAS-Bench-201's (2001.00326).

A CSV file with a header: `architecture` in the space's notation, and accuracies in percent, such as
`cifar10_test_200ep` (test images, after 200 epochs) or `cifar10_val_12ep`. A column
`<data>_test_200ep` has the true accuracies.

A table is for reports: it is read after a genotype is written. Only `evaluators.Tabular` uses it in
a search.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

ARCHITECTURE = "architecture"
TRUE = re.compile(r"(?P<data>\w+)_test_200ep")
VALIDATION = re.compile(r"\w+_val_\d+ep")


class Truth(TypedDict):
    """An architecture's true accuracy on one data set; rank 1 is the best of all `of`."""

    accuracy: float
    rank: int
    of: int


@dataclass(frozen=True)
class Table:
    """`columns[name][architecture]` is an accuracy as a fraction."""

    path: Path
    columns: Mapping[str, Mapping[str, float]]

    @classmethod
    def read(cls, path: Path) -> Table:
        """Read a table from a file; ValueError if it is not a table."""
        columns: dict[str, dict[str, float]] = {
            name: {} for name in filter(_is_accuracy, header(path))
        }
        for text, accuracies in _entries(path):
            for name, accuracy in accuracies.items():
                columns[name][text] = accuracy
        return cls(path, columns)

    def accuracy(self, text: str, column: str) -> float:
        """Return a column's accuracy of an architecture; ValueError without such a row."""
        if text not in self.columns[column]:
            raise ValueError(
                f"table={self.path}: it has no architecture {text}; use a complete table"
            )
        return self.columns[column][text]

    def truth(self, text: str) -> dict[str, Truth]:
        """Return the true accuracies and ranks of an architecture by data set."""
        found = {}
        for name, column in self.columns.items():
            if match := TRUE.fullmatch(name):
                accuracy = self.accuracy(text, name)
                better = sum(other > accuracy for other in column.values())
                found[match["data"]] = Truth(accuracy=accuracy, rank=better + 1, of=len(column))
        return found


def check(path: Path) -> None:
    """Raise ValueError unless all of a file can be read as a table; keep nothing of it."""
    for _ in _entries(path):
        pass


def _entries(path: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield every architecture with its accuracies by column."""
    names = header(path)
    known: set[str] = set()
    rows = _rows(path)
    next(rows)
    for number, values in rows:
        row = dict(zip(names, values, strict=False))
        text, where = row.get(ARCHITECTURE), f"table={path}: line {number}"
        if not text:
            raise ValueError(f"{where} names no architecture")
        if text in known:
            raise ValueError(f"{where} has {text} again")
        known.add(text)
        columns = filter(_is_accuracy, names)
        yield text, {name: _fraction(row.get(name), f"{where}: {name}") for name in columns}


def header(path: Path, *needed: str) -> list[str]:
    """Return the names of a table's columns without reading further.

    Raises ValueError if it is not a table, or lacks a true accuracy or `needed` columns.
    """
    _, names = next(_rows(path), (1, []))
    missing = [name for name in (ARCHITECTURE, *needed) if name not in names]
    if not missing and not any(map(TRUE.fullmatch, names)):
        missing = ["cifar10_test_200ep"]
    if missing:
        found = ", ".join(names).split("\n")[0][:80] or "nothing"
        raise ValueError(f"table={path}: has no column {missing[0]}; its first line is {found}")
    return names


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the non-empty rows with their line numbers; ValueError names the line."""
    line = 0
    if path.is_fifo():  # reading one would wait forever
        raise ValueError(f"table={path}: is a pipe; name a file")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if row:
                    yield line + 1, row
                line = reader.line_num
    except OSError as error:
        raise ValueError(
            f"table={path}: cannot be read ({error.strerror}); `nasrun table` makes one"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"table={path}: byte {error.object[error.start]:#04x} in it is not UTF-8; save it as "
            "UTF-8"
        ) from error
    except csv.Error as error:
        raise ValueError(f"table={path}: line {line + 1}: {error}; look at its quotes") from error


def describe(truth: Mapping[str, Truth]) -> str:
    """Return a line such as: cifar10 94.37%, rank 1 of 15,625."""
    return "; ".join(
        f"{data} {100 * found['accuracy']:.2f}%, rank {found['rank']:,} of {found['of']:,}"
        for data, found in truth.items()
    )


def _is_accuracy(name: str) -> bool:
    return re.fullmatch(r"\w+_(test|val)_\d+ep", name) is not None


def _fraction(text: str | None, where: str) -> float:
    try:
        percent = float(text or "")
    except ValueError as error:
        raise ValueError(f"{where}={text!r}: expected an accuracy in percent") from error
    if not 0 <= percent <= 100:
        raise ValueError(f"{where}={text}: expected an accuracy in percent")
    return percent / 100
