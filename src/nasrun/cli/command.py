"""Runs or plans one command of stages: finds its source, prepares it, and executes it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from nasrun.cli import screen
from nasrun.cli.hydra_app import run_hydra
from nasrun.cli.line import Line
from nasrun.cli.prepared import overrides_of, plan_of, source_of
from nasrun.cli.processes import joined, start
from nasrun.cli.sweep import run_sweep
from nasrun.world import Launched

if TYPE_CHECKING:
    from rich.console import Console

    from nasrun.pipeline.plan import Plan
    from nasrun.runs.finding import Source


def run_line(line: Line) -> int:
    """Run one command, a sweep, or what Hydra's flags ask for, and return the exit status."""
    from nasrun.config import compose

    line.refuse_idle_options()
    if line.multirun and line.flags:
        raise ValueError(f"--multirun, {line.flags[0]}: leave one of the two out")
    if line.multirun:
        return run_sweep(line)
    source = source_of(line)
    if line.flags:
        words = compose(overrides_of(line, source)).words  # reports a mistyped word on one line
        flags = dict.fromkeys([*line.flags, *(["--resolve"] if _asks_for_job(line) else [])])
        return run_hydra([*flags, *words], lambda config: None)
    return _run_one(line, source)


def _asks_for_job(line: Line) -> bool:
    """Return whether `--cfg job` is typed, which prints values instead of references to them."""
    parts = [part for flag in line.flags for part in flag.split("=", 1)]
    return any(flag in ("--cfg", "-c") and value == "job" for flag, value in pairwise(parts))


def _run_one(line: Line, source: Source | None) -> int:
    from nasrun.pipeline.execution import execute
    from nasrun.runs.report import print_run

    console, plan = screen.console(), plan_of(line, source)
    if line.only_foreseen:
        return _foresee(console, plan)
    if plan.budget.size > 1 and Launched.here() is None:
        return start(line, plan.budget.size)
    with joined(plan.budget):
        run, _ = execute(plan, console)
    print_run(console, run)
    return 0


def _foresee(console: Console, plan: Plan) -> int:
    """Print the tables of `nasrun plan`; ValueError if the run is refused."""
    from nasrun.display import telling
    from nasrun.pipeline.forecast import print_outlook
    from nasrun.pipeline.foresight import foresee

    with telling() as report:
        outlook = foresee(plan, report)
    print_outlook(console, plan.family, outlook)
    if outlook.refusals:
        raise ValueError("; ".join(outlook.refusals))
    return 0
