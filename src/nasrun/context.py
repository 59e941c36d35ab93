"""What a stage works with, in one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from nasrun.budget import Budget
    from nasrun.costs.limits import Limits
    from nasrun.engines.base import Engine
    from nasrun.genotype import Genotype
    from nasrun.spaces.base import Space
    from nasrun.stage import Metrics
    from nasrun.tasks.base import Task

SpaceT = TypeVar("SpaceT", bound="Space")
TaskT = TypeVar("TaskT", bound="Task")


@dataclass(frozen=True, kw_only=True)
class Context(Generic[SpaceT, TaskT]):
    """Everything that `begin` of a stage takes; nothing is set from outside afterwards.

    task: has begun, so it has its data. limits: what the found network may cost, `None` for any.
    engine: runs jobs side by side; given to a stage with a part that is `OnEngine`. measure: what a
    selection reports of its choice besides; it may put the strategy back to the end of its search.
    """

    space: SpaceT
    task: TaskT
    budget: Budget
    limits: Limits | None = None
    engine: Engine | None = None
    measure: Callable[[Genotype], Metrics] | None = None


AnyContext = Context[Any, Any]
