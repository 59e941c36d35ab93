"""Deriving the architecture from the alphas: DARTS's `magnitude` and SNAS's `argmax`."""

from __future__ import annotations

from typing import Any

from nasrun.genotype import Genotype
from nasrun.selectors.base import Immediate
from nasrun.strategies.base import Strategy, SupernetStrategy
from nasrun.supernet.supernet import Rule


class Decode(Immediate):
    """A selector without rounds: a rule from probabilities to a genotype."""

    accepts = SupernetStrategy

    def __init__(self, *, rule: Rule) -> None:
        self.rule = rule

    def read(self, strategy: Strategy) -> None:
        assert isinstance(strategy, SupernetStrategy)
        self._genotype = strategy.supernet.genotype(self.rule)
        if (limits := self.context.limits) is not None:
            likely = strategy.supernet.probabilities()
            self._genotype = limits.nearest(self._genotype, likely)

    @property
    def genotype(self) -> Genotype:
        return self._genotype

    def report(self, folder: Any) -> dict[str, Any]:
        return {}
