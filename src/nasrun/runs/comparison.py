"""Many runs: their choice, their comparison over seeds, and their records for programs."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.console import Console

from nasrun.config import did_you_mean
from nasrun.display import table
from nasrun.genotype import fingerprint
from nasrun.pipeline.stages import SEARCH, SELECT
from nasrun.runs.differences import Settings, as_typed, differing, settings
from nasrun.runs.report import Standing
from nasrun.runs.run import NAMES, Run
from nasrun.runs.stage_folder import StageFolder

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
    def score(self) -> float | None: ...
    @property
    def seconds(self) -> float | None: ...


ORDERS: dict[str, Callable[[Ranked], Any]] = {
    "used": lambda row: 0,
    "accuracy": lambda row: (row.on is None, row.on or "", -(row.score or 0.0)),
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
                hint = did_you_mean(value, there) or f"; there are {', '.join(there) or 'none'}"
                raise ValueError(f"{key}={value}: no run has it{hint}")

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
    stages = list(run.stages())
    if what in NAMES:
        return any(stage.finished for stage in stages if stage.kind == what)
    return (bool(stages) and all(stage.finished for stage in stages)) == (what == "true")


@dataclass(frozen=True)
class Record:
    """A stage of a run; an accuracy is a fraction, and `on` names the data or another score."""

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
    top5_accuracy: float | None
    params: int | None
    macs: int | None
    rounds: int
    seconds: float | None

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the fields."""
        return tuple(field.name for field in fields(cls))

    def plain(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)

    @classmethod
    def damaged(cls, run: Run) -> Record:
        """Return the record of a run that cannot be read."""
        unknown: dict[str, Any] = dict.fromkeys(cls.names())
        known = {"run": str(run.path), "stage": DAMAGED, "branch": "", "rounds": 0}
        return cls(**unknown | known | {"finished": False, "is_accuracy": False})

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
            top5_accuracy=result.get("test_top5_accuracy"),
            params=result.get("params"),
            macs=result.get("macs"),
            rounds=len(stage.metrics()),
            seconds=result.get("seconds"),
        )


@dataclass(frozen=True)
class Seeded:
    """A stage of one run among those of its seeds; `result` is `None` until it is finished."""

    run: Run
    stage: StageFolder
    result: dict[str, Any] | None


@dataclass
class Group:
    """One stage of one configuration over all its seeds, titled as in the first run.

    of: the fingerprint that the configurations of its runs share. settings: the configuration of
    the stage and of the search before it.
    """

    of: str
    settings: Settings
    members: list[Seeded] = field(default_factory=list)

    @property
    def first(self) -> Path:
        """Path of the first run."""
        return self.members[0].run.path

    @property
    def title(self) -> str:
        """The stage and its branch, as the first run names them."""
        return self.members[0].stage.title

    @property
    def kind(self) -> str:
        """One of search, select, retrain and transfer."""
        return self.members[0].stage.kind

    @property
    def results(self) -> list[dict[str, Any] | None]:
        """Results of all runs."""
        return [member.result for member in self.members]

    @property
    def run(self) -> str:
        """Path of the first run."""
        return str(self.first)

    @property
    def done(self) -> list[dict[str, Any]]:
        """Results of the runs that have finished the stage."""
        return [result for result in self.results if result is not None]

    @property
    def standings(self) -> list[Standing]:
        """Standings of the finished runs that are judged as the first one is."""
        found = [standing for each in self.done if (standing := Standing.of(each, self.kind))]
        return [standing for standing in found if standing.on == found[0].on]

    @property
    def like(self) -> tuple[Path, str]:
        """Key of comparable groups: the versions' folder and the stage."""
        return self.first.parent, re.sub(r"-\d+$", "", self.title)

    @property
    def on(self) -> str | None:
        """Name of the score, or the data that it is measured on."""
        return self.standings[0].on if self.standings else None

    @property
    def score(self) -> float | None:
        """Mean score."""
        scores = [standing.value for standing in self.standings]
        return statistics.fmean(scores) if scores else None

    @property
    def seconds(self) -> float | None:
        """Mean seconds."""
        return statistics.fmean(result["seconds"] for result in self.done) if self.done else None

    def row(self) -> tuple[str, ...]:
        """Return first run, stage, number of runs, mean and standard deviation, data, minutes."""
        standings, mean = self.standings, "-"
        if standings:
            scores = [standing.value for standing in standings]
            scale, unit, digits = (100, "%", ".2f") if standings[0].is_accuracy else (1, "", ".4g")
            mean = f"{scale * statistics.fmean(scores):{digits}}{unit}"
            if len(scores) > 1:
                mean += f" ± {scale * statistics.stdev(scores):{digits}}"
        among = f" of {len(self.results)}" if len(self.done) < len(self.results) else ""
        minutes = f"{(self.seconds or 0.0) / 60:.1f}"
        return self.run, self.title, f"{len(self.done)}{among}", mean, self.on or "-", minutes


Pairing = tuple[str, str, str]
"""Fingerprint of a run's configuration, kind of a stage, and fingerprint of its configuration."""


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


def grouped(
    paths: Sequence[Path], done: Collection[Path] | None = None
) -> tuple[list[Group], dict[str, str]]:
    """Return the stages of runs, grouped over seeds, and the errors of runs that cannot be read.

    `done` are the folders of the stages that count, `None` for all.
    """
    groups: dict[Pairing, Group] = {}
    damaged: dict[str, str] = {}
    for path in dict.fromkeys(paths):
        run = Run(path)
        try:
            found = [
                (key, _settings(run, stage), Seeded(run, stage, _result(stage)))
                for key, stage in _stages(run)
            ]
        except ValueError as error:
            damaged[f"{path.parent.name}/{path.name}"] = str(error)
            continue
        for key, made, member in found:
            if done is None or member.stage.path in done:
                groups.setdefault(key, Group(key[0], made)).members.append(member)
    return list(groups.values()), damaged


def _result(stage: StageFolder) -> dict[str, Any] | None:
    return stage.result if stage.finished else None


def print_runs(
    console: Console,
    paths: Sequence[Path],
    title: str,
    order: str = "used",
    done: Collection[Path] | None = None,
) -> None:
    """Print runs grouped by configuration without the seed: n, mean and standard deviation.

    Versions of one family are distinguished by their different settings. `done` are the folders of
    the stages to print, `None` for all. A run that cannot be read gets its own row, and its error
    is printed below.
    """
    groups, damaged = grouped(paths, done)
    rows = ordered(groups, order)
    apart = told_apart(rows)
    columns: tuple[str, ...] = ("first run", "stage", "n", "mean ± std", "on", "minutes")
    cells = [group.row() for group in rows]
    if any(apart):
        columns = (*columns, "with")
        cells = [(*row, text) for row, text in zip(cells, apart, strict=True)]
    cells += [(name, DAMAGED, *["-"] * (len(columns) - 2)) for name in damaged]
    table(console, title, columns, cells)
    for reason in damaged.values():
        console.print(f"{DAMAGED}: {reason}", highlight=False, markup=False, soft_wrap=True)


def _stages(run: Run) -> Iterator[tuple[Pairing, StageFolder]]:
    """Yield every stage with a key that its seeds share."""
    own = shared(run)
    chosen: dict[str, str] = {}  # by a selection's fingerprint, the one that its seeds share
    for stage in run.stages():
        mark = fingerprint(_common(stage, chosen))
        if stage.kind == SELECT.name:
            chosen[stage.fingerprint] = mark
        yield (own, stage.kind, mark), stage


def shared(run: Run) -> str:
    """Return the fingerprint of a run's configuration without what depends on the seed."""
    seeded = ("seed", "genotype") if run.record.get("genotype") == "random" else ("seed",)
    return fingerprint({key: value for key, value in run.config.items() if key not in seeded})


def _settings(run: Run, stage: StageFolder) -> Settings:
    """Return the settings of a stage and of the search before it, without the seed."""
    own = {} if stage.kind == SEARCH.name else stage.config
    found = settings(run.config, own, run.record["scale"])
    return {key: value for key, value in found.items() if key != "seed"}


def told_apart(groups: Sequence[Group]) -> list[str]:
    """Return for every group the settings in which it differs from comparable ones."""
    alike: dict[tuple[Path, str], list[Group]] = {}
    for group in groups:
        alike.setdefault(group.like, []).append(group)
    keys = {like: differing([each.settings for each in some]) for like, some in alike.items()}
    return [
        " ".join(as_typed(key, group.settings.get(key)) for key in keys[group.like])
        for group in groups
    ]


def _common(stage: StageFolder, chosen: Mapping[str, str]) -> dict[str, Any]:
    """Return a stage's own configuration without the parts that depend on the seed.

    The number in a folder's name, as in `perturb-2`, depends on what else was done in the run.
    """
    if stage.kind == SEARCH.name:
        return {}
    own = {k: v for k, v in stage.config.items() if k not in ("fingerprint", "parent")}
    if stage.kind == SELECT.name:
        return {**own, "option": re.sub(r"-\d+$", "", stage.branch)}
    if stage.parent in chosen:
        own["source"] = chosen[stage.parent]
    elif stage.source != "random":
        return own
    return {key: value for key, value in own.items() if key != "genotype"}
