"""The candidate with the best score, and its weights if the strategy trained it."""

from __future__ import annotations

from typing import Any

from nasrun.genotype import Genotype
from nasrun.selectors.base import Immediate
from nasrun.strategies.base import ScoredStrategy, Strategy, eligible


class Fittest(Immediate):
    """A selector without rounds: the architecture with the best score; ties go to the first."""

    accepts = ScoredStrategy

    def read(self, strategy: Strategy) -> None:
        assert isinstance(strategy, ScoredStrategy)
        self.strategy = strategy
        candidates = eligible(strategy.candidates, self.context.limits)
        self._best = max(candidates, key=lambda candidate: candidate.score.merit)
        self._among = len(strategy.candidates)

    @property
    def genotype(self) -> Genotype:
        return self._best.genotype

    def report(self, folder: Any) -> dict[str, Any]:
        found: dict[str, Any] = {"candidates": self._among}
        if self.allows(self._best.genotype):
            found |= self._best.score.report()  # else `finish` replaces the genotype
        return {**found, **self.strategy.deliver(self._best, folder)}
