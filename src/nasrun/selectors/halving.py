"""Successive halving: train the best candidates longer and longer, keep the better part each time.

Jamieson and Talwalkar (1502.07943). Where we differ: every rung trains from scratch instead of
continuing from the previous rung, so that its learning rate schedule is complete.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from nasrun.divergence import below
from nasrun.engines.base import OnEngine, given
from nasrun.evaluators.from_scratch import FromScratch
from nasrun.genotype import Genotype
from nasrun.selectors.base import Selector
from nasrun.spaces.supernet import SupernetSpace
from nasrun.stage import Divided, Metrics, Rehearsal
from nasrun.strategies.base import (
    Candidate,
    CandidateStrategy,
    Strategy,
    allowed,
    from_plain,
    plain,
)


class Halving(Selector, OnEngine, Divided):
    """A round is a rung; per rung, epochs are multiplied and contestants divided by `eta`.

    The first rung trains the `contestants` best distinct candidates for `evaluator.epochs` epochs.
    """

    accepts = CandidateStrategy
    space: SupernetSpace

    def __init__(self, *, contestants: int, eta: float, evaluator: FromScratch) -> None:
        if contestants < 1:
            raise ValueError(f"contestants={contestants}: use at least 1")
        if not eta > 1:
            raise ValueError(f"eta={eta}: use more than 1")
        self.contestants = contestants
        self.eta = eta
        self.evaluator = evaluator
        self.searches = (evaluator.scores,)

    def read(self, strategy: Strategy) -> None:
        assert isinstance(strategy, CandidateStrategy)
        self._begin()
        candidates = sorted(strategy.candidates, key=lambda candidate: -candidate.score.merit)
        self._exchanged = False
        if (limits := self.context.limits) is not None:
            inside = allowed(candidates, limits)
            self._exchanged = not inside
            candidates = inside or [
                Candidate(limits.nearest(c.genotype), c.score) for c in candidates
            ]
        best: dict[Genotype, Candidate] = {}
        for candidate in candidates:
            best.setdefault(candidate.genotype, candidate)
        self._contestants = list(best.values())[: self.contestants]

    def _begin(self) -> None:
        self._rungs: list[list[Candidate]] = []
        self.engine = given(self.context.engine)
        self.evaluator.begin(self.context)

    def rehearsals(self, strategy: Strategy) -> Iterator[Rehearsal]:
        assert isinstance(strategy, CandidateStrategy)
        self._begin()
        left, rung = min(self.contestants, strategy.num_candidates), 0
        while left > 1:
            genotype = self.space.sample()
            yield self.evaluator.rehearsal(genotype, left, left, epochs=self._epochs(rung))
            left, rung = self._survivors(left), rung + 1

    @property
    def on_engine(self) -> bool:
        return True

    @property
    def smallest_batch(self) -> float | None:
        return self.evaluator.smallest_batch

    @property
    def rounds(self) -> int:
        left, rungs = len(self._contestants), 0
        while left > 1:
            left, rungs = self._survivors(left), rungs + 1
        return rungs

    def _survivors(self, contestants: int) -> int:
        return min(math.ceil(contestants / self.eta), contestants - 1)

    @property
    def _best(self) -> Candidate:
        return (self._rungs[-1] if self._rungs else self._contestants)[0]

    @property
    def genotype(self) -> Genotype:
        return self._best.genotype

    def run_round(self) -> Metrics:
        running = self._contestants
        if self._rungs:
            running = self._rungs[-1][: self._survivors(len(self._rungs[-1]))]
        epochs = self._epochs(self.round)
        genotypes = [candidate.genotype for candidate in running]
        with below("evaluator"):
            found = self.evaluator.evaluate(genotypes, self.track, epochs=epochs)
        scored = [*map(Candidate, genotypes, found)]
        scored.sort(key=lambda candidate: -candidate.score.merit)
        self._rungs.append(scored)
        if self.round + 1 == self.rounds:
            self.engine.close()
        sound = [candidate.score for candidate in scored if candidate.score.sound]
        lost = len(scored) - len(sound)
        return {
            f"best_{found[0].name}": sound[0].value,
            f"worst_{found[0].name}": sound[-1].value,
            "contestants": float(len(scored)),
            "epochs": float(epochs),
            **({"diverged": float(lost)} if lost else {}),
        }

    def _epochs(self, rung: int) -> int:
        return round(self.evaluator.epochs * self.eta**rung)

    def state_dict(self) -> dict[str, Any]:
        return {"rungs": [plain(rung) for rung in self._rungs]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rungs = [from_plain(self.space, rung) for rung in state["rungs"]]

    def report(self, folder: Any) -> dict[str, Any]:
        rungs = [
            {
                "epochs": self._epochs(number),
                "scores": [[self.space.render(c.genotype), c.score.value] for c in rung],
            }
            for number, rung in enumerate(self._rungs)
        ]
        folder.write("rungs.json", rungs)
        known = bool(self._rungs) or not self._exchanged  # else it is another network's score
        scored = self._best.score.report() if known else {}
        return {**scored, "candidates": len(self._contestants)}
