"""What an operation is worth to a supernet: by masking it (DARTS-PT, 2108.04392), or by its alpha.

A judge says how good a supernet is without one of its candidates, bigger is better: the operation
that is missed most has the lowest score and is kept, the edge that is missed least has the highest
and is dropped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Literal

from nasrun.genotype import Decision
from nasrun.stage import Metrics
from nasrun.strategies.base import SupernetStrategy

Criterion = Literal["accuracy", "loss"]
Scores = dict[str, float]


class Judge(ABC):
    """How good a supernet is without a candidate, or without an edge that is decided."""

    passes: int
    """How many passes over the validation data a score takes."""

    @abstractmethod
    def operation(self, strategy: SupernetStrategy, decision: str, choice: str) -> float:
        """Without one candidate of an open decision."""

    @abstractmethod
    def edge(self, strategy: SupernetStrategy, decision: str, score: float) -> float:
        """Without a decided edge; `score` is what its operation had when it was decided."""

    def decide(
        self, strategy: SupernetStrategy, decision: Decision, possible: Collection[str]
    ) -> tuple[str, Scores]:
        """Of the possible choices the one that is missed most, the first of equals; all scores.

        `none` is measured too: without it the supernet is as it was, since nothing is normalised
        again. It is possible only in a space where it is a choice.
        """
        scores = {
            choice: self.operation(strategy, decision.name, choice)
            for choice in strategy.track(decision.choices, len(decision.choices))
        }
        allowed = [choice for choice in scores if choice in possible]
        return min(allowed, key=scores.__getitem__), scores


class Masked(Judge):
    """The validation accuracy, or minus the loss, with the candidate's weight set to zero.

    `images` measures on a fixed stratified part of so many validation images, null on all.
    """

    passes = 1

    def __init__(self, *, criterion: Criterion, images: int | None) -> None:
        if images is not None and images < 1:
            raise ValueError(f"images={images}: at least 1, or null for all")
        self.criterion: Criterion = criterion
        self.images = images

    def operation(self, strategy: SupernetStrategy, decision: str, choice: str) -> float:
        metrics = strategy.validate(without=(decision, choice), images=self.images)
        return _goodness(metrics, self.criterion)

    def edge(self, strategy: SupernetStrategy, decision: str, score: float) -> float:
        return self.operation(strategy, decision, strategy.supernet.fixed[decision])


class MaskedInTraining(Judge):
    """Masking as DARTS-PT's released code measures it: on augmented images in random order.

    In training mode, so that every masked network moves the running statistics of batch norms.
    """

    passes = 1

    def __init__(self, *, criterion: Criterion) -> None:
        self.criterion: Criterion = criterion

    def operation(self, strategy: SupernetStrategy, decision: str, choice: str) -> float:
        metrics = strategy.validate(without=(decision, choice), in_training=True)
        return _goodness(metrics, self.criterion)

    def edge(self, strategy: SupernetStrategy, decision: str, score: float) -> float:
        return self.operation(strategy, decision, strategy.supernet.fixed[decision])


class Magnitude(Judge):
    """Minus the probability that the alphas give the candidate: DARTS-PT's ablation PT-Mag.

    An edge is as strong as its operation was when it was decided: no loss moves its alphas since.
    """

    passes = 0

    def operation(self, strategy: SupernetStrategy, decision: str, choice: str) -> float:
        return -strategy.supernet.probabilities()[decision][choice]

    def edge(self, strategy: SupernetStrategy, decision: str, score: float) -> float:
        return score


def _goodness(metrics: Metrics, criterion: Criterion) -> float:
    return metrics["accuracy"] if criterion == "accuracy" else -metrics["loss"]
