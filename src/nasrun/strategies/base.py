"""What a strategy is: a stage that searches a space, and what a selector may ask of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from nasrun.context import AnyContext
from nasrun.engines.base import OnEngine
from nasrun.genotype import Genotype
from nasrun.score import Score
from nasrun.spaces.base import Space
from nasrun.spaces.decision import DecisionSpace
from nasrun.spaces.layout import Layout
from nasrun.spaces.supernet import SupernetSpace
from nasrun.stage import Metrics, Stage
from nasrun.strategies.history import History
from nasrun.supernet.supernet import Supernet
from nasrun.tasks.base import ImageTask, PopulationTask, Split, Task
from nasrun.trained import Trained

Mask = tuple[str, str]
"""A decision, and the choice of it whose weight is set to zero."""


@dataclass(frozen=True)
class Candidate:
    """An architecture with its score."""

    genotype: Genotype
    score: Score


class Strategy(Stage):
    """A stage that searches; what it learned is read by a selector, one of which its YAML names.

    `leaves` says in a user's words what a search ends with, `read_by` which selectors take it.
    `searches` are what the space that `begin` takes has to be, `learns` the kind of its task.
    `heeds` are keys of the budget's `memory` that change its numbers.
    """

    leaves: ClassVar[str]
    read_by: ClassVar[str]
    searches: tuple[type[Space], ...]
    learns: ClassVar[type[Task]]
    heeds: ClassVar[Sequence[str]] = ()

    @abstractmethod
    def begin(self, context: AnyContext) -> None:
        """Take the data and build what trains."""


class SupernetStrategy(Strategy):
    """A strategy that trains a supernet: its alphas and weights can be read, masked, tuned on.

    `layout` is the search network's. `train` and `validation` are the images that its weights saw
    and that it is measured on; `history` has the architecture of every round of the search.
    """

    leaves = "a supernet"
    read_by = "magnitude, argmax, perturb, frontier, at_least or healthy"
    searches = (SupernetSpace,)
    learns = ImageTask
    supernet: Supernet
    layout: Layout
    task: ImageTask
    train: Split
    validation: Split
    batch_size: int
    history: History

    def validate(self, *, images: int | None = None) -> Metrics:
        """The supernet on the validation data, as `masked` measures it."""
        (metrics,) = self.masked([None], images=images)
        return metrics

    @abstractmethod
    def masked(
        self,
        masks: Sequence[Mask | None],
        *,
        images: int | None = None,
        batch_size: int | None = None,
        in_training: bool = False,
    ) -> list[Metrics]:
        """The supernet on the validation data without each of these candidates; null masks none.

        Mean mixture weights, fixed order, no augmentation, batch-statistics batch norm, nothing
        trained or changed. `images` measures on a fixed stratified part of so many, null is all.
        `batch_size` of them share batch norms' statistics; null is eight times training's.
        `in_training` measures as training sees it, for comparison with code that does: augmented
        images in random order, in training mode, which moves batch norms' running statistics.
        """

    @abstractmethod
    def tune(self, weight_lr: float) -> None:
        """Continue from the end of the search: `run_round` now trains at this constant rate.

        The weights' momentum is reset; alphas that are not decided keep training.
        """

    def skip_ahead(self) -> None:
        """Be where the search ends, but untrained: what a selection is rehearsed on."""


class ScoredStrategy(Strategy):
    """A strategy that ends with architectures and their scores."""

    leaves = "scored candidates"
    read_by = "fittest"

    @property
    @abstractmethod
    def candidates(self) -> Sequence[Candidate]:
        """Every architecture that was scored, in order."""

    @abstractmethod
    def deliver(self, candidate: Candidate, folder: Any) -> dict[str, Any]:
        """Write what there is of one of the candidates besides its genotype.

        Returns what `result.json` is to hold of it.
        """


class CandidateStrategy(ScoredStrategy):
    """A strategy that scores whole architectures one by one and keeps nothing but the scores.

    `num_candidates` is how many there will be.
    """

    num_candidates: int
    read_by = "fittest or halving"
    searches: tuple[type[Space], ...] = (DecisionSpace,)
    learns = ImageTask

    @property
    def unsound(self) -> str:
        """What is told of a search all of whose scores are no numbers, and what to do."""
        return "could be trained; use a smaller learning rate"

    def deliver(self, candidate: Candidate, folder: Any) -> dict[str, Any]:
        return {}

    def finish(self, folder: Any) -> dict[str, Any]:
        from nasrun.pictures.plots import search_curves

        search_curves(folder.metrics(), folder.path / "search.png")
        best = max((c.score for c in self.candidates), key=lambda score: score.merit)
        if not best.sound:
            raise ValueError(f"no candidate {self.unsound}")
        return {**best.report(), "candidates": len(self.candidates)}


class PopulationStrategy(ScoredStrategy, OnEngine):
    """A strategy that trains many networks side by side; the one chosen needs no retraining.

    The engine runs the members.
    """

    leaves = "a population of trained networks"
    read_by = "fittest or soup"
    searches = (DecisionSpace,)
    learns = PopulationTask

    @property
    def on_engine(self) -> bool:
        return True

    @property
    @abstractmethod
    def needs(self) -> str:
        """What the search will cost, in a user's words, known after `begin`; empty if little."""

    @abstractmethod
    def training_of(self, candidate: Candidate) -> Trained:
        """What one of the candidates has learned."""

    @abstractmethod
    def score(self, genotype: Genotype, trained: Trained, purpose: str) -> float:
        """The task's objective of such a network, with random numbers of this purpose alone."""

    @abstractmethod
    def deliver_trained(self, genotype: Genotype, trained: Trained, folder: Any) -> dict[str, Any]:
        """Write a trained network's weights and pictures; what `result.json` is to hold of it."""


def plain(candidates: Iterable[Candidate]) -> list[dict[str, Any]]:
    """Candidates as a state holds them."""
    return [{"choices": dict(c.genotype), "score": asdict(c.score)} for c in candidates]


def from_plain(space: Space, state: Iterable[Mapping[str, Any]]) -> list[Candidate]:
    """The candidates of such a state."""
    return [
        Candidate(Genotype(space.name, saved["choices"]), Score(**saved["score"]))
        for saved in state
    ]
