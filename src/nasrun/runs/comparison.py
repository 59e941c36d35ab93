"""Many runs: their choice, their comparison over seeds, and their records for programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.console import Console

from nasrun.config import suggestion
from nasrun.data.table import Truth
from nasrun.display import table
from nasrun.runs.groups import grouped, told_apart
from nasrun.runs.run import NAMES, Run
from nasrun.runs.stage_folder import StageFolder
from nasrun.runs.standing import Standing, signed

FACTS = ("dataset", "space", "strategy", "genotype", "seed")
"""Keys by which runs can be chosen, as they are typed to make a run."""
DAMAGED = "damaged"
"""Shown in place of the stages of a run that cannot be read."""
FINISHED = ("true", "false", *NAMES)


class Ranked(Protocol):
    """The fields by which rows can be sorted."""

    @property
    def run(self) -> str: ...
    @property
    def on(self) -> str | None: ...
    @property
    def merit(self) -> float | None: ...
    @property
    def seconds(self) -> float | None: ...


ORDERS: dict[str, Callable[[Ranked], Any]] = {
    "used": lambda row: 0,
    "accuracy": lambda row: (row.on is None, row.on or "", -(row.merit or 0.0)),
    "time": lambda row: math.inf if row.seconds is None else row.seconds,
    "name": lambda row: row.run,
}
"""Sort keys: the last used run at the end, the best first, the quickest first, or by name.

Scores on other data, or with another name, are ranked separately.
"""
Row = TypeVar("Row", bound=Ranked)


def ordered(rows: Sequence[Row], order: str) -> list[Row]:
    """Return the rows in an order; equal rows keep their order."""
    return sorted(rows, key=ORDERS[order])


def facts(run: Run) -> dict[str, str]:
    """Return the values of `FACTS` with which a run was made."""
    record = run.record
    known = {**record["choices"], "genotype": record.get("genotype"), "seed": record.get("seed")}
    return {name: str(known[name]) for name in FACTS if known.get(name) is not None}


def chosen(runs: Sequence[Run], filters: Mapping[str, Sequence[str]]) -> list[Run]:
    """Return the runs that match one value of each filter; ValueError for a value of no run.

    `finished` is the name of a stage that a run has finished, or whether it has finished all that
    it began. A run that cannot be read is returned, too, so that it is named.
    """
    known = {run: made for run in runs if (made := _readable(run)) is not None}
    for key, values in filters.items():
        there = sorted({made[key] for made in known.values() if key in made})
        if key == "finished":
            there = list(FINISHED)
        for value in values:
            if value not in there:
                raise ValueError(f"{key}={value}: no run has it{suggestion(value, there)}")

    def meant(run: Run, made: Mapping[str, str]) -> bool:
        return all(
            any(_finished(run, value) for value in values)
            if key == "finished"
            else made.get(key) in values
            for key, values in filters.items()
        )

    return [run for run in runs if run not in known or meant(run, known[run])]


def _readable(run: Run) -> dict[str, str] | None:
    try:
        return facts(run)
    except ValueError:
        return None


def _finished(run: Run, what: str) -> bool:
    try:
        stages = list(run.stages())
    except ValueError:  # a damaged branch, which is named
        return True
    if what in NAMES:
        return any(stage.finished for stage in stages if stage.kind == what)
    return (bool(stages) and all(stage.finished for stage in stages)) == (what == "true")


@dataclass(frozen=True)
class Record:
    """A stage of a run; an accuracy is a fraction, and `on` names the data or another score.

    true: the true results of a choice by data set, empty if they were not looked up.
    """

    run: str
    dataset: str | None
    space: str | None
    strategy: str | None
    genotype: str | None
    seed: int | None
    stage: str
    branch: str
    finished: bool
    score: float | None
    on: str | None
    is_accuracy: bool
    higher_is_better: bool
    top5_accuracy: float | None
    params: int | None
    macs: int | None
    rounds: int
    seconds: float | None
    true: dict[str, Truth]

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the fields."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def columns(cls, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
        """Return the columns of a table with these rows, which are the `cells` of records."""
        own = [name for name in cls.names() if name != "true"]
        return tuple(dict.fromkeys([*own, *(name for row in rows for name in row)]))

    @property
    def merit(self) -> float | None:
        """The score, or minus the score if a smaller one is better."""
        return signed(self.score, self.higher_is_better)

    def plain(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)

    def cells(self) -> dict[str, Any]:
        """Return the fields by column of a table; a true result is `true.cifar10.accuracy`."""
        found = self.plain()
        true = found.pop("true")
        return found | {
            f"true.{data}.{name}": value
            for data, known in true.items()
            for name, value in known.items()
        }

    @classmethod
    def damaged(cls, run: Run) -> Record:
        """Return the record of a run that cannot be read."""
        unknown: dict[str, Any] = dict.fromkeys(cls.names())
        known = {"run": str(run.path), "stage": DAMAGED, "branch": "", "rounds": 0, "true": {}}
        no = {"finished": False, "is_accuracy": False, "higher_is_better": True}
        return cls(**unknown | known | no)

    @classmethod
    def of(cls, run: Run, stage: StageFolder) -> Record:
        """Return the record of a stage."""
        made = facts(run)
        result = stage.result if stage.finished else {}
        standing = Standing.of(result, stage.kind)
        return cls(
            run=str(run.path),
            dataset=made.get("dataset"),
            space=made.get("space"),
            strategy=made.get("strategy"),
            genotype=made.get("genotype"),
            seed=run.record.get("seed"),
            stage=stage.kind,
            branch=stage.branch,
            finished=stage.finished,
            score=None if standing is None else standing.value,
            on=None if standing is None else standing.on,
            is_accuracy=standing is not None and standing.is_accuracy,
            higher_is_better=standing is None or standing.higher_is_better,
            top5_accuracy=result.get("test_top5_accuracy"),
            params=result.get("params"),
            macs=result.get("macs"),
            rounds=len(stage.metrics()),
            seconds=result.get("seconds"),
            true=result.get("true") or {},
        )


def records(paths: Sequence[Path], order: str = "used") -> tuple[list[Record], list[str]]:
    """Return records of all stages and of unreadable runs, and the errors of the latter."""
    found: list[Record] = []
    damaged = []
    for path in dict.fromkeys(paths):
        run = Run(path)
        try:
            found += [*(Record.of(run, stage) for stage in run.stages())]
        except ValueError as error:
            found.append(Record.damaged(run))
            damaged.append(str(error))
    return ordered(found, order), damaged


def print_runs(
    console: Console,
    paths: Sequence[Path],
    title: str,
    order: str = "used",
    done: Collection[Path] | None = None,
) -> None:
    """Print runs grouped by configuration without the seed: n, mean and standard deviation.

    A choice that was looked up in a table has a row per data set. Versions of one family are
    distinguished by their different settings. `done` are the folders of the stages to print, `None`
    for all. A run that cannot be read gets its own row, and its error is printed below.
    """
    groups, damaged = grouped(paths, done)
    rows = ordered([row for group in groups for row in (group, *group.looked_up())], order)
    apart = told_apart(rows)
    columns: tuple[str, ...] = ("first run", "stage", "n", "mean ± std", "on", "minutes")
    cells = [group.row() for group in rows]
    if any(apart):
        columns = (*columns, "with")
        cells = [(*row, text) for row, text in zip(cells, apart, strict=True)]
    rest = ["-"] * (len(columns) - 2)
    cells += [(f"{path.parent.name}/{path.name}", DAMAGED, *rest) for path in damaged]
    table(console, title, columns, cells)
    for reason in damaged.values():
        console.print(f"{DAMAGED}: {reason}", highlight=False, markup=False, soft_wrap=True)
