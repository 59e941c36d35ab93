"""Random search: draw architectures uniformly, score each on validation data, keep the best.

The baseline of every search (1902.07638). Where its evaluator shares weights they are trained
first; the scores then come from one and the same state.
"""

from __future__ import annotations

from typing import Any

from nasrun.budget import Budget
from nasrun.evaluators import Evaluator
from nasrun.spaces.base import SearchSpace
from nasrun.stage import Metrics
from nasrun.strategies.base import Candidate, CandidateStrategy, from_plain, plain
from nasrun.tasks.base import ImageTask


class RandomSearch(CandidateStrategy):
    """The evaluator's warm-up, then one uniformly drawn architecture a round."""

    def __init__(self, *, num_candidates: int, evaluator: Evaluator) -> None:
        if num_candidates < 1:
            raise ValueError(f"num_candidates={num_candidates}: at least 1")
        self.num_candidates = num_candidates
        self.evaluator = evaluator
        self._candidates: list[Candidate] = []

    @property
    def rounds(self) -> int:
        return self.evaluator.warm_up_rounds + self.num_candidates

    @property
    def candidates(self) -> list[Candidate]:
        return self._candidates

    def begin(self, space: SearchSpace, task: ImageTask, budget: Budget) -> None:
        self.space, self.task = space, task
        self.evaluator.begin(space, task, budget)

    def run_round(self) -> Metrics:
        warm_up = self.evaluator.warm_up_rounds
        if self.round < warm_up:
            return self.evaluator.warm_up(self, self.round / warm_up)
        genotype = self.space.sample()
        if self.limits is not None:
            genotype = self.limits.nearest(genotype)
        metrics = self.evaluator(genotype)
        self._candidates.append(Candidate(genotype, metrics[self.task.objective]))
        best = max(candidate.score for candidate in self._candidates)
        named = {f"validation_{name}": value for name, value in metrics.items()}
        return {**named, f"best_validation_{self.task.objective}": best}

    def state_dict(self) -> dict[str, Any]:
        return {
            "evaluator": self.evaluator.state_dict(),
            "candidates": plain(self._candidates),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.evaluator.load_state_dict(state["evaluator"])
        self._candidates = from_plain(self.space, state["candidates"])

    def finish(self, folder: Any) -> dict[str, Any]:
        from nasrun.plots import search_curves

        search_curves(folder.metrics(), folder.path / "search.png")
        best = max(candidate.score for candidate in self._candidates)
        scores = {"validation_accuracy": best, "candidates": len(self._candidates)}
        return {**scores, **self.evaluator.report()}
