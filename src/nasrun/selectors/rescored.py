"""The most promising architectures of a search are scored again, and the best is kept (ours).

For a supernet these are the likeliest architectures, else the candidates with the best scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from nasrun.divergence import below
from nasrun.engines.base import OnEngine, given
from nasrun.evaluators.base import Evaluator
from nasrun.genotype import Genotype
from nasrun.keyed import keyed
from nasrun.selectors.base import Selector
from nasrun.spaces.decision import DecisionSpace
from nasrun.stage import Divided, Metrics, Rehearsal
from nasrun.strategies.base import Candidate, RankedStrategy, Strategy, from_plain, plain

OUTSIDE = "has a score by the search's weights; leave selector.evaluator=null out"
"""The end of an error: no number came out, or limits led out of the supernet."""


class Rescored(Selector, OnEngine, Divided):
    """The evaluator's warm-up, then a round that scores `contestants` architectures.

    If `evaluator` is `None`, they are scored with the weights that the search shares between its
    architectures, on all validation images.
    """

    accepts = RankedStrategy

    def __init__(self, *, contestants: int, evaluator: Evaluator | None) -> None:
        if contestants < 2:
            raise ValueError(f"contestants={contestants}: use at least 2")
        self.contestants = contestants
        self.evaluator = evaluator
        self.searches = () if evaluator is None else (evaluator.scores,)
        self._scored: list[Candidate] = []

    @property
    def on_engine(self) -> bool:
        return isinstance(self.evaluator, OnEngine) and self.evaluator.on_engine

    @property
    def smallest_batch(self) -> float | None:
        return math.inf if self.evaluator is None else self.evaluator.smallest_batch

    def check(self, strategy: Strategy, space: DecisionSpace) -> None:
        assert isinstance(strategy, RankedStrategy)
        if self.evaluator is None and strategy.shared_score is None:
            raise ValueError(
                "selector.evaluator=null: this search shares no weights to score with; leave it "
                "out for naswot, or use evaluator=inherited"
            )

    def check_data(self, task: Any) -> None:
        if self.evaluator is not None:
            with keyed("selector"):
                self.evaluator.check(task)

    def read(self, strategy: Strategy) -> None:
        assert isinstance(strategy, RankedStrategy)
        self.check(strategy, self.space)
        self.check_data(self.context.task)
        self.strategy = strategy
        self._promising = strategy.promising(self.contestants, self.context.limits)
        if self.on_engine:
            self.engine = given(self.context.engine)
        if self.evaluator is not None:
            self.evaluator.begin(self.context)

    @property
    def _warm_up(self) -> int:
        return 0 if self.evaluator is None else self.evaluator.warm_up_rounds

    @property
    def rounds(self) -> int:
        return self._warm_up + 1

    def run_round(self) -> Metrics:
        evaluator = self.evaluator
        if evaluator is None:
            score = self.strategy.shared_score
            assert score is not None
            genotypes = self.track(self._promising, len(self._promising))
            found = [score(genotype) for genotype in genotypes]
        else:
            with below("evaluator"):
                if self.round < self._warm_up:
                    return evaluator.warm_up(self, self.round / self._warm_up)
                found = evaluator.evaluate(self._promising, self.track)
        if self.on_engine:
            self.engine.close()
        self._scored = [*map(Candidate, self._promising, found)]
        sound = [score for score in found if score.sound]
        if not sound:
            unsound = OUTSIDE if evaluator is None else evaluator.unsound
            unsound = unsound.replace("strategy.evaluator", "selector.evaluator")
            raise ValueError(f"selector.contestants={self.contestants}: none of them {unsound}")
        ranked = sorted(sound, key=lambda score: -score.merit)
        return {
            f"best_{ranked[0].name}": ranked[0].value,
            f"worst_{ranked[0].name}": ranked[-1].value,
            "contestants": float(len(found)),
            **({"diverged": float(len(found) - len(sound))} if len(sound) < len(found) else {}),
        }

    @property
    def _best(self) -> Candidate:
        return max(self._scored, key=lambda candidate: candidate.score.merit)

    @property
    def genotype(self) -> Genotype:
        return self._best.genotype

    def rehearsals(self, strategy: Strategy) -> Iterator[Rehearsal]:
        self.read(strategy)
        sample = self._promising[0] if self._promising else self.space.sample()
        evaluator = self.evaluator
        if evaluator is None:
            score = self.strategy.shared_score
            assert score is not None
            yield Rehearsal(0, None, self.contestants, lambda: score(sample))
        else:
            yield from evaluator.rehearsals(self, sample, self.contestants, self.contestants)

    def state_dict(self) -> dict[str, Any]:
        evaluator = {} if self.evaluator is None else self.evaluator.state_dict()
        return {"evaluator": evaluator, "scored": plain(self._scored)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.evaluator is not None:
            self.evaluator.load_state_dict(state["evaluator"])
        self._scored = from_plain(self.space, state["scored"])

    def report(self, folder: Any) -> dict[str, Any]:
        scores = [[self.space.render(c.genotype), c.score.value] for c in self._scored]
        folder.write("scores.json", scores)
        chosen = 1 + self._scored.index(self._best)
        return {**self._best.score.report(), "candidates": len(self._scored), "place": chosen}
