"""Selectors that take one architecture of a front of score and cost: its knee, or by a limit.

The front has every candidate that no other beats in both.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from nasrun.genotype import Genotype
from nasrun.selectors.base import Immediate
from nasrun.spaces.decision import DecisionSpace
from nasrun.strategies.base import Candidate, PricedStrategy, Strategy, eligible
from nasrun.strategies.pareto import knee


class OnFront(Immediate):
    """A selector without rounds; the front is that of the candidates within the limits, if any."""

    accepts = PricedStrategy

    @abstractmethod
    def pick(self, strategy: PricedStrategy, front: Sequence[Candidate]) -> Candidate:
        """Return the chosen candidate of a front, which is sorted by cost, cheapest first."""

    def read(self, strategy: Strategy) -> None:
        assert isinstance(strategy, PricedStrategy)
        candidates = eligible(strategy.candidates, self.context.limits)
        front = strategy.front(candidates)
        self._choice = self.pick(strategy, front)
        self._report = {"priced_by": strategy.priced_by, "front": strategy.rows(front)}
        self._cost = {strategy.priced_by: strategy.price(self._choice.genotype)}

    @property
    def genotype(self) -> Genotype:
        return self._choice.genotype

    def report(self, folder: Any) -> dict[str, Any]:
        found: dict[str, Any] = dict(self._report)
        if self.allows(self._choice.genotype):
            found |= self._choice.score.report() | self._cost  # else it is exchanged for another
        return found


class Knee(OnFront):
    """The candidate farthest above the line between both ends of the front (Das 1999).

    Cost and score are shares of their range on the front. If none is above the line, the best.
    """

    def pick(self, strategy: PricedStrategy, front: Sequence[Candidate]) -> Candidate:
        return front[knee([strategy.point(candidate) for candidate in front])]


class Affordable(OnFront):
    """The best candidate that costs at most `cost`, in the search's unit; `None` is any cost."""

    def __init__(self, *, cost: float | None) -> None:
        if cost is not None and not cost > 0:
            raise ValueError(f"cost={cost}: use more than 0, or null for any cost")
        self.cost = cost

    def check(self, strategy: Strategy, space: DecisionSpace) -> None:
        assert isinstance(strategy, PricedStrategy)
        self._refuse(strategy, strategy.least(), "network of this space")

    def pick(self, strategy: PricedStrategy, front: Sequence[Candidate]) -> Candidate:
        within = "" if self.context.limits is None else " within the limits"
        least = strategy.price(front[0].genotype)
        self._refuse(strategy, least, f"candidate of this search{within}")
        prices = [strategy.price(candidate.genotype) for candidate in front]
        left = [c for c, price in zip(front, prices, strict=True) if self._allows(price)]
        return left[-1]

    def _allows(self, price: float) -> bool:
        return self.cost is None or price <= self.cost

    def _refuse(self, strategy: PricedStrategy, least: float, what: str) -> None:
        if not self._allows(least):
            enough = f"{math.ceil(least * 1e4) / 1e4:.4f}".rstrip("0").rstrip(".")
            raise ValueError(
                f"selector.cost={self.cost}: the cheapest {what} has {strategy.priced_by} "
                f"{enough}; use that or more"
            )
