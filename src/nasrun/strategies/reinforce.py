"""Reinforcement learning alone: a controller is trained, and its best final sample is the result.

This is ENAS's search (1802.03268) in any space, and the baseline for RADARS: the same controller,
paths and shared weights, without a differentiable search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from nasrun.context import Context
from nasrun.costs.memory import Shapes
from nasrun.divergence import below
from nasrun.genotype import Genotype
from nasrun.refusing import refuse_below
from nasrun.score import Score
from nasrun.spaces.supernet import SupernetSpace
from nasrun.stage import Foreseen, Metrics, Rehearsal
from nasrun.strategies.base import Candidate, CandidateStrategy, from_plain, plain
from nasrun.strategies.explore import Explore
from nasrun.tasks.base import ImageTask


class ReinforceSearch(CandidateStrategy, Foreseen):
    """Warm-up, `rounds` rounds of exploring, then one round that scores `num_candidates` samples.

    The samples are scored on all validation images with the shared weights.
    """

    searches = (SupernetSpace,)

    def __init__(self, *, explore: Explore, rounds: int, warm_up: int, num_candidates: int) -> None:
        if rounds < 1:
            raise ValueError(f"rounds={rounds}: use at least 1")
        self.explore = explore
        self.exploring = warm_up + rounds
        self.warm_up = warm_up
        self.num_candidates = num_candidates
        refuse_below(self, warm_up=0, num_candidates=1)
        self._candidates: list[Candidate] = []

    @property
    def rounds(self) -> int:
        return self.exploring + 1

    @property
    def candidates(self) -> list[Candidate]:
        return self._candidates

    @property
    def unsound(self) -> str:
        return "could be trained; use a smaller strategy.explore.optimizer.lr"

    @property
    def shared_score(self) -> Callable[[Genotype], Score]:
        return self._shared_score

    def _shared_score(self, genotype: Genotype) -> Score:
        with below("explore"):
            return Score(f"validation_{self.task.objective}", self.explore.score(genotype))

    def begin(self, context: Context[SupernetSpace, ImageTask]) -> None:
        self.space, self.task, self.budget = context.space, context.task, context.budget
        self.limits, self.streams = context.limits, context.streams
        self.explore.begin(context)

    def run_round(self) -> Metrics:
        if self.round < self.exploring:
            progress = self.round / self.exploring
            with below("explore"):
                return self.explore.run_round(self, progress, warm_up=self.round < self.warm_up)
        with below("explore"):
            drawn = [
                self.explore.whole(path)
                for path in self.explore.draw(self.num_candidates, self.streams("proposals"))
            ]
        if self.limits is not None:
            drawn = [self.limits.nearest(genotype) for genotype in drawn]
        for genotype in self.track(drawn, len(drawn)):
            self._candidates.append(Candidate(genotype, self._shared_score(genotype)))
        values = [candidate.score.value for candidate in self._candidates]
        name = self._candidates[0].score.name
        return {name: sum(values) / len(values), f"best_{name}": max(values)}

    def foreseen_bytes(self) -> int:
        explore = self.explore
        shapes = Shapes.of(self.space, self.task, self.budget, explore.optimizer)
        return explore.step_bytes(shapes, shapes.additive(explore.batch_size))

    def rehearsals(self) -> Iterator[Rehearsal]:
        yield Rehearsal(self.warm_up, self.play)
        self.round = self.warm_up
        exploring = self.exploring - self.warm_up
        teach = self.explore.teach if self.explore.updates else None
        yield Rehearsal(exploring, self.play, exploring, teach)
        path = self.explore.whole(self.explore.uniform(self.streams("paths")))
        yield Rehearsal(0, None, self.num_candidates, lambda: self.explore.score(path))

    def state_dict(self) -> dict[str, Any]:
        return {
            "explore": self.explore.state_dict(),
            "candidates": plain(self._candidates),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.explore.load_state_dict(state["explore"])
        self._candidates = from_plain(self.space, state["candidates"])
