"""Evaluators: a genotype goes in, a score comes out. Strategies propose, evaluators judge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from nasrun.context import Context
from nasrun.genotype import Genotype
from nasrun.score import Score
from nasrun.spaces.base import ClassifierSpace, Space
from nasrun.stage import Metrics, Rehearsal, Stage, Step, unseen
from nasrun.tasks.base import ImageTask, Track


class Evaluator(ABC):
    """`Genotype -> Score`; settings in the constructor, data with `begin`.

    All scores of one evaluator have one name. `scores` is the kind of space whose genotypes it can
    score. Evaluators that train override the rest: warm-up rounds before the first score, a state,
    and the memory of a step.
    """

    scores: ClassVar[type[Space]] = ClassifierSpace

    @abstractmethod
    def begin(self, context: Context[Any, ImageTask]) -> None:
        """Receive the space, the data and the budget, before the first score and after `check`."""

    def check(self, task: ImageTask) -> None:  # noqa: B027  any number does for most
        """Raise ValueError if the task, which has begun, has fewer images than the settings ask."""

    @abstractmethod
    def __call__(self, genotype: Genotype) -> Score:
        """Return the score of one architecture."""

    def evaluate(self, genotypes: Sequence[Genotype], track: Track | None = None) -> list[Score]:
        """Return the scores of several architectures; `track` shows the progress."""
        shown = genotypes if track is None else track(genotypes, len(genotypes))
        return [self(genotype) for genotype in shown]

    @property
    def shared_score(self) -> Callable[[Genotype], Score] | None:
        """The score on all validation images by weights that are shared, None where none are."""
        return None

    @property
    def smallest_batch(self) -> float | None:
        """As `nasrun.stage.Divided`: whether and how several processes share the work."""
        return None

    @property
    def warm_up_rounds(self) -> int:
        """Number of warm-up rounds before the first score."""
        return 0

    def warm_up(self, stage: Stage, progress: float) -> Metrics:
        """Run one warm-up round; `progress` is the share of warm-up rounds already done."""
        raise AssertionError("this evaluator has no warm-up")

    def rehearsals(
        self, stage: Stage, genotype: Genotype, count: int, together: int
    ) -> Iterator[Rehearsal]:
        """Yield how to time a warm-up round for `stage`, and then the scoring, as `rehearsal`."""

        def warm_up(step: Step) -> None:
            stage.tell(step)
            self.warm_up(stage, 0.0)

        yield Rehearsal(self.warm_up_rounds, warm_up)
        stage.tell(unseen)
        yield self.rehearsal(genotype, count, together)

    def rehearsal(self, genotype: Genotype, count: int, together: int) -> Rehearsal:
        """Return how to time the scoring of `count` architectures, `together` at a time."""
        return Rehearsal(0, None, count, lambda: self(genotype))

    def step_bytes(self) -> int:
        """Return the bytes of a warm-up or scoring step with the largest network, by shapes."""
        return 0

    @property
    def unsound(self) -> str:
        """End of the error "no candidate ..." of a search without any finite score."""
        return "could be trained; use a smaller strategy.evaluator.optimizer.lr"

    def report(self) -> dict[str, Any]:
        """Return entries for the search's `result.json` that say where its scores come from."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next score depends on."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
        assert not state
