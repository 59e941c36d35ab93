"""The acquisition of Auto-Keras: A* with simulated annealing over morphs (1806.10282 algorithm 1).

The released code asks the acceptance of the network that is expanded; here, as in the paper, every
child is accepted or not. The released code expands 8 random morphs of a network, the paper all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from itertools import islice

import torch
from threadpoolctl import threadpool_limits

from nasrun.spaces.morph import MorphSpace
from nasrun.strategies.cost_process import CostProcess
from nasrun.strategies.growth import Grown, Growth, Tried, ancestors, children


@dataclass(frozen=True, order=True)
class Node:
    """A network in the queue: the one with the least cost or lower bound comes first."""

    cost: float
    age: int
    grown: Grown


class TreeSearch(Growth):
    """The network with the least lower bound alpha = mu - beta sigma among those that are visited.

    A queue holds all trained networks with their costs. Its first network is taken out, again and
    again, and each child of it enters with its bound with probability

        min(1, exp((c_min - alpha(child)) / T))

    where `c_min` is the least cost or bound so far. T is 1 at first and is multiplied by `cooling`
    per network until it is `coldest`. At most `children` random children of a network are looked
    at, all if it is `None`. `lam` weighs skip connections in the distance.
    """

    def __init__(
        self, *, beta: float, lam: float, cooling: float, coldest: float, children: int | None
    ) -> None:
        for key, value in (("beta", beta), ("lam", lam)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{key}={value}: use 0 or more")
        for key, value in (("cooling", cooling), ("coldest", coldest)):
            if not 0 < value < 1:
                raise ValueError(f"{key}={value}: use more than 0 and less than 1")
        if children is not None and children < 1:
            raise ValueError(f"children={children}: use 1 or more, or null for all")
        self.beta = beta
        self.lam = lam
        self.cooling = cooling
        self.coldest = coldest
        self.children = children

    def next(
        self, tried: Sequence[Tried], space: MorphSpace, generator: torch.Generator
    ) -> Grown | None:
        with threadpool_limits(limits=1):  # the same bytes in every process
            return self._search(tried, space, generator)

    def _search(
        self, tried: Sequence[Tried], space: MorphSpace, generator: torch.Generator
    ) -> Grown | None:
        scored = [t for t in tried if t.cost is not None] or ancestors(tried)
        # the cost of a single network standardises to 0, even before it is known
        process = CostProcess(
            [trial.genotype for trial in scored],
            [0.0 if trial.cost is None else trial.cost for trial in scored],
            self.lam,
            generator,
        )
        sound = {trial.number for trial in ancestors(tried)}
        queue = [
            Node(float(cost), trial.number, Grown(trial.number, (), trial.genotype))
            for trial, cost in zip(scored, process.costs, strict=True)
            if trial.number in sound
        ]
        heapify(queue)
        least = min((node.cost for node in queue), default=0.0)
        best: Node | None = None
        seen = {trial.genotype for trial in tried}
        age, temperature = len(tried), 1.0
        while queue and temperature > self.coldest:
            temperature *= self.cooling
            parent = heappop(queue).grown
            found = list(islice(children(parent.genotype, seen, space, generator), self.children))
            if not found:
                continue
            bounds = process.lower_bounds([genotype for _, genotype in found], self.beta)
            for (morph, genotype), bound in zip(found, bounds, strict=True):
                grown = replace(parent, morphs=(*parent.morphs, morph), genotype=genotype)
                node, age = Node(bound, age, grown), age + 1
                seen.add(genotype)
                if self._accepts(least, bound, temperature, generator):
                    heappush(queue, node)
                least = min(least, bound)
                best = node if best is None else min(best, node)
        return None if best is None else best.grown

    @staticmethod
    def _accepts(
        least: float, bound: float, temperature: float, generator: torch.Generator
    ) -> bool:
        """Return whether min(1, exp((c_min - alpha) / T)) > U(0, 1)."""
        drawn = float(torch.rand((), generator=generator, dtype=torch.float64))
        return math.exp(min(0.0, (least - bound) / temperature)) > drawn
