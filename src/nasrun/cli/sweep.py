"""Sweeps, Hydra's multirun: many commands from one line, and their table."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from nasrun.budget import BudgetSpent
from nasrun.cli import screen
from nasrun.cli.hydra_app import run_hydra
from nasrun.cli.line import Line
from nasrun.cli.prepared import overrides_of, plan_of, source_of
from nasrun.config.words import parsed, quoted

if TYPE_CHECKING:
    from nasrun.runs.finding import Source

Combination = tuple[str, ...]
"""The overrides of one job."""
JUDGING = {"direction": "maximize", "max_failure_rate": "1.0"}
"""Options of sweepers that judge jobs: more is better, and a failed job is one lost trial."""
FOLDER = "hydra.sweep.dir"
"""The key of a sweep's folder."""


class JobFailed(RuntimeError):
    """A failed job, which is recorded; only a sweeper that judges jobs gets this error."""


def run_sweep(line: Line) -> int:
    """Check every job of Hydra's multirun before the first begins; run them and print the table."""
    from nasrun.config import beneath_names, hydra_options, search_folders
    from nasrun.pipeline.refusals import refuse_shared

    own, of_hydra = line.split()
    sweeper = hydra_options(of_hydra).sweeper
    folders = search_folders(of_hydra)
    own = beneath_names(_without_globs(own, folders), folders)
    line = replace(line, overrides=(*own, *of_hydra), words=())
    axes, judges = [Axis.of(override) for override in line.overrides], _judges(sweeper)
    jobs = list(_some(axes) if judges else _all(axes))
    sources, outputs = {}, Path()
    for job in jobs:
        one = replace(line, overrides=job)
        sources[job] = source_of(one)
        plan = plan_of(one, sources[job])
        refuse_shared(plan.budget)
        outputs = plan.outputs
    named = _named_folder(replace(line, overrides=jobs[0]))
    folder = _folder(outputs, named)
    journal, total = folder.absolute() / "jobs.jsonl", None if judges else len(jobs)
    sweep = Sweep(sources, journal, total, uuid4().hex)
    stopped = _run_jobs(sweep, line, _of_sweeper(sweeper, of_hydra), folder)
    records = sweep.records()
    if named is None and not any("run" in record for record in records):  # nothing to look up
        shutil.rmtree(folder)
        _remove_empty(folder.parents, outputs)
    if stopped is not None and not records:
        raise stopped
    failed = _print_table(records)
    if stopped is not None:
        raise stopped
    return screen.status(record.get("spent", False) for record in failed)


def _run_jobs(
    sweep: Sweep, line: Line, of_sweeper: Sequence[str], folder: Path
) -> ValueError | None:
    """Run the jobs by Hydra; return the error with which it refused to go on, `None` without one.

    Hydra composes each job once more, with the choices that the first one inherits and those of
    the environment: their values fit all jobs. A job itself is composed anew, with its own.
    """
    from nasrun.config import key_of, trackers_for_all

    of_hydra, first = line.split()[1], next(iter(sweep.sources.values()))
    inherited = overrides_of(line, first)[: -len(line.overrides) or None]
    inherited += trackers_for_all(line.overrides)
    keys = {key_of(override) for override in inherited}

    def job_function(config: Any) -> float:
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        GlobalHydra.instance().clear()
        words = [override for override in hydra.overrides.task if key_of(override) not in keys]
        return sweep.run(replace(line, overrides=(*words, *of_hydra)), hydra.job.num)

    typed = [override for override in line.overrides if key_of(override) != FOLDER]
    into = f"{FOLDER}={quoted(str(folder))}"
    try:
        run_hydra(["--multirun", *inherited, *typed, *of_sweeper, into], job_function)
    except JobFailed:
        pass  # a sweeper gave up; the record of the job tells why
    except ValueError as error:
        return error
    return None


def _of_sweeper(sweeper: Mapping[str, Any], typed: Sequence[str]) -> list[str]:
    """Return the overrides that a sweeper which judges needs, without those that are typed."""
    from nasrun.config import key_of

    given = {key_of(override) for override in typed}
    known = {f"hydra.sweeper.{name}": value for name, value in JUDGING.items() if name in sweeper}
    return [f"{key}={value}" for key, value in known.items() if key not in given]


def _print_table(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Print the runs of a sweep and the errors of its jobs; return the records with an error."""
    from nasrun.runs.comparison import print_runs

    done = {Path(stage) for record in records for stage in record.get("stages", ())}
    runs = [Path(record["run"]) for record in records if "run" in record]
    print_runs(screen.console(), runs, "sweep", done=done)
    failed = [record for record in records if "error" in record]
    for record in failed:
        print(f"nasrun: {' '.join(record['overrides'])}: {record['error']}", file=sys.stderr)
    return failed


@dataclass(frozen=True)
class Sweep:
    """The data that all jobs of one sweep share, in whatever processes its launcher runs them.

    sources: what each job known beforehand continues. total: the number of jobs, `None` if the
    sweeper chooses the next ones by the results of the last.
    """

    sources: Mapping[Combination, Source | None]
    journal: Path
    total: int | None
    mark: str

    def run(self, line: Line, number: int) -> float:
        """Run one job and record it; return its accuracy."""
        from nasrun.pipeline.execution import Left, execute
        from nasrun.runs.standing import score

        console, (typed, _) = screen.console(), line.split()
        warnings.showwarning = screen.warn
        of = "" if self.total is None else f" of {self.total}"
        console.print(f"{number + 1}{of}  {' '.join(typed)}", style="bold", soft_wrap=True)
        record: dict[str, Any] = {"sweep": self.mark, "overrides": list(typed)}
        accuracy, left = float("nan"), Left()
        try:
            source = self.sources.get(line.overrides) or source_of(line)
            execute(plan_of(line, source), console, self.name, left)
            accuracy = score(left.stages)
            if self.total is None and math.isnan(accuracy):
                raise ValueError(
                    "no result that a sweeper can use; sweep a search, or use retrain.data=train"
                )
        except Exception as error:  # noqa: BLE001  whatever ends one job, the others go on
            if os.environ.get("NASRUN_TRACEBACK"):
                traceback.print_exc()
            record |= {"error": screen.told(error), "spent": isinstance(error, BudgetSpent)}
            console.print(f"nasrun: {record['error']}")
        record |= left.facts()
        self._write(record)
        if self.total is None and "error" in record:
            raise JobFailed(record["error"])
        return accuracy

    @property
    def name(self) -> str:
        """Name by which trackers group its jobs: that of its folder and of the one around it."""
        return "/".join(self.journal.parts[-3:-1])

    def records(self) -> list[dict[str, Any]]:
        """Return the records of its jobs."""
        from nasrun.files import read_lines

        return [each for each in read_lines(self.journal) if each.get("sweep") == self.mark]

    def _write(self, record: Mapping[str, Any]) -> None:
        from filelock import FileLock

        from nasrun.files import append_line, as_json

        with FileLock(self.journal.with_suffix(".lock")):
            append_line(self.journal, as_json(record))


@dataclass(frozen=True)
class Axis:
    """An override and one override per value of it, none if a sweeper draws the values."""

    override: str
    values: tuple[str, ...]
    is_range: bool = False

    @classmethod
    def of(cls, override: str) -> Axis:
        """Return the axis of an override; ValueError if it has no values."""
        read = parsed(override)
        if not read.is_sweep_override():
            return cls(override, (_as_job(read, override),))
        if not read.is_discrete_sweep():
            return cls(override, ())
        key = read.get_key_element()
        try:
            values = tuple(f"{key}={value}" for value in read.sweep_string_iterator())
        except ValueError as error:  # such as a step of 0
            raise ValueError(f"{override}: {error}; name other values") from error
        if not values:
            raise ValueError(f"{override}: has no values; name one or more")
        return cls(override, values, read.is_range_sweep())


def _all(axes: Sequence[Axis]) -> Iterator[Combination]:
    """Return all combinations of values."""
    for axis in axes:
        if not axis.values:
            raise ValueError(
                f"{axis.override}: this needs another sweeper; list the values, or choose "
                "one by hydra/sweeper=NAME"
            )
    return product(*(axis.values for axis in axes))


def _some(axes: Sequence[Axis]) -> Iterator[Combination]:
    """Return all first values, then each other value of one axis with them; of a range the last."""
    axes = [axis for axis in axes if axis.values]
    first = tuple(axis.values[0] for axis in axes)
    yield first
    for place, axis in enumerate(axes):
        for value in axis.values[-1:] if axis.is_range else axis.values[1:]:
            yield (*first[:place], value, *first[place + 1 :])


def _judges(sweeper: Mapping[str, Any]) -> bool:
    """True for a sweeper that reads what jobs return; Hydra's own one runs all of them anyway.

    ValueError for a sweeper that is not there, and for options that Hydra's own does not accept.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    target = sweeper["_target_"]
    try:
        judges = not issubclass(resolve_name(str(target)), BasicSweeper)
    except Exception as error:  # whatever an import raises
        raise ValueError(
            f"hydra.sweeper._target_={target}: there is no such sweeper; leave it out, or choose "
            "one by hydra/sweeper=NAME"
        ) from error
    if judges:
        return True
    size = sweeper["max_batch_size"]
    if size is not None and size < 1:
        raise ValueError(f"hydra.sweeper.max_batch_size={size}: use 1 or more")
    return False


def _named_folder(line: Line) -> str | None:
    """Return the folder that is typed for a sweep, `None` if none is."""
    from nasrun.config import hydra_options, key_of

    if FOLDER not in map(key_of, line.split()[1]):
        return None
    named: str = hydra_options(line.of_frame).sweep.dir
    return named


def _folder(outputs: Path, named: str | None) -> Path:
    """Return the folder of a new sweep: the one that is named, else one that no other sweep has."""
    from nasrun.config import at_home
    from nasrun.runs.run import Run

    if named is not None:
        folder = Path(at_home(named))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"hydra.sweep.dir={named}: cannot be made ({error.strerror}); name another"
            ) from error
        return folder
    Run.check_writable(outputs)
    moment, number = outputs / "sweeps" / time.strftime("%Y-%m-%d/%H-%M-%S"), 1
    while True:
        folder = moment if number == 1 else moment.with_name(f"{moment.name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder


def _remove_empty(folders: Sequence[Path], last: Path) -> None:
    """Remove empty folders, from the innermost one out, up to `last`."""
    for folder in folders:
        if not folder.is_relative_to(last) or any(folder.iterdir()):
            return
        folder.rmdir()


def _without_globs(overrides: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Return the overrides, each glob like `strategy=glob(snas*)` replaced by what matches it."""
    from hydra.core.override_parser.types import Glob

    from nasrun.config import options

    written = []
    for override in overrides:
        read = parsed(override)
        value = read.value()
        if isinstance(value, Glob):
            known = options(read.key_or_group, folders)
            found = value.filter(list(known))
            if not found:
                there = f"; there are {', '.join(known)}" if known else ", which has none"
                raise ValueError(f"{override}: matches no option of {read.key_or_group}{there}")
            override = f"{read.get_key_element()}={','.join(found)}"
        written.append(override)
    return written


def _as_job(read: Any, override: str) -> str:
    """Return an override without a sweep as Hydra's sweeper gives it to jobs: `1e-3` is `0.001`."""
    key = read.get_key_element()
    if key.startswith("hydra"):  # not given to jobs
        return override
    return f"{key}={read.get_value_element_as_str()}"
