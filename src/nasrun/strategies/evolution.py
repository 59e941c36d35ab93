"""Regularised evolution: the oldest of a population dies, not the worst (1802.01548).

The population is the last `population` candidates, so it needs no state of its own.
"""

from __future__ import annotations

import math

import torch

from nasrun.evaluators.base import Evaluator
from nasrun.genotype import Genotype
from nasrun.strategies.evaluated import EvaluatedSearch


class Evolution(EvaluatedSearch):
    """Random architectures, then mutations of the best of `tournament` drawn members.

    Those of one round have parents from the same population: they are scored together.
    """

    def __init__(
        self,
        *,
        num_candidates: int,
        together: int,
        population: int,
        tournament: int,
        evaluator: Evaluator,
    ) -> None:
        super().__init__(num_candidates=num_candidates, together=together, evaluator=evaluator)
        if not 1 <= tournament <= population:
            raise ValueError(
                f"tournament={tournament} population={population}: "
                "from 1 on, as many as the population at most"
            )
        first = together * math.ceil(population / together)  # a round is proposed at once
        if num_candidates <= first:
            raise ValueError(
                f"num_candidates={num_candidates} population={population} together={together}: "
                f"more candidates than {first}, or nothing evolves"
            )
        self.population = population
        self.tournament = tournament

    def propose(self, count: int) -> list[Genotype]:
        return [self._child() for _ in range(count)]

    def _child(self) -> Genotype:
        alive = self.candidates[-self.population :]
        if len(alive) < self.population:
            return self.space.sample()
        drawn = torch.randperm(len(alive))[: self.tournament].tolist()
        parent = max((alive[place] for place in drawn), key=lambda candidate: candidate.score.merit)
        return self.space.mutate(parent.genotype)
