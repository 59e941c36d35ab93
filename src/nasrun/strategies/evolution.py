"""Regularised evolution: the oldest member of a population dies, not the worst (1802.01548).

The population is the last `population` candidates, so it needs no separate state. AREA (2006.04647
sec. 5) starts from architectures with good training-free scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from nasrun.context import Context
from nasrun.evaluators.base import Evaluator
from nasrun.genotype import Genotype
from nasrun.keyed import keyed
from nasrun.spaces.decision import DecisionSpace
from nasrun.stage import Rehearsal
from nasrun.strategies.evaluated import EvaluatedSearch
from nasrun.tasks.base import ImageTask


class WarmStart:
    """The best of `scored` random architectures by a separate, cheap `evaluator`."""

    def __init__(self, *, scored: int, evaluator: Evaluator) -> None:
        if scored < 1:
            raise ValueError(f"scored={scored}: use 1 or more")
        if evaluator.warm_up_rounds:
            raise ValueError(
                f"evaluator: it needs {evaluator.warm_up_rounds} rounds before its first score; "
                "use one that needs none, such as naswot"
            )
        self.scored = scored
        self.evaluator = evaluator

    def best(self, draw: Callable[[], Genotype], count: int) -> list[Genotype]:
        """Return the `count` best, in the order in which they were drawn."""
        drawn = [draw() for _ in range(self.scored)]
        merits = [score.merit for score in self.evaluator.evaluate(drawn)]
        ranked = sorted(range(self.scored), key=merits.__getitem__, reverse=True)
        return [drawn[place] for place in sorted(ranked[:count])]


class Evolution(EvaluatedSearch):
    """Random architectures first, then mutations of the best of `tournament` drawn members.

    With a `warm_start`, its best architectures are the first population, found within the first
    round. All children of a round have parents from the same population and are scored together.
    """

    def __init__(
        self,
        *,
        num_candidates: int,
        together: int,
        population: int,
        tournament: int,
        warm_start: WarmStart | None,
        evaluator: Evaluator,
    ) -> None:
        super().__init__(num_candidates=num_candidates, together=together, evaluator=evaluator)
        if not 1 <= tournament <= population:
            raise ValueError(
                f"tournament={tournament} population={population}: "
                "use a tournament of 1 or more, at most the population"
            )
        first = together * math.ceil(population / together)  # rounds are proposed as a whole
        if num_candidates <= first:
            raise ValueError(
                f"num_candidates={num_candidates} population={population} together={together}: "
                f"use more than {first} candidates, else nothing evolves"
            )
        if warm_start is not None:
            if warm_start.scored <= population:
                raise ValueError(
                    f"warm_start.scored={warm_start.scored} population={population}: the first "
                    "population would be random; use a warm_start.scored of "
                    f"{population + 1} or more, or a smaller population"
                )
            self.searches = (*self.searches, warm_start.evaluator.scores)
        self.population = population
        self.tournament = tournament
        self.warm_start = warm_start
        self._first: list[Genotype] = []

    @property
    def smallest_batch(self) -> float | None:
        parts = [] if self.warm_start is None else [self.warm_start.evaluator]
        sizes = [part.smallest_batch for part in (self.evaluator, *parts)]
        known = [size for size in sizes if size is not None]
        return min(known) if len(known) == len(sizes) else None

    def begin(self, context: Context[DecisionSpace, ImageTask]) -> None:
        super().begin(context)
        if self.warm_start is not None:
            with keyed("strategy.warm_start"):
                self.warm_start.evaluator.check(context.task)
            self.warm_start.evaluator.begin(context)

    def propose(self, count: int) -> list[Genotype]:
        if self.warm_start is not None and not self._first:
            self._first = self.warm_start.best(self._drawn, self.population)
        place = len(self.candidates)
        if (left := len(self._first) - place) > 0:  # nothing else joins the first population
            count = min(count, left)
        return [self._child(place + number) for number in range(count)]

    def _drawn(self) -> Genotype:
        return self.within_limits(self.space.sample(self.stream))

    def _child(self, place: int) -> Genotype:
        alive = self.candidates[-self.population :]
        if len(alive) < self.population:
            return self._first[place] if place < len(self._first) else self._drawn()
        drawn = torch.randperm(len(alive), generator=self.stream)[: self.tournament].tolist()
        parent = max((alive[place] for place in drawn), key=lambda candidate: candidate.score.merit)
        return self.within_limits(self.space.mutate(parent.genotype, self.stream))

    def foreseen_bytes(self) -> int:
        others = 0 if self.warm_start is None else self.warm_start.evaluator.step_bytes()
        return max(super().foreseen_bytes(), others)

    def rehearsals(self) -> Iterator[Rehearsal]:
        yield from super().rehearsals()
        if self.warm_start is not None:
            sample, scored = self.space.sample(), self.warm_start.scored
            yield self.warm_start.evaluator.rehearsal(sample, scored, scored)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "first": [dict(genotype) for genotype in self._first]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._first = [Genotype(self.space.name, choices) for choices in state.get("first", ())]
