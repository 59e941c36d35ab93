"""Strategies: stages that search a space, and the interface that selectors read them through."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from typing import Any, ClassVar

from nasrun.context import AnyContext
from nasrun.costs.limits import Limits
from nasrun.engines.base import OnEngine
from nasrun.genotype import Genotype
from nasrun.score import Score
from nasrun.spaces.base import Space
from nasrun.spaces.decision import DecisionSpace
from nasrun.spaces.layout import Layout
from nasrun.spaces.supernet import SupernetSpace, batch_statistics
from nasrun.stage import Metrics, Stage
from nasrun.strategies.delivery import Delivery
from nasrun.strategies.history import History, Watchdog
from nasrun.strategies.levels import Level
from nasrun.strategies.pareto import Point, frontier
from nasrun.streams import Streams
from nasrun.supernet.likeliest import likeliest
from nasrun.supernet.mixture import Mixture
from nasrun.supernet.relaxation import Relaxation
from nasrun.supernet.supernet import Supernet
from nasrun.tasks.base import ImageTask, PopulationTask, Split, Task
from nasrun.trained import Trained

Mask = tuple[str, str]
"""A decision and one of its choices, whose weight is set to zero."""
LIKELY = 256
"""Ours: where limits forbid likely architectures, this many are looked at for allowed ones."""
CONTESTS = "rescored, halving or local_search"
"""The selectors that score promising architectures again, in messages."""


@dataclass(frozen=True)
class Candidate:
    """An architecture with its score."""

    genotype: Genotype
    score: Score


class Strategy(Stage):
    """A stage that searches; a selector reads its result. Its YAML names the default selector.

    For messages, `leaves` describes what a search ends with and `read_by` lists the selectors that
    can read it. `searches` lists the classes that the space must be an instance of, `learns` the
    class of the task. `heeds` lists the keys of the budget's `memory` that change its results.
    """

    leaves: ClassVar[str]
    read_by: ClassVar[str]
    searches: tuple[type[Space], ...]
    learns: ClassVar[type[Task]]
    heeds: ClassVar[Sequence[str]] = ()
    streams: Streams
    """The random streams, known after `begin`."""

    @abstractmethod
    def begin(self, context: AnyContext) -> None:
        """Receive the context, load the data and build the networks."""


class RankedStrategy(Strategy):
    """A strategy that leaves architectures in an order, the most promising first."""

    leaves = "a supernet or scored candidates"

    @abstractmethod
    def promising(self, count: int, limits: Limits | None) -> list[Genotype]:
        """Return up to `count` architectures within the limits, the best first, each once.

        Where too few of the best are within them, the nearest to the best stand in; of scored
        candidates, only where none is.
        """

    @property
    @abstractmethod
    def shared_score(self) -> Callable[[Genotype], Score] | None:
        """The score by the weights that its architectures share, on all validation images.

        `None` if they share none; NaN for an architecture that limits led out of a supernet.
        """


class SupernetStrategy(RankedStrategy):
    """A strategy that trains a supernet, which selectors read, mask and tune further.

    `layout` is the search network's. The weights are trained on `train`, the supernet is measured
    on `validation`; `history` has the architecture of every round of the search. `relaxation`,
    `level`, `watchdog` and `key` are known before `begin`: `key` is that of the settings of what
    trains the supernet, for errors.
    """

    leaves = "a supernet"
    read_by = f"magnitude, argmax, perturb, frontier, at_least, healthy, {CONTESTS}"
    searches = (SupernetSpace,)
    learns = ImageTask
    supernet: Supernet
    layout: Layout
    task: ImageTask
    train: Split
    validation: Split
    batch_size: int
    history: History
    relaxation: Relaxation
    level: Level
    watchdog: Watchdog | None
    key: str

    def validate(self, *, images: int | None = None) -> Metrics:
        """Return the supernet's metrics on the validation data, measured as by `masked`."""
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
        """Return the supernet's validation metrics for each mask; `None` masks nothing.

        Mixture weights are the relaxation's mean, the order of images is fixed, there is no
        augmentation, batch norms use the batch, and nothing is trained or changed. `images` is the
        size of the fixed stratified part to measure on, `None` for all. Batch norms share their
        statistics over `batch_size` images, `None` for eight times training's. `in_training`
        measures as some released code does: augmented images in random order, in training mode,
        which changes the running statistics of batch norms.
        """

    @abstractmethod
    def tune(self, weight_lr: float) -> None:
        """Prepare training after the end of the search: `run_round` uses a constant `weight_lr`.

        The weights' momentum is reset; alphas of open decisions keep training.
        """

    @abstractmethod
    def skip_ahead(self) -> None:
        """Go to the end of the search without training, so that a selection can be rehearsed."""

    def promising(self, count: int, limits: Limits | None) -> list[Genotype]:
        space, probabilities = self.supernet.space, self.supernet.probabilities()
        found, asked = likeliest(space, probabilities, count), count
        if limits is None:
            return found
        while len(kept := [g for g in found if limits.allow(g)]) < count:
            if len(found) < asked or asked >= LIKELY:
                break
            asked *= 2
            found = likeliest(space, probabilities, asked)
        nearest = (limits.nearest(genotype, probabilities) for genotype in found)
        return list(islice(dict.fromkeys(chain(kept, nearest)), count))

    @property
    def shared_score(self) -> Callable[[Genotype], Score]:
        return self._shared_score

    def _shared_score(self, genotype: Genotype) -> Score:
        if not self.supernet.space.has(genotype):
            return Score.validation({self.task.objective: math.nan}, self.task.objective)
        return Score.validation(self.metrics_at(self.supernet.at(genotype)), self.task.objective)

    def metrics_at(self, mixture: Mixture, split: Split | None = None) -> Metrics:
        """Return the metrics of the supernet with a mixture, on validation or another split."""
        network = self.supernet.network
        with batch_statistics(self.supernet):
            return self.task.evaluate(
                lambda images: network(images, mixture),
                self.validation if split is None else split,
                self.measured_together,
            )

    @property
    def measured_together(self) -> int:
        """Images per batch of a measurement, on which batch statistics depend."""
        return 8 * self.batch_size


class ScoredStrategy(Strategy):
    """A strategy whose result is a list of architectures with scores."""

    leaves = "scored candidates"
    read_by = "fittest"

    @property
    @abstractmethod
    def candidates(self) -> Sequence[Candidate]:
        """Every scored architecture, in order."""

    @abstractmethod
    def deliver(self, candidate: Candidate, folder: Any) -> dict[str, Any]:
        """Write a candidate's files besides its genotype, and return entries for `result.json`."""


class CandidateStrategy(ScoredStrategy, RankedStrategy):
    """A strategy that scores whole architectures one by one and keeps only the scores.

    `num_candidates` is the number of candidates at the end.
    """

    num_candidates: int
    limits: Limits | None = None
    leaves = "scored candidates"
    read_by = f"fittest, {CONTESTS}"
    searches: tuple[type[Space], ...] = (DecisionSpace,)
    learns = ImageTask

    @property
    @abstractmethod
    def unsound(self) -> str:
        """End of the error "no candidate ..." of a search without any finite score."""

    def promising(self, count: int, limits: Limits | None) -> list[Genotype]:
        ranked = sorted(self.candidates, key=lambda candidate: -candidate.score.merit)
        found = list(dict.fromkeys(candidate.genotype for candidate in ranked))
        return within(found, limits)[:count]

    @property
    def best(self) -> Candidate:
        """The candidate with the best score among the `eligible`; ties go to the first."""
        found = eligible(self.candidates, self.limits)
        return max(found, key=lambda candidate: candidate.score.merit)

    def deliver(self, candidate: Candidate, folder: Any) -> dict[str, Any]:
        return {}

    def finish(self, folder: Any) -> dict[str, Any]:
        from nasrun.pictures.curves import search_curves

        search_curves(folder.metrics(), folder.path / "search.png")
        best = self.best.score
        if not best.sound:
            raise ValueError(f"no candidate {self.unsound}")
        if self.limits is not None and not self.limits.allow(self.best.genotype):
            warnings.warn(
                f"no sound candidate is within {self.limits}: the selection changes one until it "
                "is, and its score is no longer known; use more candidates",
                stacklevel=2,
            )
        return {**best.report(), "candidates": len(self.candidates)}


class PricedStrategy(CandidateStrategy):
    """A strategy that weighs the scores of architectures against their costs."""

    leaves = "scored candidates with costs"
    read_by = f"knee, at_most, fittest, {CONTESTS}"
    space: DecisionSpace

    @property
    @abstractmethod
    def priced_by(self) -> str:
        """Name of the cost, with its unit."""

    @abstractmethod
    def price(self, genotype: Genotype) -> float:
        """Return the cost of an architecture's network."""

    @abstractmethod
    def least(self) -> float:
        """Return the cost of the cheapest network of the space."""

    def point(self, candidate: Candidate) -> Point:
        """Return the cost and the merit of a candidate."""
        return self.price(candidate.genotype), candidate.score.merit

    def front(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates that no other beats in both, cheapest first."""
        sound = [candidate for candidate in candidates if candidate.score.sound]
        return frontier(sound or candidates, self.point)

    def rows(self, candidates: Iterable[Candidate]) -> list[dict[str, Any]]:
        """Return candidates as rows of a report: genotype, score and cost."""
        return [
            {
                "genotype": self.space.render(candidate.genotype),
                candidate.score.name: candidate.score.value,
                self.priced_by: self.price(candidate.genotype),
            }
            for candidate in candidates
        ]


class PopulationStrategy(ScoredStrategy, OnEngine):
    """A strategy that trains many networks side by side, so that the chosen one is trained already.

    The engine runs the members. `needs`, known after `begin`, is the end of the message "needs ..."
    about an expensive search, empty for a cheap one.
    """

    leaves = "a population of trained networks"
    read_by = "fittest or soup"
    learns = PopulationTask
    needs: str

    @property
    def on_engine(self) -> bool:
        return True

    @property
    @abstractmethod
    def delivery(self) -> Delivery:
        """The object that measures and writes trained networks."""

    @abstractmethod
    def training_of(self, candidate: Candidate) -> Trained:
        """Return the trained weights and averages of a candidate."""

    def deliver(self, candidate: Candidate, folder: Any) -> dict[str, Any]:
        return self.delivery.deliver(candidate.genotype, self.training_of(candidate), folder)


def within(genotypes: Sequence[Genotype], limits: Limits | None) -> list[Genotype]:
    """Return the genotypes that the limits allow; if none, the nearest to each, once."""
    if limits is None:
        return list(genotypes)
    kept = [genotype for genotype in genotypes if limits.allow(genotype)]
    return kept or list(dict.fromkeys(limits.nearest(genotype) for genotype in genotypes))


def eligible(candidates: Sequence[Candidate], limits: Limits | None) -> Sequence[Candidate]:
    """Return the candidates to choose from, in order: the sound ones that the limits allow.

    If there are none, the limits do not count; if none is sound, that does not count.
    """
    found = [candidate for candidate in candidates if candidate.score.sound] or candidates
    return [c for c in found if limits is None or limits.allow(c.genotype)] or found


def plain(candidates: Iterable[Candidate]) -> list[dict[str, Any]]:
    """Return the candidates as plain data for a state."""
    return [{"choices": dict(c.genotype), "score": asdict(c.score)} for c in candidates]


def from_plain(space: Space, state: Iterable[Mapping[str, Any]]) -> list[Candidate]:
    """Return the candidates from the plain data of a state."""
    return [
        Candidate(Genotype(space.name, saved["choices"]), Score(**saved["score"]))
        for saved in state
    ]
