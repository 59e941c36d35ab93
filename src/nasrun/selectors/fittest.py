"""The candidate with the best score, and its weights where the strategy trained it."""

from __future__ import annotations

from typing import Any

from nasrun.genotype import Genotype
from nasrun.selectors.base import Selector
from nasrun.spaces.base import Space
from nasrun.stage import Metrics
from nasrun.strategies.base import ScoredStrategy, Strategy


class Fittest(Selector):
    """A selector without rounds: the best-scored architecture, the first of equals."""

    accepts = ScoredStrategy

    @property
    def rounds(self) -> int:
        return 0

    def begin(self, strategy: Strategy, space: Space) -> None:
        assert isinstance(strategy, ScoredStrategy)
        self.strategy, self.space = strategy, space
        limits, candidates = self.limits, strategy.candidates
        if limits is not None:
            candidates = [c for c in candidates if limits.allow(c.genotype)] or candidates
        self._best = max(candidates, key=lambda candidate: candidate.score)
        self._among = len(strategy.candidates)

    @property
    def genotype(self) -> Genotype:
        return self._best.genotype

    def report(self, folder: Any) -> dict[str, Any]:
        scored = {"validation_score": self._best.score, "candidates": self._among}
        return {**scored, **self.strategy.deliver(self._best, folder)}

    def run_round(self) -> Metrics:
        raise AssertionError("reading the scores takes no rounds")

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to continue from: the scores are read anew."""
