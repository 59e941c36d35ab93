"""Random search: sample architectures uniformly, score each, keep the best.

It is the baseline of every search (1902.07638).
"""

from __future__ import annotations

from nasrun.genotype import Genotype
from nasrun.strategies.evaluated import EvaluatedSearch


class RandomSearch(EvaluatedSearch):
    """Samples every proposal uniformly."""

    def propose(self, count: int) -> list[Genotype]:
        return [self.within_limits(self.space.sample(self.stream)) for _ in range(count)]
