"""Successive halving: train the best candidates longer and longer, keep the better part each time.

Jamieson and Talwalkar (1502.07943). Where we differ: every rung trains from scratch instead of
continuing from the previous rung, so that its learning rate schedule is complete. Between the best
candidate and its neighbours it is a step of local search (White et al., 2005.02960).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from nasrun.divergence import Diverged, below
from nasrun.engines.base import OnEngine, given
from nasrun.evaluators.from_scratch import FromScratch
from nasrun.genotype import Genotype
from nasrun.selectors.base import Selector
from nasrun.spaces.supernet import SupernetSpace
from nasrun.stage import Divided, Metrics, Rehearsal
from nasrun.strategies.base import (
    Candidate,
    CandidateStrategy,
    RankedStrategy,
    Strategy,
    from_plain,
    plain,
    within,
)


class Halving(Selector, OnEngine, Divided):
    """A round is a rung; per rung, epochs are multiplied and contestants divided by `eta`.

    The first rung trains the `contestants` most promising architectures, each once, for
    `evaluator.epochs` epochs. If `neighbours`, they are instead the most promising one and those
    that differ from it in one decision, drawn uniformly if there are more. It ends with one
    contestant, or after `rungs` rungs.
    """

    accepts = RankedStrategy
    space: SupernetSpace

    def __init__(
        self,
        *,
        contestants: int,
        neighbours: bool,
        eta: float,
        rungs: int | None,
        evaluator: FromScratch,
    ) -> None:
        if contestants < 2:
            raise ValueError(f"contestants={contestants}: use at least 2")
        if not eta > 1:
            raise ValueError(f"eta={eta}: use more than 1")
        if rungs is not None and rungs < 1:
            raise ValueError(f"rungs={rungs}: use at least 1, or null for as many as it takes")
        self.contestants = contestants
        self.neighbours = neighbours
        self.eta = eta
        self.rungs = rungs
        self.evaluator = evaluator
        self.searches = (evaluator.scores,)

    def read(self, strategy: Strategy) -> None:
        assert isinstance(strategy, RankedStrategy)
        self._begin()
        self._contestants = self._entrants(strategy)

    def _entrants(self, strategy: RankedStrategy) -> list[Genotype]:
        """Return the contestants of the first rung."""
        limits = self.context.limits
        if not self.neighbours:
            return strategy.promising(self.contestants, limits)
        (best,) = strategy.promising(1, limits)
        others = list(self.space.neighbours(best))
        order = torch.randperm(len(others), generator=self.streams.throughout("neighbours"))
        found = [best, *(others[place] for place in order.tolist())]
        return within(found, limits)[: self.contestants]

    def _expected(self, strategy: RankedStrategy) -> int:
        """Return the number of contestants of the first rung, before the search."""
        if self.neighbours:
            near = sum(1 for _ in self.space.neighbours(self.space.sample()))
            return min(self.contestants, 1 + near)
        if isinstance(strategy, CandidateStrategy):
            return min(self.contestants, strategy.num_candidates)
        return self.contestants

    def _begin(self) -> None:
        self._rungs: list[list[Candidate]] = []
        self.engine = given(self.context.engine)
        self.evaluator.begin(self.context)

    def rehearsals(self, strategy: Strategy) -> Iterator[Rehearsal]:
        assert isinstance(strategy, RankedStrategy)
        self._begin()
        for rung, left in enumerate(self._sizes(self._expected(strategy))):
            genotype = self.space.sample()
            yield self.evaluator.rehearsal(genotype, left, left, epochs=self._epochs(rung))

    @property
    def on_engine(self) -> bool:
        return True

    @property
    def smallest_batch(self) -> float | None:
        return self.evaluator.smallest_batch

    @property
    def rounds(self) -> int:
        return len(self._sizes(len(self._contestants)))

    def _sizes(self, contestants: int) -> list[int]:
        """Return the number of contestants per rung."""
        sizes: list[int] = []
        while contestants > 1 and len(sizes) != self.rungs:
            sizes.append(contestants)
            contestants = min(math.ceil(contestants / self.eta), contestants - 1)
        return sizes

    @property
    def genotype(self) -> Genotype:
        return self._rungs[-1][0].genotype if self._rungs else self._contestants[0]

    def run_round(self) -> Metrics:
        best = [c.genotype for c in self._rungs[-1]] if self._rungs else self._contestants
        genotypes = best[: self._sizes(len(self._contestants))[self.round]]
        epochs = self._epochs(self.round)
        with below("evaluator"):
            found = self.evaluator.evaluate(genotypes, self.track, epochs=epochs)
            if not any(score.sound for score in found):
                what = "the training of every contestant"
                raise Diverged(what, {}, ("optimizer.lr", "clip"))
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
        scored = self._rungs[-1][0].score.report() if self._rungs else {}
        return {**scored, "candidates": len(self._contestants)}
