"""What a selector is: a stage that turns what a strategy learned into one genotype."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from nasrun.budget import Budget
from nasrun.costs.limits import Limits
from nasrun.genotype import Genotype
from nasrun.spaces.base import Space
from nasrun.stage import Metrics, Rehearsal, Stage
from nasrun.strategies.base import Strategy
from nasrun.tasks.base import Task


class Selector(Stage):
    """A stage that ends with a genotype; `accepts` is the kind of strategy that it can read.

    `limits` are what the genotype may cost, null for none; `task` has begun, and `budget` is the
    command's. All are set before `begin`. A selector may choose among what the limits allow; in the
    end a choice that they do not is exchanged for the nearest.
    """

    accepts: type[Strategy]
    space: Space
    limits: Limits | None = None
    task: Task
    budget: Budget
    measure: Callable[[Genotype], Metrics] | None = None
    """What the pipeline wants to know of the choice besides; the strategy may be put back by it."""

    @abstractmethod
    def begin(self, strategy: Strategy, space: Space) -> None:
        """Take a strategy at the end of its search."""

    def check(self, strategy: Strategy, space: Space) -> None:
        """ValueError if what this strategy, begun and not yet searched, will leave cannot do."""

    def rehearsals(self, strategy: Strategy, space: Space) -> Iterable[Rehearsal]:
        """What lies ahead at a strategy that has begun, not searched, and is of no other use."""
        return ()

    @property
    @abstractmethod
    def genotype(self) -> Genotype:
        """The choice, once the stage is done."""

    @abstractmethod
    def report(self, folder: Any) -> dict[str, Any]:
        """Write the selector's own files, if any; what `result.json` holds besides the genotype."""

    def finish(self, folder: Any) -> dict[str, Any]:
        genotype = self.genotype
        costs = {}
        if self.limits is not None:
            genotype = self.limits.nearest(genotype)
            costs = {"costs": self.limits.cost(genotype)}
        folder.write("genotype.json", genotype.to_json())
        result = {"genotype": self.space.render(genotype), **costs, **self.report(folder)}
        if self.measure is not None:
            measured = self.measure(genotype)
            if measured:
                folder.write("discretisation.json", measured)
            result |= measured
        return result


class Immediate(Selector):
    """A selector without rounds: `begin` has the choice, and there is nothing to continue from."""

    @property
    def rounds(self) -> int:
        return 0

    def run_round(self) -> Metrics:
        raise AssertionError("it has no rounds")

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The choice is read anew."""
