"""NSGA-II: architectures that no other beats in both score and cost (Deb et al. 2002)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from nasrun.context import Context
from nasrun.costs.amounts import Amounts, count_choices, read_latencies
from nasrun.evaluators.base import Evaluator
from nasrun.genotype import Genotype
from nasrun.spaces.decision import DecisionSpace
from nasrun.spaces.supernet import SupernetSpace
from nasrun.strategies.base import Candidate, PricedStrategy
from nasrun.strategies.evaluated import EvaluatedSearch
from nasrun.strategies.pareto import crowding, fronts
from nasrun.tasks.base import ImageTask

AGAIN = 10
"""Largest number of further mutations of a child that was scored before."""


class Nsga2(EvaluatedSearch, PricedStrategy):
    """Random architectures, then generations of `population` children of good parents.

    A parent wins a tournament of two: the better front counts, then the larger crowding distance. A
    child takes each decision from either parent, with probability `crossover`, else it is a copy;
    then one of its decisions is mutated. After a generation the best of parents and children
    survive, each architecture once. The population follows from the candidates, so it is no part of
    the state.
    """

    searches = (SupernetSpace,)

    def __init__(
        self,
        *,
        num_candidates: int,
        together: int,
        population: int,
        crossover: float,
        cost: Literal["params", "macs", "latency"],
        latency_table: str | None,
        evaluator: Evaluator,
    ) -> None:
        super().__init__(num_candidates=num_candidates, together=together, evaluator=evaluator)
        first = together * math.ceil(population / together)  # a round is proposed at once
        if population < 1 or num_candidates <= first:
            raise ValueError(
                f"num_candidates={num_candidates} population={population} together={together}: "
                f"use a population of 1 or more, and more candidates than {max(1, first)}, or "
                "nothing evolves"
            )
        if not 0 <= crossover <= 1:
            raise ValueError(f"crossover={crossover}: use a number from 0 to 1")
        if cost == "latency" and latency_table is None:
            raise ValueError(
                "cost=latency latency_table=null: needs latency_table=FILE, which `nasrun latency` "
                "writes"
            )
        if cost != "latency" and latency_table is not None:
            raise ValueError(
                f"latency_table={latency_table}: has no effect with cost={cost}; use cost=latency, "
                "or leave it out"
            )
        self.population = population
        self.crossover = crossover
        self.cost = cost
        self.latency_table = latency_table

    def begin(self, context: Context[DecisionSpace, ImageTask]) -> None:
        super().begin(context)
        assert isinstance(context.space, SupernetSpace)
        self.amounts = self._amounts(context.space, context.task)

    def _amounts(self, space: SupernetSpace, task: ImageTask) -> Amounts:
        if self.latency_table is not None:
            path, key = Path(self.latency_table), "strategy.latency_table"
            return read_latencies(path, space, None, None, key)
        counted = count_choices(
            space,
            space.published_layout,
            inputs=task.inputs,
            outputs=task.outputs,
            size=task.size,
        )
        return counted.params if self.cost == "params" else counted.macs

    @property
    def priced_by(self) -> str:
        return {"params": "params_m", "macs": "macs_m", "latency": "latency_ms"}[self.cost]

    def price(self, genotype: Genotype) -> float:
        return self.amounts.of(genotype)

    def least(self) -> float:
        each = self.amounts.each
        return self.price(self.space.cheapest(lambda name, choice: each[name].get(choice, 0.0)))

    def propose(self, count: int) -> list[Genotype]:
        known = {candidate.genotype for candidate in self.candidates}
        alive = self._alive()
        proposed: list[Genotype] = []
        for _ in range(count):
            child = self._child(alive, known) if alive else self._first(known)
            known.add(child)
            proposed.append(child)
        return proposed

    def _first(self, known: set[Genotype]) -> Genotype:
        for _ in range(AGAIN):
            drawn = self.within_limits(self.space.sample(self.stream))
            if drawn not in known:
                break
        return drawn

    def _alive(self) -> list[Candidate]:
        """Return the population, best first; empty before the first generation is scored."""
        whole = len(self.candidates) // self.population * self.population
        alive: list[Candidate] = []
        for begin in range(0, whole, self.population):
            born = self.candidates[begin : begin + self.population]
            alive = self.survivors([*alive, *born])
        return alive

    def survivors(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the population, by front, then by crowding, without candidates that diverged."""
        distinct: dict[Genotype, Candidate] = {}
        for candidate in candidates:
            if candidate.score.sound:
                distinct.setdefault(candidate.genotype, candidate)
        left = list(distinct.values())
        points = [self.point(candidate) for candidate in left]
        kept: list[Candidate] = []
        for front in fronts(points):
            lonely = crowding([points[place] for place in front])
            ranked = sorted(range(len(front)), key=lambda n: -lonely[n])
            kept += [left[front[n]] for n in ranked]
        return kept[: self.population]

    def _child(self, alive: Sequence[Candidate], known: set[Genotype]) -> Genotype:
        one, other = self._winner(alive), self._winner(alive)
        child = one
        if float(torch.rand((), generator=self.stream)) < self.crossover:
            taken = (torch.rand(len(self.space.tied), generator=self.stream) < 0.5).tolist()
            moved = [names for names, takes in zip(self.space.tied, taken, strict=True) if takes]
            child = one.changed({name: other[name] for names in moved for name in names})
        for _ in range(1 + AGAIN):
            child = self.space.mutate(child, self.stream)
            allowed = self.within_limits(child)
            if allowed not in known:
                break
        return allowed

    def _winner(self, alive: Sequence[Candidate]) -> Genotype:
        """Return the better of two drawn candidates; `alive` is sorted."""
        return alive[min(torch.randint(len(alive), (2,), generator=self.stream).tolist())].genotype

    def finish(self, folder: Any) -> dict[str, Any]:
        from nasrun.pictures.plots import trade_off

        found, front = super().finish(folder), self.front(self.candidates)
        sound = [candidate for candidate in self.candidates if candidate.score.sound]
        name = front[0].score.name
        points, best = (
            [(self.price(candidate.genotype), candidate.score.value) for candidate in among]
            for among in (sound, front)
        )
        named, picture = (self.priced_by, name), folder.path / "front.png"
        trade_off(points, best, picture, f"{name} over cost", named, "every candidate")
        return {**found, "priced_by": self.priced_by, "front": self.rows(front)}
