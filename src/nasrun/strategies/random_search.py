"""Random search: draw architectures uniformly, score each, keep the best.

The baseline of every search (1902.07638).
"""

from __future__ import annotations

from nasrun.genotype import Genotype
from nasrun.strategies.evaluated import EvaluatedSearch


class RandomSearch(EvaluatedSearch):
    """Every proposal is drawn uniformly."""

    def propose(self, count: int) -> list[Genotype]:
        return [self.space.sample() for _ in range(count)]
