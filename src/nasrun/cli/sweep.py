"""Hydra's multirun: many commands from one line, and their table."""

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

from nasrun.cli import screen
from nasrun.cli.hydra_app import run_hydra
from nasrun.cli.line import Line, quoted
from nasrun.cli.prepared import overrides_of, plan_of, source_of

if TYPE_CHECKING:
    from nasrun.pipeline.source import Source

Combination = tuple[str, ...]
"""The overrides of one job."""
OF_SWEEPERS = {"direction": "maximize", "max_failure_rate": "1.0"}
"""Options of sweepers that judge: the more the better, and a failed job is one lost trial."""


class JobFailed(RuntimeError):
    """A job has failed and is written down; only a sweeper that judges is told."""


def run_sweep(line: Line) -> int:
    """Hydra's multirun: every job is checked before the first begins, then the table is printed."""
    from nasrun.config import beneath_names, hydra_options, key_of
    from nasrun.runs.comparison import print_runs

    own, of_hydra = line.split()
    sweeper = hydra_options(of_hydra).sweeper
    line = replace(line, overrides=(*beneath_names(_without_globs(own)), *of_hydra), words=())
    axes, judges = [Axis.of(override) for override in line.overrides], _judges(sweeper)
    jobs = list(_some(axes) if judges else _all(axes))
    sources, outputs = {}, Path()
    for job in jobs:
        one = replace(line, overrides=job)
        sources[job] = source_of(one)
        outputs = plan_of(one, sources[job]).outputs
    # Hydra composes every job once more, with what the first inherits: the values fit all jobs
    overrides = overrides_of(line, next(iter(sources.values())))
    inherited = {key_of(override) for override in overrides[: -len(line.overrides) or None]}
    typed = {key_of(override) for override in of_hydra}
    of_sweeper = ((f"hydra.sweeper.{name}", name) for name in OF_SWEEPERS if name in sweeper)
    overrides += [f"{key}={OF_SWEEPERS[name]}" for key, name in of_sweeper if key not in typed]
    named = None
    if "hydra.sweep.dir" in typed:
        named = hydra_options(replace(line, overrides=jobs[0]).of_frame).sweep.dir
        overrides = [override for override in overrides if key_of(override) != "hydra.sweep.dir"]
    folder = _folder(outputs, named)
    overrides.append(f"hydra.sweep.dir={quoted(str(folder))}")
    total = None if judges else len(jobs)
    sweep = Sweep(sources, folder.absolute() / "jobs.jsonl", total, uuid4().hex)

    def job_function(config: Any) -> float:
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        GlobalHydra.instance().clear()  # the job is composed anew, with what it inherits itself
        words = [o for o in hydra.overrides.task if key_of(o) not in inherited]
        return sweep.run(replace(line, overrides=(*words, *of_hydra)), hydra.job.num)

    stopped: ValueError | None = None
    try:
        run_hydra(["--multirun", *overrides], job_function)
    except JobFailed:
        pass  # a sweeper gave up, which is told below
    except ValueError as error:
        stopped = error
    records = sweep.records()
    if named is None and not any("run" in record for record in records):  # nothing to look up
        shutil.rmtree(folder)
        _remove_empty(folder.parents, outputs)
    if stopped is not None and not records:
        raise stopped
    done = {Path(stage) for record in records for stage in record.get("stages", ())}
    runs = [Path(record["run"]) for record in records if "run" in record]
    print_runs(screen.console(), runs, "sweep", done=done)
    failed = [record for record in records if "error" in record]
    for record in failed:
        print(f"nasrun: {' '.join(record['overrides'])}: {record['error']}", file=sys.stderr)
    if stopped is not None:
        raise stopped
    return 2 if failed else 0


@dataclass(frozen=True)
class Sweep:
    """What the jobs of one sweep share, in whatever processes its launcher has them run.

    sources: what the jobs that were known beforehand continue. total: how many there are, `None`
    where the sweeper draws the next ones by what it is told of the last.
    """

    sources: Mapping[Combination, Source | None]
    journal: Path
    total: int | None
    mark: str

    def run(self, line: Line, number: int) -> float:
        """One job, written down; returns its accuracy."""
        from nasrun.pipeline.execution import execute
        from nasrun.runs.report import score

        console, (typed, _) = screen.console(), line.split()
        warnings.showwarning = screen.warn
        of = "" if self.total is None else f" of {self.total}"
        console.print(f"{number + 1}{of}  {' '.join(typed)}", style="bold", soft_wrap=True)
        record: dict[str, Any] = {"sweep": self.mark, "overrides": list(typed)}
        accuracy = float("nan")
        try:
            known = line.overrides in self.sources
            source = self.sources[line.overrides] if known else source_of(line)
            run, stages = execute(plan_of(line, source), console)
            record |= {"run": str(run.path), "stages": [str(stage.path) for stage in stages]}
            accuracy = score(stages)
            if self.total is None and math.isnan(accuracy):
                raise ValueError(
                    "no result that a sweeper can use; sweep a search, or use retrain.data=train"
                )
        except Exception as error:  # noqa: BLE001  whatever ends one job, the others go on
            if os.environ.get("NASRUN_TRACEBACK"):
                traceback.print_exc()
            record["error"] = screen.told(error)
            console.print(f"nasrun: {record['error']}")
        self._write(record)
        if self.total is None and "error" in record:
            raise JobFailed(record["error"])
        return accuracy

    def records(self) -> list[dict[str, Any]]:
        """What its jobs have written down."""
        from nasrun.files import read_lines

        return [each for each in read_lines(self.journal) if each.get("sweep") == self.mark]

    def _write(self, record: Mapping[str, Any]) -> None:
        from filelock import FileLock

        from nasrun.files import append_line, as_json

        with FileLock(self.journal.with_suffix(".lock")):
            append_line(self.journal, as_json(record))


@dataclass(frozen=True)
class Axis:
    """An override with the overrides that it stands for, one per value; none where it is drawn."""

    override: str
    values: tuple[str, ...]
    is_range: bool = False

    @classmethod
    def of(cls, override: str) -> Axis:
        """The axis of an override; ValueError if it has no value."""
        parsed = _parsed(override)
        if not parsed.is_sweep_override():
            return cls(override, (override,))
        if not parsed.is_discrete_sweep():
            return cls(override, ())
        key = parsed.get_key_element()
        values = tuple(f"{key}={value}" for value in parsed.sweep_string_iterator())
        if not values:
            raise ValueError(f"{override}: has no values; name one or more")
        return cls(override, values, parsed.is_range_sweep())


def _all(axes: Sequence[Axis]) -> Iterator[Combination]:
    """Every combination."""
    for axis in axes:
        if not axis.values:
            raise ValueError(
                f"{axis.override}: this needs another sweeper; list the values, or choose "
                "one by hydra/sweeper=NAME"
            )
    return product(*(axis.values for axis in axes))


def _some(axes: Sequence[Axis]) -> Iterator[Combination]:
    """The first values of all axes, and every other one beside them; of a range the last one."""
    axes = [axis for axis in axes if axis.values]
    first = tuple(axis.values[0] for axis in axes)
    yield first
    for place, axis in enumerate(axes):
        for value in axis.values[-1:] if axis.is_range else axis.values[1:]:
            yield (*first[:place], value, *first[place + 1 :])


def _judges(sweeper: Mapping[str, Any]) -> bool:
    """Whether a sweeper reads what the jobs return; Hydra's own runs them all, whatever it is.

    ValueError for what Hydra's own cannot take.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    target = sweeper["_target_"]
    try:
        judges = not issubclass(resolve_name(str(target)), BasicSweeper)
    except Exception as error:  # whatever an import raises
        raise ValueError(
            f"hydra.sweeper._target_={target}: no sweeper is there; leave it out, or choose "
            "one by hydra/sweeper=NAME"
        ) from error
    if judges:
        return True
    size = sweeper["max_batch_size"]
    if size is not None and size < 1:
        raise ValueError(f"hydra.sweeper.max_batch_size={size}: use 1 or more")
    return False


def _folder(outputs: Path, named: str | None) -> Path:
    """The folder of a new sweep: the one that is named, else one that no other sweep has."""
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
    """Remove those that have nothing in them, from the innermost out."""
    for folder in folders:
        if not folder.is_relative_to(last) or any(folder.iterdir()):
            return
        folder.rmdir()


def _without_globs(overrides: Sequence[str]) -> list[str]:
    """The overrides, `strategy=glob(snas*)` as the options that `nasrun list` shows."""
    from hydra.core.override_parser.types import Glob

    from nasrun.config import options, search_folders

    written = []
    for override in overrides:
        parsed = _parsed(override)
        value = parsed.value()
        if isinstance(value, Glob):
            known = options(parsed.key_or_group, search_folders(overrides))
            found = value.filter(list(known))
            if not found:
                there = f"; there are {', '.join(known)}" if known else ", which has none"
                raise ValueError(f"{override}: no such options of {parsed.key_or_group}{there}")
            override = f"{parsed.get_key_element()}={','.join(found)}"
        written.append(override)
    return written


def _parsed(override: str) -> Any:
    """An override as Hydra reads it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(override)
    except HydraException as error:
        key = override.partition("=")[0]
        text = f"quote special characters: '{key}=\"...\"'" if "=" in override else "type key=value"
        raise ValueError(f"{override}: cannot be read; {text}") from error
