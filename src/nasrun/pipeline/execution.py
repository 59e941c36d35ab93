"""Executes a plan in a run, stage by stage."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nasrun.display import say
from nasrun.pipeline.plan import Plan
from nasrun.runs.differences import settings, why_new
from nasrun.runs.recorded import identity
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder
from nasrun.trackers.mirror import tracking

if TYPE_CHECKING:
    from rich.console import Console

    from nasrun.stage import Stage


@dataclass
class Left:
    """The run and the finished stages that a command has left so far, also if it fails."""

    run: Run | None = None
    stages: list[StageFolder] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Return the paths of both, nothing without a run."""
        if self.run is None:
            return {}
        return {"run": str(self.run.path), "stages": [str(each.path) for each in self.stages]}


def execute(
    plan: Plan, console: Console, sweep: str = "", left: Left | None = None
) -> tuple[Run, list[StageFolder]]:
    """Run the stages that are not finished yet.

    Returns the run, with its report written, and the command's stages in order; `left` has both
    from the beginning. `sweep` names the sweep that the command is a job of.
    """
    from nasrun.pipeline.work import Work

    left = Left() if left is None else left
    plan.budget.apply()
    world = plan.budget.world
    run = plan.source.run if plan.source else world.first(partial(_find, plan))
    ready: Stage | None = None
    others: list[Run] = []
    if run is None:
        if plan.extend:
            raise ValueError(
                f"extend=true: there is no run of {plan.family} yet whose training could go on; "
                "leave it out"
            )
        Run.check_writable(plan.outputs, plan.family)
        others = Run.versions(plan.outputs, plan.family)
        Run.refuse_changed(plan.outputs, plan.family, plan.config, plan.contents)
    world.first(plan.look)
    if run is None:
        ready = _first_stage(plan)  # reads the data, so that faults in them leave no folder
        run = world.first(partial(_claim, plan))
    left.run = run
    console.print(str(run.path), style="bold", highlight=False, markup=False)
    if others and others[-1].path != run.path:
        ours, theirs = (
            settings(identity(each.config), scale=each.record["scale"])
            for each in (run, others[-1])
        )
        if (text := why_new(ours, theirs, others[-1].path.name)) is not None:
            say(console, text)
    with run.lock() if world.leads else nullcontext():
        if world.leads:
            run.touch()
        try:
            with tracking(plan.trackers if world.leads else {}, run, sweep) as tracked:
                work = Work(plan, run, console, ready, tracked, left.stages)
                tracked.catch_up(but=[kind.name for kind in plan.kinds])
                for kind in plan.kinds:
                    work.done += import_module(f"nasrun.pipeline.{kind.name}").perform(work)
                    tracked.catch_up()
        except BaseException:
            if world.leads:
                with suppress(ValueError, OSError):  # the stage itself reports a full disk
                    run.write_report()
            raise
        world.first(run.write_report)
    return run, work.done


def _find(plan: Plan) -> Run | None:
    return Run.find(plan.outputs, plan.family, plan.config)


def _claim(plan: Plan) -> Run:
    return Run.claim(plan.outputs, plan.family, plan.config, plan.record, plan.contents)


def _first_stage(plan: Plan) -> Stage:
    """Return the first stage of a new run, begun."""
    from nasrun.pipeline.search import start_search
    from nasrun.pipeline.training import begin_training

    if plan.genotype is None:
        return start_search(plan)
    return begin_training(plan, plan.kinds[0], plan.genotype)
