"""Tables of benchmarks: what every architecture of a space reaches, as NAS-Bench-201 (2001.00326).

A CSV file with a header, a row per architecture. `architecture` is the text by which its space
lists it; results are in columns of these names, all others are ignored:

    <data>_<test|val>_<epochs>ep            an accuracy in percent: `cifar10_test_200ep`
    <data>_<test|val>_<epochs>ep_<measure>  another number, larger is better: `normal_val_30ep_ssim`

The true results of a data set are those on test images after the most epochs.

A table is for reports: it is read after a genotype is written. Only `evaluators.Tabular` uses it in
a search.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypedDict

ARCHITECTURE = "architecture"
COLUMN = re.compile(r"(?P<data>\w+)_(?P<split>test|val)_(?P<epochs>[0-9]+)ep(_(?P<measure>\w+))?")
MISNAMED = re.compile(r"(?P<data>\w+)[_-](?P<split>tst|test|val|valid|validation)[_-][0-9]+(ep)?")
"""A name that means a column of results, but does not read as one."""


class Rank(TypedDict):
    """A place among all architectures of a table; rank 1 is the best of all `of`."""

    rank: int
    of: int


class Truth(Rank, total=False):
    """An architecture's true result on one data set: an accuracy, or the value of another measure.

    `epochs` are those of the training; `ties` is the number of others with the same result, if any.
    """

    epochs: int
    accuracy: float
    value: float
    ties: int


@dataclass(frozen=True)
class Measured:
    """A column of results, by its name."""

    name: str
    data: str
    split: str
    epochs: int
    measure: str | None

    @classmethod
    def of(cls, name: str) -> Measured | None:
        """Return the column with a name; `None` if it has no results."""
        if (match := COLUMN.fullmatch(name)) is None:
            return None
        data, split, epochs, measure = match.group("data", "split", "epochs", "measure")
        return cls(name, data, split, int(epochs), measure)

    @property
    def title(self) -> str:
        """Name of the data set, with the measure unless that is accuracy."""
        return self.data if self.measure is None else f"{self.data}/{self.measure}"


@dataclass(frozen=True)
class Table:
    """`columns[name][architecture]` is an accuracy as a fraction, or another measure's number."""

    path: Path
    columns: Mapping[str, Mapping[str, float]]

    @classmethod
    def read(cls, path: Path) -> Table:
        """Read a table from a file; ValueError if it is not a table."""
        columns: dict[str, dict[str, float]] = {each.name: {} for each in columns_of(header(path))}
        for text, results in _entries(path):
            for name, result in results.items():
                columns[name][text] = result
        return cls(path, columns)

    @cached_property
    def true(self) -> dict[str, str]:
        """Names of the columns with true results, by data set."""
        return true_columns(self.columns)

    def accuracy(self, text: str, column: str) -> float:
        """Return a column's result of an architecture; ValueError without such a row."""
        if text not in self.columns[column]:
            raise ValueError(
                f"table={self.path}: it has no architecture {text}; use a complete table"
            )
        return self.columns[column][text]

    def truth(self, text: str) -> dict[str, Truth]:
        """Return the true results and ranks of an architecture by data set."""
        return {title: self._truth(text, name) for title, name in self.true.items()}

    def _truth(self, text: str, name: str) -> Truth:
        result, everyone = self.accuracy(text, name), self.columns[name].values()
        rank = Rank(rank=1 + sum(other > result for other in everyone), of=len(everyone))
        column = Measured.of(name)
        assert column is not None
        if column.measure is None:
            truth = Truth(accuracy=result, **rank, epochs=column.epochs)
        else:
            truth = Truth(value=result, **rank, epochs=column.epochs)
        if ties := sum(other == result for other in everyone) - 1:
            truth["ties"] = ties
        return truth


def columns_of(names: Iterable[str]) -> list[Measured]:
    """Return the columns of results among the names."""
    return [column for column in map(Measured.of, names) if column is not None]


def true_columns(names: Iterable[str]) -> dict[str, str]:
    """Return the names of the columns with true results, by data set."""
    last: dict[str, Measured] = {}
    for column in columns_of(names):
        rival = last.get(column.title)
        if column.split == "test" and (rival is None or rival.epochs < column.epochs):
            last[column.title] = column
    return {title: column.name for title, column in last.items()}


def validation_columns(names: Iterable[str]) -> list[str]:
    """Return the names of the columns that a search may read."""
    return [column.name for column in columns_of(names) if column.split == "val"]


def check(path: Path) -> set[str]:
    """Return the architectures of a table; ValueError unless all of it can be read."""
    return {text for text, _ in _entries(path)}


def _entries(path: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield every architecture with its results by column."""
    names = header(path)
    columns = columns_of(names)
    largest = dict.fromkeys((each.name for each in columns if each.measure is None), 0.0)
    known: set[str] = set()
    rows = _rows(path)
    next(rows)
    for number, values in rows:
        where = f"table={path}: line {number}"
        if len(values) > len(names):
            raise ValueError(
                f"{where} has {len(values)} values, but the first line has {len(names)} names; "
                "remove the others, or quote values that contain a comma"
            )
        row = dict(zip(names, values, strict=False))
        text = row.get(ARCHITECTURE)
        if not text:
            raise ValueError(f"{where} names no architecture; give it one, or remove the line")
        if text in known:
            raise ValueError(f"{where} has {text} again; leave one line per architecture")
        known.add(text)
        results = {each.name: _result(each, row.get(each.name), where) for each in columns}
        for name, found in largest.items():
            largest[name] = max(found, results[name])
        yield text, results
    if not known:
        raise ValueError(f"table={path}: has no architecture below its first line; add some")
    for name, found in largest.items():
        if found <= 0.01 and len(known) > 1:
            raise ValueError(f"table={path}: all of {name} are at most 1; give them in percent")


def header(path: Path, *needed: str) -> list[str]:
    """Return the names of a table's columns without reading further.

    Raises ValueError if it is not a table, has a column twice or misnamed, or lacks a true result
    or `needed` columns.
    """
    _, names = next(_rows(path), (1, []))
    missing = [name for name in (ARCHITECTURE, *needed) if name not in names]
    for name in names:
        if Measured.of(name) is None and (match := MISNAMED.fullmatch(name)):
            split = "val" if match["split"].startswith("val") else "test"
            raise ValueError(
                f"table={path}: has the column {name}; name it {match['data']}_{split}_<epochs>ep, "
                f"such as {match['data']}_{split}_200ep"
            )
        if names.count(name) > 1 and name:
            raise ValueError(f"table={path}: has the column {name} twice; leave one")
    if not missing and not true_columns(names):
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
    return "; ".join(f"{title} {shown(found)}, {place(found)}" for title, found in truth.items())


def shown(found: Truth) -> str:
    """Return an accuracy in percent, or the value of another measure."""
    return f"{100 * found['accuracy']:.2f}%" if "accuracy" in found else f"{found['value']:.4g}"


def place(found: Truth) -> str:
    """Return a rank such as: rank 1 of 15,625 (shared by 2)."""
    shared = f" (shared by {found['ties'] + 1:,})" if "ties" in found else ""
    return f"rank {found['rank']:,} of {found['of']:,}{shared}"


def _result(column: Measured, text: str | None, where: str) -> float:
    """Return a number of a column; an accuracy as a fraction."""
    found = f"{where}: {column.name}"
    if text is None or not text.strip():
        raise ValueError(f"{found} is missing; give the number, or remove the line")
    try:
        number = float(text)
    except ValueError as error:
        raise ValueError(f"{found}={text!r}: {_wanted(column)}") from error
    if not math.isfinite(number) or (column.measure is None and not 0 <= number <= 100):
        raise ValueError(f"{found}={text}: {_wanted(column)}")
    return number / 100 if column.measure is None else number


def _wanted(column: Measured) -> str:
    if column.measure is None:
        return "expected an accuracy in percent; give a number from 0 to 100"
    return "give a finite number"
