"""The value of an operation to a supernet: by masking it (DARTS-PT, 2108.04392) or by its alpha.

A judge scores a supernet without one of its candidates, higher is better. So the operation with the
lowest score is missed most and is kept, and the edge with the highest score is missed least and is
dropped.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from nasrun.genotype import Decision
from nasrun.keyed import keyed
from nasrun.stage import Metrics
from nasrun.strategies.base import Mask, SupernetStrategy

Criterion = Literal["accuracy", "loss"]
Scores = dict[str, float]


class Judge(ABC):
    """Scores a supernet without a candidate, or without a decided edge."""

    passes: int
    """Number of passes over the validation data per score."""
    measure: str = "score"
    """Name of the score in pictures."""
    images: int | None = None
    """Number of images per pass, `None` for all."""

    def check(self, strategy: SupernetStrategy, owner: str) -> None:
        """Raise ValueError if there are fewer validation images than a pass needs.

        `owner` is the group that the judge is a setting of.
        """
        if self.images is not None:
            with keyed(f"{owner}.judge"):
                strategy.task.subset(strategy.validation, self.images)

    @abstractmethod
    def operations(self, strategy: SupernetStrategy, decision: Decision) -> Scores:
        """Return the score without each candidate of an open decision."""

    @abstractmethod
    def edges(self, strategy: SupernetStrategy, decided: Scores) -> Scores:
        """Return the score without each edge; `decided` has their scores from when they were fixed.

        A score in `decided` is that of the edge's operation.
        """

    def decide(
        self, strategy: SupernetStrategy, decision: Decision, possible: Collection[str]
    ) -> tuple[str, Scores]:
        """Return the possible choice whose removal costs most, and all scores.

        Ties go to the first. `none` is scored too: masking it changes nothing, since weights are
        not normalised again. It is possible only in a space where it is a choice.
        """
        scores = self.operations(strategy, decision)
        allowed = [choice for choice in scores if choice in possible]
        return min(allowed, key=scores.__getitem__), scores


class Masking(Judge):
    """The validation accuracy, or minus the loss, with a candidate's weight set to zero.

    If removing a candidate gives no finite number, its score is minus infinity, so it is kept.
    """

    passes = 1
    criterion: Criterion

    def check(self, strategy: SupernetStrategy, owner: str) -> None:
        """Raise ValueError for a supernet whose evaluation does not mix operations, too."""
        super().check(strategy, owner)
        if not strategy.relaxation.mixes:
            instead = "selector=argmax" if owner == "selector" else "another strategy.inner"
            raise ValueError(
                f"{owner}.judge: the supernet is evaluated with one operation per edge, so it "
                f"misses no other one; use {instead}"
            )

    @abstractmethod
    def measured(self, strategy: SupernetStrategy, masks: Sequence[Mask]) -> list[Metrics]:
        """Return the metrics with each of the masks."""

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

    `images` is the size of the fixed stratified part to measure on, `None` for all. Batch norms
    share their statistics over `batch_size` images, `None` for the search's batch size.
    """

    def __init__(self, *, criterion: Criterion, images: int | None, batch_size: int | None) -> None:
        if images is not None and images < 1:
            raise ValueError(f"images={images}: use at least 1, or null for all")
        if batch_size is not None and batch_size < 2:
            raise ValueError(f"batch_size={batch_size}: use at least 2, or null for the search's")
        self.measure = self.criterion = criterion
        self.images = images
        self.batch_size = batch_size

    def measured(self, strategy: SupernetStrategy, masks: Sequence[Mask]) -> list[Metrics]:
        together = self.batch_size or strategy.batch_size
        return strategy.masked(masks, images=self.images, batch_size=together)


class MaskedInTraining(Masking):
    """The metrics as DARTS-PT's released code measures them: on augmented images in random order.

    The supernet is in training mode, so that every measurement changes the running statistics of
    batch norms.
    """

    def __init__(self, *, criterion: Criterion) -> None:
        self.measure = self.criterion = criterion

    def measured(self, strategy: SupernetStrategy, masks: Sequence[Mask]) -> list[Metrics]:
        return strategy.masked(masks, images=self.images, in_training=True)


class Magnitude(Judge):
    """Minus the probability that the alphas give the candidate: DARTS-PT's ablation PT-Mag.

    An edge has the score of its operation when it was decided: its alphas are not trained since.
    """

    passes = 0
    measure = "probability"

    def operations(self, strategy: SupernetStrategy, decision: Decision) -> Scores:
        row = strategy.supernet.probabilities()[decision.name]
        return {choice: -p for choice, p in row.items()}

    def edges(self, strategy: SupernetStrategy, decided: Scores) -> Scores:
        return dict(decided)
