"""The base of searches that propose whole architectures and let an evaluator score them."""

from __future__ import annotations

import math
import statistics
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch

from nasrun.context import Context
from nasrun.divergence import below
from nasrun.engines.base import OnEngine, given
from nasrun.evaluators.base import Evaluator
from nasrun.genotype import Genotype
from nasrun.keyed import keyed
from nasrun.score import Score
from nasrun.spaces.decision import DecisionSpace
from nasrun.stage import Divided, Foreseen, Metrics, Rehearsal
from nasrun.strategies.base import Candidate, CandidateStrategy, from_plain, plain
from nasrun.tasks.base import ImageTask


class EvaluatedSearch(CandidateStrategy, Foreseen, OnEngine, Divided):
    """The evaluator's warm-up, then rounds of `together` proposals, `num_candidates` in all.

    So an evaluator that shares weights trains them first, and all scores come from one state. A
    candidate whose score is not finite could not be trained, and ranks last. A round may propose
    fewer; later rounds make up for it. A search that learns from architectures over the limits
    proposes these too; the result is within the limits.
    """

    def __init__(self, *, num_candidates: int, together: int, evaluator: Evaluator) -> None:
        if num_candidates < 1 or together < 1:
            raise ValueError(
                f"num_candidates={num_candidates} together={together}: use at least 1 of each"
            )
        self.num_candidates = num_candidates
        self.together = together
        self.evaluator = evaluator
        self.searches = (*self.searches, evaluator.scores)
        self._candidates: list[Candidate] = []
        self._missing = 0

    @abstractmethod
    def propose(self, count: int) -> list[Genotype]:
        """Return the next round's architectures, 1 to `count`; `candidates` has all earlier scores.

        The evaluator scores them together.
        """

    @property
    def stream(self) -> torch.Generator:
        """The random numbers of proposals."""
        return self.streams("proposals")

    def learn(self) -> Metrics:
        """Learn from the scores of a round; return numbers to log."""
        return {}

    def within_limits(self, genotype: Genotype) -> Genotype:
        """Return the genotype, or one near it that is within the limits."""
        return genotype if self.limits is None else self.limits.nearest(genotype)

    @property
    def shared_score(self) -> Callable[[Genotype], Score] | None:
        return self.evaluator.shared_score

    @property
    def unsound(self) -> str:
        return self.evaluator.unsound

    @property
    def on_engine(self) -> bool:
        return isinstance(self.evaluator, OnEngine) and self.evaluator.on_engine

    @property
    def smallest_batch(self) -> float | None:
        return self.evaluator.smallest_batch

    @property
    def rounds(self) -> int:
        searched = math.ceil((self.num_candidates + self._missing) / self.together)
        return self.evaluator.warm_up_rounds + searched

    @property
    def candidates(self) -> list[Candidate]:
        return self._candidates

    def begin(self, context: Context[DecisionSpace, ImageTask]) -> None:
        self.space, self.task, self.budget = context.space, context.task, context.budget
        self.limits, self.streams = context.limits, context.streams
        if self.on_engine:
            self.engine = given(context.engine)
        with keyed("strategy"):
            self.evaluator.check(context.task)
        self.evaluator.begin(context)

    def run_round(self) -> Metrics:
        warm_up = self.evaluator.warm_up_rounds
        if self.round < warm_up:
            with below("evaluator"):
                return self.evaluator.warm_up(self, self.round / warm_up)
        count = min(self.together, self.num_candidates - len(self._candidates))
        proposed = self.propose(count)
        proposed = self.budget.world.first(lambda: proposed)  # a fit may differ by machine
        if len(proposed) < count:  # a later round makes up for them
            self._missing += self.together - len(proposed)
        with below("evaluator"):
            found = self.evaluator.evaluate(proposed, self.track)
        if self.round + 1 == self.rounds and self.on_engine:
            self.engine.close()
        self._candidates += map(Candidate, proposed, found)
        sound = [score for score in found if score.sound]
        means: Metrics = {}
        if sound:
            name = sound[0].name
            means[name] = statistics.fmean(score.value for score in sound)
            for other in sound[0].others:
                means[other] = statistics.fmean(score.others[other] for score in sound)
        if lost := len(found) - len(sound):
            means["diverged"] = float(lost)
        best = self.best.score
        learned = self.learn()
        return {**means, **({f"best_{best.name}": best.value} if best.sound else {}), **learned}

    def foreseen_bytes(self) -> int:
        return self.evaluator.step_bytes()

    @property
    def workers(self) -> int:
        if not self.on_engine or not self.engine.elsewhere:
            return 0
        abreast = self.engine.side_by_side(self.budget.resolved["threads"])
        return min(abreast, self.together, self.num_candidates)

    def rehearsals(self) -> Iterator[Rehearsal]:
        sample = self.space.sample()
        return self.evaluator.rehearsals(self, sample, self.num_candidates, self.together)

    def state_dict(self) -> dict[str, Any]:
        return {
            "evaluator": self.evaluator.state_dict(),
            "candidates": plain(self._candidates),
            "missing": self._missing,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.evaluator.load_state_dict(state["evaluator"])
        self._candidates = from_plain(self.space, state["candidates"])
        self._missing = state.get("missing", 0)

    def finish(self, folder: Any) -> dict[str, Any]:
        return {**super().finish(folder), **self.evaluator.report()}
