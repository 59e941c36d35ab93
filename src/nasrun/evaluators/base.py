"""From a genotype to its validation metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from nasrun.context import Context
from nasrun.genotype import Genotype
from nasrun.spaces.base import SearchSpace
from nasrun.stage import Metrics, Rehearsal, Stage
from nasrun.tasks.base import ImageTask, Track


class Evaluator(ABC):
    """`Genotype -> Metrics` on validation data; settings first, data with `begin`."""

    @property
    @abstractmethod
    def warm_up_rounds(self) -> int:
        """How often `warm_up` is to be called before the first evaluation."""

    @abstractmethod
    def begin(self, context: Context[SearchSpace, ImageTask]) -> None:
        """Take the data."""

    @abstractmethod
    def warm_up(self, stage: Stage, progress: float) -> Metrics:
        """One round of preparation for the stage, `progress` of which is done."""

    @abstractmethod
    def __call__(self, genotype: Genotype) -> Metrics:
        """Validation metrics of an architecture."""

    def evaluate(self, genotypes: Sequence[Genotype], track: Track | None = None) -> list[Metrics]:
        """Validation metrics of several architectures; `track` sees them come."""
        shown = genotypes if track is None else track(genotypes, len(genotypes))
        return [self(genotype) for genotype in shown]

    def rehearsal(self, genotype: Genotype, count: int, together: int) -> Rehearsal:
        """What evaluating so many such architectures will take, `together` at once."""
        return Rehearsal(0, None, count, lambda: self(genotype))

    @abstractmethod
    def step_bytes(self) -> int:
        """The bytes, by shapes, of a step of warm-up or evaluation with the largest network."""

    @abstractmethod
    def report(self) -> dict[str, Any]:
        """What a search's `result.json` says of where its scores come from."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What the next evaluation depends on."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from such a state."""
