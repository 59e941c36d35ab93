"""What a selector is: a stage that turns what a strategy learned into one genotype."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

from nasrun.context import AnyContext
from nasrun.genotype import Genotype
from nasrun.spaces.base import Space
from nasrun.spaces.decision import DecisionSpace
from nasrun.stage import Metrics, Rehearsal, Stage
from nasrun.strategies.base import Strategy


class Selector(Stage):
    """A stage that ends with a genotype; `accepts` is the kind of strategy that it can read.

    It may choose among what the limits of its context allow; in the end a choice that they do not
    allow is exchanged for the nearest. `searches` is what the space has to be besides what the
    strategy asks of it, `space` the one that its choice is in.
    """

    accepts: type[Strategy]
    searches: tuple[type[Space], ...] = ()
    context: AnyContext
    space: DecisionSpace

    def begin(self, context: AnyContext, strategy: Strategy) -> None:
        """Take a strategy at the end of its search."""
        self.context, self.space = context, context.space
        self.read(strategy)

    @abstractmethod
    def read(self, strategy: Strategy) -> None:
        """Take from the strategy what the choice depends on."""

    def check(self, strategy: Strategy, space: DecisionSpace) -> None:
        """ValueError if what this strategy, begun and not yet searched, will leave cannot do."""

    def rehearse(self, context: AnyContext, strategy: Strategy) -> Iterable[Rehearsal]:
        """What lies ahead at a strategy that has begun, and cannot be used afterwards."""
        self.context, self.space = context, context.space
        return self.rehearsals(strategy)

    def rehearsals(self, strategy: Strategy) -> Iterable[Rehearsal]:
        """What lies ahead, kind by kind."""
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
        if (limits := self.context.limits) is not None:
            genotype = limits.nearest(genotype)
            costs = {"costs": limits.cost(genotype)}
        folder.write("genotype.json", genotype.to_json())
        result = {"genotype": self.space.render(genotype), **costs, **self.report(folder)}
        if self.context.measure is not None:
            measured = self.context.measure(genotype)
            if measured:
                folder.write("discretisation.json", measured)
            result |= measured
        return result


class Immediate(Selector):
    """A selector without rounds: `read` has the choice, and there is nothing to continue from."""

    @property
    def rounds(self) -> int:
        return 0

    def run_round(self) -> Metrics:
        raise AssertionError("it has no rounds")

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The choice is read anew."""
