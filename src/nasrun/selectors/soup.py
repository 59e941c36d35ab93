"""A greedy soup of members that share a genotype: the mean of their weights (2203.05482).

It starts with the best member. The others of its genotype are tried from best to worst, and each
stays in the mean if it does not lower the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from nasrun.genotype import Genotype
from nasrun.selectors.base import Selector
from nasrun.stage import Metrics
from nasrun.strategies.base import PopulationStrategy, Strategy
from nasrun.trained import Tensors, Trained


class Soup(Selector):
    """Tries one member per round, only those of the best one's genotype, so that weights match."""

    accepts = PopulationStrategy

    def read(self, strategy: Strategy) -> None:
        assert isinstance(strategy, PopulationStrategy)
        self.strategy = strategy
        ranked = sorted(strategy.candidates, key=lambda candidate: -candidate.score.merit)
        self._best = ranked[0]
        self._others = [other for other in ranked[1:] if other.genotype == self._best.genotype]
        self._taken = [0]
        self._score = self._best.score.value

    @property
    def rounds(self) -> int:
        return len(self._others)

    @property
    def genotype(self) -> Genotype:
        return self._best.genotype

    def run_round(self) -> Metrics:
        trial = [*self._taken, self.round + 1]
        mixed = self._soup(trial)
        delivery = self.strategy.delivery
        if self.round == 0:  # so that all scores use the same random numbers
            alone = self._soup(self._taken)
            self._score = delivery.score(self.genotype, alone, "soup")
        score = delivery.score(self.genotype, mixed, "soup")
        if score >= self._score:
            self._taken, self._score = trial, score
        return {"score": score, "best_score": self._score, "ingredients": len(self._taken)}

    def _soup(self, places: Sequence[int]) -> Trained:
        members = [self._best, *self._others]
        return mean([self.strategy.training_of(members[place]) for place in places])

    def state_dict(self) -> dict[str, Any]:
        return {"taken": list(self._taken), "score": self._score}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._taken, self._score = list(state["taken"]), state["score"]

    def report(self, folder: Any) -> dict[str, Any]:
        result = {
            **replace(self._best.score, value=self._score).report(),
            "ingredients": len(self._taken),
        }
        trained = self._soup(self._taken)
        return {**result, **self.strategy.delivery.deliver(self.genotype, trained, folder)}


def mean(trainings: Sequence[Trained]) -> Trained:
    """Return the mean of weights and averages; all else is the first training's.

    Integers and singular vectors of spectral norms are the first's, too.
    """
    first = trainings[0]
    return replace(
        first,
        network=_mean([trained.network for trained in trainings]),
        averages={
            key: _mean([trained.averages[key] for trained in trainings]) for key in first.averages
        },
    )


def _mean(states: Sequence[Tensors]) -> Tensors:
    mixed = {}
    for name, tensor in states[0].items():
        kept = not tensor.is_floating_point() or name.endswith(("._u", "._v"))
        mixed[name] = tensor if kept else torch.stack([state[name] for state in states]).mean(0)
    return mixed
