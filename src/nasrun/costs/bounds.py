"""Bounds on single costs of a network: at most so much, or at least so much."""

from __future__ import annotations

import decimal
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from nasrun.costs.amounts import Amounts, ChoiceCosts
from nasrun.genotype import Genotype
from nasrun.spaces.decision import UnaryCost


@dataclass(frozen=True, kw_only=True)
class Bound(ABC):
    """A bound on one cost of a network, kept if the share `used` / `allowed` is at most 1.

    Both are sums over choices, and so is the `price`, `used` - `allowed`: the network with the
    least price keeps the bound if any network does.
    """

    key: str
    value: float

    extreme: ClassVar[str]
    """The network that keeps the bound most easily, in words."""
    remedy: ClassVar[str]
    """The advice to a user whose bound is too tight, with the bound that can be kept."""
    rounding: ClassVar[str]
    """The direction of looser bounds."""

    @property
    @abstractmethod
    def used(self) -> Amounts:
        """What is kept small."""

    @property
    @abstractmethod
    def allowed(self) -> Amounts:
        """What `used` may reach."""

    @abstractmethod
    def cost(self, genotype: Mapping[str, str]) -> float:
        """Return the cost of a network, in the unit of `value`."""

    @abstractmethod
    def share(self, cost: float) -> float:
        """Return the share of a cost: 1 at the bound, less within it."""

    @abstractmethod
    def cost_at(self, share: float) -> float:
        """Return the cost of a share."""

    @abstractmethod
    def best(self, cheapest: Callable[[UnaryCost], Genotype]) -> Genotype:
        """Return the network with the least share; `cheapest` minimises a sum of prices."""

    def price(self, name: str, choice: str) -> float:
        """Return what a choice adds to `used` - `allowed`."""
        return self.used.at(name, choice) - self.allowed.at(name, choice)

    def excess(self, genotype: Mapping[str, str]) -> float:
        """Return the excess as a share of the bound, max(0, share - 1)."""
        return max(0.0, self.share(self.cost(genotype)) - 1.0)

    def refusal(self, network: str, cost: float) -> str:
        """Return the error for a network with this cost: the bound that it keeps is named."""
        context = decimal.Context(prec=4, rounding=self.rounding)
        kept = f"{float(context.create_decimal_from_float(cost)):.4g}"
        return f"budget.{self.key}={self.value}: {network} has {kept}; {self.remedy.format(kept)}"


@dataclass(frozen=True, kw_only=True)
class Ceiling(Bound):
    """cost <= value; the share is cost / value."""

    amounts: Amounts

    extreme = "the cheapest network of this space"
    remedy = "allow that or more"
    rounding = decimal.ROUND_CEILING

    @property
    def used(self) -> Amounts:
        return self.amounts

    @property
    def allowed(self) -> Amounts:
        return Amounts(self.value, {})

    def cost(self, genotype: Mapping[str, str]) -> float:
        return self.amounts.of(genotype)

    def share(self, cost: float) -> float:
        return cost / self.value

    def cost_at(self, share: float) -> float:
        return share * self.value

    def best(self, cheapest: Callable[[UnaryCost], Genotype]) -> Genotype:
        return cheapest(self.price)


@dataclass(frozen=True, kw_only=True)
class Floor(Bound):
    """over / under >= value, which is linear: value * under - over <= 0.

    The share is value / cost, as in RENA (1806.07912). The largest ratio is found by Dinkelbach's
    method (Management Science 13, 1967): the linear problem is solved at the best ratio so far,
    until no ratio is larger.
    """

    over: Amounts
    under: Amounts

    extreme = "the network with the largest intensity in this space"
    remedy = "use at most {}"
    rounding = decimal.ROUND_FLOOR

    @cached_property
    def used(self) -> Amounts:
        return self.under.times(self.value)

    @property
    def allowed(self) -> Amounts:
        return self.over

    def cost(self, genotype: Mapping[str, str]) -> float:
        return self.over.of(genotype) / self.under.of(genotype)

    def share(self, cost: float) -> float:
        return self.value / cost

    def cost_at(self, share: float) -> float:
        return self.value / share

    def best(self, cheapest: Callable[[UnaryCost], Genotype]) -> Genotype:
        found = cheapest(self.price)
        while True:
            largest = self.cost(found)
            better = cheapest(replace(self, value=largest).price)
            if self.cost(better) <= largest:
                return found
            found = better


def intensity(counted: ChoiceCosts, value: float) -> Floor:
    """Return the lower bound on a network's FLOPs per byte, for one image in fp32."""
    return Floor(key="min_intensity", value=value, over=counted.flops, under=counted.bytes)
