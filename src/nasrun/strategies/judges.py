"""What an operation is worth to a supernet: by masking it (DARTS-PT, 2108.04392), or by its alpha.

A judge says how good a supernet is without one of its candidates, bigger is better: the operation
that is missed most has the lowest score and is kept, the edge that is missed least has the highest
and is dropped.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from nasrun.genotype import Decision
from nasrun.stage import Metrics
from nasrun.strategies.base import Mask, SupernetStrategy

Criterion = Literal["accuracy", "loss"]
Scores = dict[str, float]


class Judge(ABC):
    """How good a supernet is without a candidate, or without an edge that is decided."""

    passes: int
    """How many passes over the validation data a score takes."""
    measure: str = "score"
    """What a score is of."""
    images: int | None = None
    """Of how many images a pass is, null is all."""

    def check(self, strategy: SupernetStrategy, owner: str) -> None:
        """ValueError if there are fewer validation images than a pass takes.

        `owner` is the group that the judge is a setting of.
        """
        if self.images is not None:
            try:
                strategy.task.subset(strategy.validation, self.images)
            except ValueError as error:
                raise ValueError(f"{owner}.judge.{error}") from error

    @abstractmethod
    def operations(self, strategy: SupernetStrategy, decision: Decision) -> Scores:
        """Without each candidate of an open decision."""

    @abstractmethod
    def edges(self, strategy: SupernetStrategy, decided: Scores) -> Scores:
        """Without each of these edges; `decided` has the scores that their operations had then."""

    def decide(
        self, strategy: SupernetStrategy, decision: Decision, possible: Collection[str]
    ) -> tuple[str, Scores]:
        """The possible choice whose removal costs most, ties go to the first; and all scores.

        `none` is measured too: without it the supernet is as it was, since nothing is normalised
        again. It is possible only in a space where it is a choice.
        """
        scores = self.operations(strategy, decision)
        allowed = [choice for choice in scores if choice in possible]
        return min(allowed, key=scores.__getitem__), scores


class Masking(Judge):
    """The validation accuracy, or minus the loss, with a candidate's weight set to zero.

    Without a candidate after whose loss no number is left the supernet is worst: that one stays.
    """

    passes = 1
    criterion: Criterion

    @abstractmethod
    def measured(self, strategy: SupernetStrategy, masks: Sequence[Mask]) -> list[Metrics]:
        """The metrics without each of these."""

    def operations(self, strategy: SupernetStrategy, decision: Decision) -> Scores:
        masks = {choice: (decision.name, choice) for choice in decision.choices}
        return self._scores(strategy, masks)

    def edges(self, strategy: SupernetStrategy, decided: Scores) -> Scores:
        masks = {name: (name, strategy.supernet.fixed[name]) for name in decided}
        return self._scores(strategy, masks)

    def _scores(self, strategy: SupernetStrategy, masks: Mapping[str, Mask]) -> Scores:
        sign = 1 if self.criterion == "accuracy" else -1
        measured = self.measured(strategy, list(masks.values()))
        found = [sign * metrics[self.criterion] for metrics in measured]
        found = [score if math.isfinite(score) else -math.inf for score in found]
        return dict(zip(masks, found, strict=True))


class Masked(Masking):
    """The metrics on images in fixed order, without augmentation.

    `images` measures on a fixed stratified part of so many, null on all. `batch_size` of them share
    batch norms' statistics, null is as many as in training.
    """

    def __init__(self, *, criterion: Criterion, images: int | None, batch_size: int | None) -> None:
        if images is not None and images < 1:
            raise ValueError(f"images={images}: use at least 1, or null for all")
        if batch_size is not None and batch_size < 2:
            raise ValueError(
                f"batch_size={batch_size}: use at least 2, or null for that of the search"
            )
        self.measure = self.criterion = criterion
        self.images = images
        self.batch_size = batch_size

    def measured(self, strategy: SupernetStrategy, masks: Sequence[Mask]) -> list[Metrics]:
        together = self.batch_size or strategy.batch_size
        return strategy.masked(masks, images=self.images, batch_size=together)


class MaskedInTraining(Masking):
    """As DARTS-PT's released code measures: on augmented images in random order.

    In training mode, so that every masked network moves the running statistics of batch norms.
    """

    def __init__(self, *, criterion: Criterion) -> None:
        self.measure = self.criterion = criterion

    def measured(self, strategy: SupernetStrategy, masks: Sequence[Mask]) -> list[Metrics]:
        return strategy.masked(masks, images=self.images, in_training=True)


class Magnitude(Judge):
    """Minus the probability that the alphas give the candidate: DARTS-PT's ablation PT-Mag.

    An edge is as strong as its operation was when it was decided: no loss moves its alphas since.
    """

    passes = 0
    measure = "probability"

    def operations(self, strategy: SupernetStrategy, decision: Decision) -> Scores:
        row = strategy.supernet.probabilities()[decision.name]
        return {choice: -p for choice, p in row.items()}

    def edges(self, strategy: SupernetStrategy, decided: Scores) -> Scores:
        return dict(decided)
