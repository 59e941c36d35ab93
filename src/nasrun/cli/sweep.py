"""Hydra's multirun: many commands from one line, and their table."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun.cli import screen
from nasrun.cli.hydra_app import run_hydra
from nasrun.cli.line import Line
from nasrun.cli.prepared import overrides_of, plan_of, source_of

if TYPE_CHECKING:
    from nasrun.pipeline.source import Source


def run_sweep(line: Line) -> int:
    """Hydra's multirun: every job is checked before the first begins, then the table is printed."""
    from nasrun.config import beneath_names
    from nasrun.runs.comparison import print_runs

    own, of_hydra = line.split()
    line, sources = replace(line, overrides=(*beneath_names(own), *of_hydra)), {}
    _check_sweeper(line)
    jobs = _jobs(line.overrides)
    for job in jobs or [tuple(o for o in line.overrides if "(" not in o)]:
        one = replace(line, overrides=job)
        sources[job] = source_of(one)
        plan_of(one, sources[job])
    folder = (
        Path(line.typed("outputs") or "outputs") / "sweeps" / time.strftime("%Y-%m-%d/%H-%M-%S")
    )
    # Hydra composes every job once more, with what the first inherits: the values fit all jobs
    overrides = overrides_of(line, next(iter(sources.values())))
    given = len(overrides) - len(line.overrides)
    if line.typed("hydra.sweep.dir") is None:
        overrides = [*overrides, f"hydra.sweep.dir={folder}"]
    else:
        folder = Path(str(line.typed("hydra.sweep.dir")))

    def job_function(config: Any) -> float:
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        GlobalHydra.instance().clear()  # the job is composed anew, with what it inherits itself
        job = replace(line, overrides=(*hydra.overrides.task[given:], *of_hydra))
        return _run_job(job, sources, folder / "jobs.jsonl", hydra.job.num, len(jobs))

    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / "jobs.jsonl"
    journal.unlink(missing_ok=True)  # of the same sweep before
    run_hydra(["--multirun", *overrides], job_function)
    records = [json.loads(text) for text in journal.read_text().splitlines()]
    print_runs(screen.console(), [Path(r["run"]) for r in records if "run" in r], "sweep")
    failed = [record for record in records if "error" in record]
    for record in failed:
        print(f"nasrun: {' '.join(record['overrides'])}: {record['error']}", file=sys.stderr)
    return 2 if failed else 0


def _run_job(
    line: Line,
    sources: Mapping[tuple[str, ...], Source | None],
    journal: Path,
    number: int,
    total: int,
) -> float:
    """One job of a sweep, in whatever process its launcher chose; returns its accuracy.

    `sources` are what the jobs that were known beforehand continue.
    """
    from filelock import FileLock

    from nasrun.pipeline.execution import execute
    from nasrun.runs.report import score

    console, (typed, _) = screen.console(), line.split()
    console.rule(f"{number + 1} of {total}  {' '.join(typed)}", align="left")
    record: dict[str, Any] = {"overrides": list(typed)}
    accuracy = float("nan")
    try:
        known = line.overrides in sources
        source = sources[line.overrides] if known else source_of(line)
        run, stages = execute(plan_of(line, source), console)
        record["run"] = str(run.path)
        accuracy = score(stages)
    except Exception as error:  # noqa: BLE001  whatever ends one job, the others go on
        if os.environ.get("NASRUN_TRACEBACK"):
            traceback.print_exc()
        record["error"] = screen.told(error)
        console.print(f"nasrun: {record['error']}", markup=False)
    with FileLock(journal.with_suffix(".lock")), journal.open("a") as file:
        file.write(json.dumps(record) + "\n")
    return accuracy


def _check_sweeper(line: Line) -> None:
    """ValueError for what Hydra's basic sweeper would answer with a traceback."""
    size = line.typed("hydra.sweeper.max_batch_size")
    if size is not None and size.lstrip("-").isdigit() and int(size) < 1:
        raise ValueError(f"hydra.sweeper.max_batch_size={size}: use 1 or more")


def _jobs(overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """The overrides of every job of a sweep; empty where a sweeper draws them as it goes."""
    import itertools

    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ValueError(str(error).splitlines()[0]) from error
    axes = []
    other_sweeper = any(o.startswith("hydra/sweeper=") for o in overrides)
    for override in parsed:
        word = str(override.input_line)
        if not override.is_sweep_override():
            axes.append([word])
        elif override.is_discrete_sweep():
            key = override.get_key_element()
            try:
                axes.append([f"{key}={value}" for value in override.sweep_string_iterator()])
            except HydraException as error:
                raise ValueError(f"{word}: is not read; list the options, A,B,C") from error
            if not axes[-1]:
                raise ValueError(f"{word}: has no values; name one or more")
        elif not other_sweeper:
            raise ValueError(
                f"{word}: values are drawn by another sweeper; list them, or add one by "
                "hydra/sweeper=NAME"
            )
        else:
            return []
    return list(itertools.product(*axes))
