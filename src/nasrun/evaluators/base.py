"""From a genotype to a score: what proposes architectures leaves their judgement to this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from nasrun.context import Context
from nasrun.genotype import Genotype
from nasrun.score import Score
from nasrun.spaces.base import ClassifierSpace, Space
from nasrun.stage import Metrics, Rehearsal, Stage
from nasrun.tasks.base import ImageTask, Track


class Evaluator(ABC):
    """`Genotype -> Score`; settings in the constructor, data with `begin`.

    All scores of one evaluator have one name; `scores` is what the space of what it scores has to
    be. The rest is for those that train: warm-up rounds
    before the first score, a state, what a step takes.
    """

    scores: ClassVar[type[Space]] = ClassifierSpace

    @abstractmethod
    def begin(self, context: Context[Any, ImageTask]) -> None:
        """Take the data."""

    @abstractmethod
    def __call__(self, genotype: Genotype) -> Score:
        """The score of an architecture."""

    def evaluate(self, genotypes: Sequence[Genotype], track: Track | None = None) -> list[Score]:
        """The scores of several architectures; `track` sees them come."""
        shown = genotypes if track is None else track(genotypes, len(genotypes))
        return [self(genotype) for genotype in shown]

    @property
    def warm_up_rounds(self) -> int:
        """How often `warm_up` is to be called before the first score."""
        return 0

    def warm_up(self, stage: Stage, progress: float) -> Metrics:
        """One round of preparation for the stage, `progress` of which is done."""
        raise AssertionError("it asks for no warm-up")

    def rehearsal(self, genotype: Genotype, count: int, together: int) -> Rehearsal:
        """What scoring so many such architectures will take, `together` at once."""
        return Rehearsal(0, None, count, lambda: self(genotype))

    def step_bytes(self) -> int:
        """The bytes, by shapes, of a step of warm-up or scoring with the largest network."""
        return 0

    @property
    def unsound(self) -> str:
        """What is told of a search all of whose scores are no numbers, and what to do."""
        return "could be trained; use a smaller strategy.evaluator.optimizer.lr"

    def report(self) -> dict[str, Any]:
        """What a search's `result.json` says of where its scores come from."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What the next score depends on."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from such a state."""
        assert not state
