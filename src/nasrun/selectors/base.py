"""Selectors: stages that turn the result of a strategy into one genotype."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

from nasrun.context import AnyContext
from nasrun.genotype import Genotype
from nasrun.spaces.base import Space
from nasrun.spaces.decision import DecisionSpace
from nasrun.stage import Divided, Metrics, Rehearsal, Stage
from nasrun.strategies.base import Strategy

DISCRETISATION = "discretisation.json"
"""The file of the discretisation gap in a selection's folder, empty if there is none to measure."""


class Selector(Stage):
    """A stage that ends with a genotype; `accepts` is the kind of strategy that it can read.

    A selector may heed the limits of its context; at the end, a genotype that they forbid is
    replaced by the nearest one that they allow. `searches` lists the classes that the space must be
    an instance of, besides those that the strategy needs; `space` is the space of the genotype.
    """

    accepts: type[Strategy]
    searches: tuple[type[Space], ...] = ()
    context: AnyContext
    space: DecisionSpace

    def begin(self, context: AnyContext, strategy: Strategy) -> None:
        """Receive the context and a strategy at the end of its search."""
        self.context, self.space, self.streams = context, context.space, context.streams
        self.read(strategy)

    @abstractmethod
    def read(self, strategy: Strategy) -> None:
        """Read from the strategy everything that the choice depends on."""

    def check(self, strategy: Strategy, space: Any) -> None:
        """Raise ValueError if the strategy, begun but not searched, cannot be selected from."""

    def check_data(self, task: Any) -> None:
        """Raise ValueError if the task, which has begun, has too few images for the settings."""

    def rehearse(self, context: AnyContext, strategy: Strategy) -> Iterable[Rehearsal]:
        """Return rehearsals of the selection; the begun strategy cannot be used afterwards."""
        self.context, self.space, self.streams = context, context.space, context.streams
        return self.rehearsals(strategy)

    def rehearsals(self, strategy: Strategy) -> Iterable[Rehearsal]:
        """Return one rehearsal per kind of round."""
        return ()

    @property
    @abstractmethod
    def genotype(self) -> Genotype:
        """The chosen genotype, once the stage is done."""

    @abstractmethod
    def report(self, folder: Any) -> dict[str, Any]:
        """Write the selector's own files, and return further entries for `result.json`."""

    def allows(self, genotype: Genotype) -> bool:
        """Return whether a genotype is within the limits, if there are any."""
        return self.context.limits is None or self.context.limits.allow(genotype)

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
            folder.write(DISCRETISATION, measured)
            result |= measured
        return result


class Immediate(Selector, Divided):
    """A selector without rounds and without a state: `read` makes the choice."""

    @property
    def rounds(self) -> int:
        return 0

    @property
    def smallest_batch(self) -> float:
        return math.inf  # nothing is trained or measured, so no batch is divided

    def run_round(self) -> Metrics:
        raise AssertionError("this selector has no rounds")

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing, since `read` makes the choice again."""
