"""Hard limits on the costs of the found network, and the architectures that meet them.

Costs are sums over choices, or the ratio of two. Selectors use `allow` and `complete`, and end with
`nearest`, so that every result is within the limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations
from pathlib import Path

from nasrun.budget import LIMITS, Budget
from nasrun.costs.amounts import count_choices, read_latencies
from nasrun.costs.bounds import Bound, Ceiling, intensity
from nasrun.costs.jointly import Condition, cheapest_within
from nasrun.genotype import NONE, Genotype
from nasrun.spaces.layout import Layout
from nasrun.spaces.supernet import SupernetSpace

Probabilities = Mapping[str, Mapping[str, float]]
LEAST = 1e-12
"""Replaces probabilities of zero."""


@dataclass(frozen=True)
class Limits:
    """The bounds that a network of the space keeps."""

    space: SupernetSpace
    bounds: tuple[Bound, ...]

    @classmethod
    def of(
        cls,
        budget: Budget,
        space: SupernetSpace,
        layout: Layout,
        *,
        inputs: int,
        outputs: int,
        size: int,
        like: Genotype | None = None,
    ) -> Limits:
        """Return a budget's limits on networks of `layout`; ValueError names an impossible limit.

        `like` is an architecture whose cells join the same nodes as those of the networks.
        """
        given = {key: getattr(budget, key) for key in LIMITS if getattr(budget, key) is not None}
        bound: dict[str, Callable[..., Bound]] = {}
        if given.keys() - {"max_latency_ms"}:
            counted = count_choices(
                space, layout, inputs=inputs, outputs=outputs, size=size, like=like
            )
            bound = {
                "max_params_m": partial(Ceiling, key="max_params_m", amounts=counted.params),
                "max_macs_m": partial(Ceiling, key="max_macs_m", amounts=counted.macs),
                "min_intensity": partial(intensity, counted),
            }
        if "max_latency_ms" in given:
            if like is not None and like.concat:
                raise ValueError(
                    f"budget.max_latency_ms={budget.max_latency_ms}: the table was measured on "
                    f"cells that join all nodes, but this genotype's cells join {like.concat}; "
                    "leave the limit out"
                )
            table = Path(str(budget.latency_table))
            times = read_latencies(table, space, layout, size)
            bound["max_latency_ms"] = partial(Ceiling, key="max_latency_ms", amounts=times)
        limits = cls(space, tuple(bound[key](value=value) for key, value in given.items()))
        limits.check()
        return limits

    def check(self) -> None:
        """Raise ValueError if no genotype of the space is within the limits."""
        for bound in self.bounds:
            best = self._best(bound, {})
            if bound.excess(best):
                raise ValueError(bound.refusal(bound.extreme, bound.cost(best)))
        if self.complete({}) is None:
            raise ValueError(f"{self}: each can be met alone, but not all together; loosen one")

    def __str__(self) -> str:
        return " ".join(f"budget.{bound.key}={bound.value}" for bound in self.bounds)

    @cached_property
    def scales(self) -> dict[str, float]:
        """By budget key, what a price is divided by to be a share of the bound."""
        return {bound.key: bound.allowed.of(self._best(bound, {})) for bound in self.bounds}

    def inside(self, space: SupernetSpace) -> Limits | None:
        """Return the same limits on a subspace, or `None` if nothing in it meets them."""
        limits = replace(self, space=space)
        return None if limits.complete({}) is None else limits

    def cost(self, genotype: Mapping[str, str]) -> dict[str, float]:
        """Return the costs of a network by budget key."""
        return {bound.key: bound.cost(genotype) for bound in self.bounds}

    def refusal(self, network: str, genotype: Mapping[str, str]) -> str:
        """Return the error that names every limit which this network is not within."""
        return "; ".join(
            bound.refusal(network, bound.cost(genotype))
            for bound in self.bounds
            if bound.excess(genotype)
        )

    def allow(self, genotype: Mapping[str, str]) -> bool:
        """Return whether a network is within all limits."""
        return self._excess(genotype) == 0.0

    def complete(self, fixed: Mapping[str, str]) -> Genotype | None:
        """Return a genotype within the limits with the `fixed` decisions, or `None`.

        It obeys the space's own limits, which may drop an edge that is fixed to an operation. It is
        found if there is one; with several limits, within the precision of `cheapest_within`.
        """
        return next(filter(self.allow, self._tried(fixed)), None)

    def nearest(self, genotype: Genotype, probabilities: Probabilities | None = None) -> Genotype:
        """Return the genotype if it is within the limits, else a near one that is, by greedy steps.

        Operations are exchanged one by one, each time with the least loss of ln p per saved cost.
        If that is not enough, decisions are replaced by those of the cheapest network; edges that
        share a limit of the space are replaced together.
        """
        chosen = self._exchanged(genotype, probabilities)
        if not self.allow(chosen):
            target = self.complete({})
            assert target is not None, "limits are checked when they are made"
            for unit in self._units():
                chosen |= {name: target[name] for name in unit}
                if self.allow(chosen):
                    break
        return genotype.changed(chosen)

    def excesses(self, genotype: Mapping[str, str]) -> dict[str, float]:
        """Return the excess over each limit as a share of it, by budget key."""
        return {bound.key: bound.excess(genotype) for bound in self.bounds}

    def _excess(self, genotype: Mapping[str, str]) -> float:
        """Return the sum over limits of the excess as a share of the limit."""
        return sum(self.excesses(genotype).values())

    def _exchanged(
        self,
        genotype: Mapping[str, str],
        probabilities: Probabilities | None,
        fixed: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """Return the choices after the best exchanges, until they are allowed or none helps."""
        chosen = dict(genotype)
        while not self.allow(chosen):
            move = self._best_exchange(chosen, probabilities, fixed or {})
            if move is None:
                break
            chosen |= move
        return chosen

    def _best_exchange(
        self,
        chosen: Mapping[str, str],
        probabilities: Probabilities | None,
        fixed: Mapping[str, str],
    ) -> dict[str, str] | None:
        """Return the best single change of a decision, or `None` if no single change helps."""
        excess = self._excess(chosen)
        dropped = {n for limit in self.space.limits for n in limit.decisions if chosen[n] == NONE}
        best: tuple[float, float, str, str] | None = None
        for decision in self.space.decisions:
            name, now = decision.name, chosen[decision.name]
            if name in dropped or name in fixed:
                continue
            for choice in self.space.candidates(decision):
                saved = excess - self._excess({**chosen, name: choice})
                if choice == now or saved <= 1e-12:
                    continue
                loss = 0.0
                if probabilities is not None:
                    p = probabilities.get(name, {})
                    loss = math.log(max(p.get(now, 0.0), LEAST) / max(p.get(choice, 0.0), LEAST))
                rank = (max(loss, 0.0) / saved, -saved, name, choice)
                if best is None or rank < best:
                    best = rank
        return None if best is None else {best[2]: best[3]}

    def _tried(self, fixed: Mapping[str, str]) -> Iterator[Genotype]:
        """Yield networks that may be within the limits, the quickest to find first.

        They are the cheapest by all limits, by each alone, and by pairs with 2 : 1; then exchanges
        of choices from the best by each limit, and what integer programming finds.
        """
        yield self._cheapest(fixed, {bound.key: 1.0 for bound in self.bounds})
        for bound in self.bounds:
            yield self._best(bound, fixed)
        if len(self.bounds) < 2:
            return
        for one, other in combinations([bound.key for bound in self.bounds], 2):
            yield self._cheapest(fixed, {one: 2.0, other: 1.0})
            yield self._cheapest(fixed, {one: 1.0, other: 2.0})
        for bound in self.bounds:
            start = self._best(bound, fixed)
            yield start.changed(self._exchanged(start, None, fixed))
        conditions = [self._condition(bound) for bound in self.bounds]
        if (solved := cheapest_within(self.space, conditions, fixed)) is not None:
            yield solved

    def _condition(self, bound: Bound) -> Condition:
        """Return a limit as a condition on shares of what is allowed."""
        scale = self.scales[bound.key]
        base = (bound.used.base - bound.allowed.base) / scale
        return Condition(base, lambda name, choice: bound.price(name, choice) / scale)

    def _best(self, bound: Bound, fixed: Mapping[str, str]) -> Genotype:
        """Return the network with the least share of a bound among those with `fixed` decisions."""
        return bound.best(partial(self.space.cheapest, fixed=fixed))

    def _units(self) -> list[tuple[str, ...]]:
        """Return groups of decisions that share a limit of the space, and the others singly."""
        tied = [limit.decisions for limit in self.space.limits]
        inside = {name for names in tied for name in names}
        return [*tied, *((name,) for name in self.space.rows if name not in inside)]

    def _cheapest(self, fixed: Mapping[str, str], weights: Mapping[str, float]) -> Genotype:
        """Return the network with the least weighted cost among those with `fixed` decisions."""

        def price(name: str, choice: str) -> float:
            return sum(
                weights[bound.key] / self.scales[bound.key] * bound.price(name, choice)
                for bound in self.bounds
                if bound.key in weights
            )

        return self.space.cheapest(price, fixed)
