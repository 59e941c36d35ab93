"""Jobs that are divided among the processes that share the work of a command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

from nasrun.budget import Budget
from nasrun.engines.base import Engine, Job
from nasrun.world import World


class Shared(Engine):
    """Runs this process's part of all orders with its own `engine`, and exchanges the results.

    Each job is done by one process alone, on a copy that knows of no others.
    """

    def __init__(self, engine: Engine, world: World) -> None:
        self.engine, self.world = engine, world
        self.elsewhere = engine.elsewhere
        self._job: Job | None = None
        self._alone: Job | None = None

    def check(self, budget: Budget) -> None:
        self.engine.check(budget)

    def run(self, job: Job, orders: Sequence[Any], cores: int) -> Iterator[tuple[int, Any]]:
        if self._alone is None or job is not self._job:
            self._job, self._alone = job, deepcopy(job)
        places = self.world.own(range(len(orders)))
        own = self.engine.run(self._alone, [orders[place] for place in places], cores)
        done = [(places[position], result) for position, result in own]
        for part in self.world.together(done):
            yield from part

    def side_by_side(self, cores: int) -> int:
        return self.world.size * self.engine.side_by_side(cores)

    def close(self) -> None:
        self.engine.close()
