"""The selection: from the result of a search to one architecture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from nasrun.budget import LIMITS
from nasrun.config.stages import SELECT
from nasrun.context import AnyContext
from nasrun.data.table import Table
from nasrun.display import say
from nasrun.genotype import Genotype
from nasrun.keyed import keyed
from nasrun.pictures import cells
from nasrun.pictures.figure import place_of
from nasrun.pipeline.named_files import digests
from nasrun.pipeline.plan import Plan
from nasrun.pipeline.search import begin_search
from nasrun.pipeline.work import Work, read_genotype
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder
from nasrun.selectors.base import DISCRETISATION, Selector
from nasrun.selectors.discretisation import discretise, rehearsals
from nasrun.spaces.base import Space, listed
from nasrun.stage import Metrics, Rehearsal
from nasrun.strategies.base import Strategy, SupernetStrategy


def perform(work: Work) -> list[StageFolder]:
    """Select, unless that is done; then look up the choice in a table and draw it."""
    plan = work.plan
    own = {
        "selector": plan.settings["selector"],
        "budget": plan.settings["budget"],
        **plan.counted,
    }
    own |= digests(own)
    parent = work.run.search().fingerprint
    folder = work.run.branch(SELECT.name, plan.choices["selector"], own, parent)
    work.tell_why_new(folder, own)
    done = plan.budget.world.first(lambda: folder.finished)
    if not done:
        _tell_unlimited(work)
    work.drive(folder, lambda: _begin(plan, work.run))
    if done:
        _measure_late(work, folder)
    plan.budget.world.first(partial(_complete, plan.space, folder))
    return [folder]


def _tell_unlimited(work: Work) -> None:
    """Print that a selection leaves out the limits of its search."""
    theirs, ours = work.run.config["budget"], work.plan.settings["budget"]
    lost = [key for key in LIMITS if theirs.get(key) is not None and ours.get(key) is None]
    if lost:
        lost += ["latency_table"] if "max_latency_ms" in lost else []
        said = " ".join(f"budget.{key}={theirs[key]}" for key in lost)
        say(
            work.console,
            f"select: the search was limited by {said}, this selection is not; add that to the "
            "command to keep it limited",
        )


def _measure_late(work: Work, folder: StageFolder) -> None:
    """Measure the discretisation gap of a selection that was finished without it."""
    plan, run, world = work.plan, work.run, work.plan.budget.world
    asked = plan.discretisation and isinstance(plan.strategy, SupernetStrategy)
    if not asked or world.first((folder.path / DISCRETISATION).exists):
        return
    if not world.first(lambda: run.search().restorable):
        say(work.console, f"{folder.title}: no gap is measured, since the search's state is gone")
        return
    say(work.console, f"{folder.title}: measures the discretisation gap, which was left out")
    work.note()
    strategy = begin_search(plan)
    assert isinstance(strategy, SupernetStrategy)
    measured = _discretise(plan, run, strategy, read_genotype(folder, plan.space))
    if not measured:
        say(work.console, f"{folder.title}: no gap, since the choice is not in the supernet")
    if world.leads:
        folder.amend(measured)
        folder.write(DISCRETISATION, measured)  # last: it says that nothing is missing
    world.meet()


def _complete(space: Space, folder: StageFolder) -> None:
    _look_up(space, folder)
    _draw(space, folder)


def _begin(plan: Plan, run: Run) -> Selector:
    assert plan.selector is not None
    strategy = begin_search(plan)
    run.search().load(strategy)
    context = _context(plan, strategy)
    if plan.discretisation and isinstance(strategy, SupernetStrategy):
        context = replace(context, measure=partial(_discretise, plan, run, strategy))
    plan.streams.enter(SELECT.name)
    plan.selector.begin(context, strategy)
    return plan.selector


def _context(plan: Plan, strategy: Strategy) -> AnyContext:
    """Return the selector's context.

    Limits apply to the choices that a supernet still has, unless only others of the space meet
    them.
    """
    assert plan.strategy is not None
    assert plan.task is not None
    limits = plan.limits
    if limits is not None and isinstance(strategy, SupernetStrategy):
        limits = limits.inside(strategy.supernet.space) or limits
    return replace(plan.context(plan.task), limits=limits)


def rehearse(plan: Plan) -> tuple[Selector, Strategy, Iterator[Rehearsal]]:
    """Return the selector, its strategy and its rehearsals, on untrained supernets."""
    assert plan.selector is not None
    strategy = begin_search(plan)
    return plan.selector, strategy, _rehearsals(plan, plan.selector, strategy)


def _rehearsals(plan: Plan, selector: Selector, strategy: Strategy) -> Iterator[Rehearsal]:
    if isinstance(strategy, SupernetStrategy):
        strategy.skip_ahead()
    yield from selector.rehearse(_context(plan, strategy), strategy)
    if plan.discretisation and isinstance(strategy, SupernetStrategy):
        begin_search(plan)  # the selector may have changed the supernet
        strategy.skip_ahead()
        yield from rehearsals(strategy)


def _discretise(plan: Plan, run: Run, strategy: SupernetStrategy, genotype: Genotype) -> Metrics:
    """Return what the choice loses in the supernet, in the state in which the search ended.

    It uses its own random numbers, since it comes after all rounds: an interruption repeats it. The
    result is empty if limits led to a genotype outside of the supernet.
    """
    run.search().load(strategy)
    if not strategy.supernet.space.has(genotype):
        return {}
    plan.streams.enter("discretisation")
    return discretise(strategy, genotype)


def _look_up(space: Space, folder: StageFolder) -> None:
    """Add the true accuracies from the space's table to a result, now that it is chosen."""
    if space.table is not None:
        with keyed("space"):
            table = Table.read(Path(space.table))
            known = table.truth(listed(space, read_genotype(folder, space)))
        folder.amend({"true": known})


def _draw(space: Space, folder: StageFolder) -> None:
    stem = folder.path / "cells"
    if not all(path.exists() for path in cells.cell_pictures(stem)):  # a kill may have lost one
        cells.draw_cells(space.cells(read_genotype(folder, space)), stem, place_of(stem))
