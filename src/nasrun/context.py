"""The context of a stage: everything that it works with, in one object."""

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
    from nasrun.streams import Streams
    from nasrun.tasks.base import Task

SpaceT = TypeVar("SpaceT", bound="Space")
TaskT = TypeVar("TaskT", bound="Task")


@dataclass(frozen=True, kw_only=True)
class Context(Generic[SpaceT, TaskT]):
    """Everything that a stage's `begin` receives; nothing is set from outside afterwards.

    `task` has begun, so it has its data. `streams` have the random numbers, always those of the
    running round. `limits` are those on the found network's costs, or
    `None`. `engine` is given to a stage that is `OnEngine`. `measure` returns further metrics of a
    selected genotype; it may reset the strategy to the end of its search.
    """

    space: SpaceT
    task: TaskT
    budget: Budget
    streams: Streams
    limits: Limits | None = None
    engine: Engine | None = None
    measure: Callable[[Genotype], Metrics] | None = None


AnyContext = Context[Any, Any]
