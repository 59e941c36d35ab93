"""The search: the first stage of a run."""

from __future__ import annotations

from nasrun.config.stages import SEARCH
from nasrun.pipeline.plan import Plan
from nasrun.pipeline.work import Work
from nasrun.runs.stage_folder import StageFolder
from nasrun.stage import Foreseen
from nasrun.strategies.base import Strategy


def perform(work: Work) -> list[StageFolder]:
    """Search, unless the search is finished."""
    plan, folder = work.plan, work.run.search()
    return [work.drive(folder, lambda: work.ready or start_search(plan))]


def begin_search(plan: Plan) -> Strategy:
    """Return the strategy with its data, before its first round."""
    assert plan.strategy is not None
    assert plan.task is not None
    plan.streams.enter(SEARCH.name)
    plan.task.begin(plan.dataset, plan.budget)
    plan.strategy.begin(plan.context(plan.task))
    return plan.strategy


def start_search(plan: Plan) -> Strategy:
    """Begin a search that will run.

    Raises ValueError if it needs too much memory, or cannot be selected from as asked.
    """
    strategy = begin_search(plan)
    if isinstance(strategy, Foreseen):
        plan.budget.refuse_beyond(strategy.foreseen_bytes, "this search")
    if plan.selector is not None:
        plan.selector.check(strategy, plan.space)
        assert plan.task is not None
        plan.selector.check_data(plan.task)
    return strategy
