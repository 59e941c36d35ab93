"""Hard limits on the costs of the found network, and the architectures that meet them.

Costs are sums over choices: `base` and what each choice adds. Selectors use `allow` and `complete`,
and end with `nearest`, so that every result is within the limits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasrun.budget import LIMITS, Budget
from nasrun.costs.cost import CandidateCosts, Candidates, Meter
from nasrun.costs.ledger import Ledger, Results, sizes
from nasrun.genotype import NONE, Genotype
from nasrun.spaces.layout import Layout
from nasrun.spaces.supernet import SupernetSpace
from nasrun.supernet.mixture import Mixture

Probabilities = Mapping[str, Mapping[str, float]]
LEAST = 1e-12
"""Replaces probabilities of zero."""


@dataclass(frozen=True)
class Amounts:
    """One kind of cost as a sum: `base`, and `each` for decision and choice."""

    base: float
    each: Mapping[str, Mapping[str, float]]

    def of(self, genotype: Mapping[str, str]) -> float:
        """Return the cost of a network."""
        return self.base + sum(self.each[name].get(c, 0.0) for name, c in genotype.items())


@dataclass(frozen=True)
class Limits:
    """The largest costs (`maxima`) that a network of the space may have, by budget key."""

    space: SupernetSpace
    maxima: Mapping[str, float]
    amounts: Mapping[str, Amounts]

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
        maxima = {key: getattr(budget, key) for key in LIMITS if getattr(budget, key) is not None}
        amounts: dict[str, Amounts] = {}
        if {"max_params_m", "max_macs_m"} & set(maxima):
            params, macs = count_choices(
                space, layout, inputs=inputs, outputs=outputs, size=size, like=like
            )
            amounts = {"max_params_m": params, "max_macs_m": macs}
        if "max_latency_ms" in maxima:
            if like is not None and like.concat:
                raise ValueError(
                    f"budget.max_latency_ms={budget.max_latency_ms}: tables are of cells that join "
                    f"all nodes, this genotype's join {like.concat}; leave it out"
                )
            table = Path(str(budget.latency_table))
            amounts["max_latency_ms"] = read_latencies(table, space, layout)
        limits = cls(space, maxima, {key: amounts[key] for key in maxima})
        limits.check()
        return limits

    def check(self) -> None:
        """Raise ValueError if no genotype of the space is within the limits."""
        for key, most in self.maxima.items():
            least = self.amounts[key].of(self._cheapest({}, {key: 1.0}))
            if least > most:
                raise ValueError(
                    f"budget.{key}={most}: the cheapest network of this space has {least:.4g}; "
                    "allow that or more"
                )
        if self.complete({}) is None:
            raise ValueError(f"{self}: each can be met alone, but not all together; allow more")

    def __str__(self) -> str:
        return " ".join(f"budget.{key}={most}" for key, most in self.maxima.items())

    def inside(self, space: SupernetSpace) -> Limits | None:
        """Return the same limits on a subspace, or `None` if nothing in it meets them."""
        limits = replace(self, space=space)
        return None if limits.complete({}) is None else limits

    def cost(self, genotype: Mapping[str, str]) -> dict[str, float]:
        """Return the costs of a network by budget key."""
        return {key: amounts.of(genotype) for key, amounts in self.amounts.items()}

    def allow(self, genotype: Mapping[str, str]) -> bool:
        """Return whether a network is within all limits."""
        return self._excess(genotype) == 0.0

    def complete(self, fixed: Mapping[str, str]) -> Genotype | None:
        """Return a genotype within the limits with the `fixed` decisions, or `None`.

        It obeys the space's own limits, which may drop an edge that is fixed to an operation. With
        one limit the search is exact; with several limits, mixtures of costs are tried.
        """
        for weights in self._mixtures():
            found = self._cheapest(fixed, weights)
            if self.allow(found):
                return found
        return None

    def nearest(self, genotype: Genotype, probabilities: Probabilities | None = None) -> Genotype:
        """Return the genotype if it is within the limits, else a near one that is, by greedy steps.

        Operations are exchanged one by one, each time with the least loss of ln p per saved cost.
        If that is not enough, decisions are replaced by those of the cheapest network; edges that
        share a limit of the space are replaced together.
        """
        chosen = dict(genotype)
        while not self.allow(chosen):
            move = self._best_exchange(chosen, probabilities)
            if move is None:
                break
            chosen |= move
        if not self.allow(chosen):
            target = self.complete({})
            assert target is not None, "limits are checked when they are made"
            for unit in self._units():
                chosen |= {name: target[name] for name in unit}
                if self.allow(chosen):
                    break
        return genotype.changed(chosen)

    def excesses(self, genotype: Mapping[str, str]) -> dict[str, float]:
        """Return the excess over each limit as a share of it, max(0, cost / limit - 1), by key."""
        costs = self.cost(genotype)
        return {key: max(0.0, costs[key] / most - 1.0) for key, most in self.maxima.items()}

    def _excess(self, genotype: Mapping[str, str]) -> float:
        """Return the sum over limits of the excess as a share of the limit."""
        return sum(self.excesses(genotype).values())

    def _best_exchange(
        self, chosen: Mapping[str, str], probabilities: Probabilities | None
    ) -> dict[str, str] | None:
        """Return the best single change of a decision, or `None` if no single change helps."""
        excess = self._excess(chosen)
        best: tuple[float, float, str, str] | None = None
        for decision in self.space.decisions:
            name, now = decision.name, chosen[decision.name]
            if now == NONE:
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

    def _mixtures(self) -> Iterator[dict[str, float]]:
        """Yield weights of the limits: all equal, each alone, and pairs with 2 : 1."""
        keys = list(self.maxima)
        yield dict.fromkeys(keys, 1.0)
        for key in keys:
            yield {key: 1.0}
        for one, other in combinations(keys, 2):
            yield {one: 2.0, other: 1.0}
            yield {one: 1.0, other: 2.0}

    def _units(self) -> list[tuple[str, ...]]:
        """Return groups of decisions that share a limit of the space, and the others singly."""
        tied = [limit.decisions for limit in self.space.limits]
        inside = {name for names in tied for name in names}
        return [*tied, *((name,) for name in self.space.rows if name not in inside)]

    def _cheapest(self, fixed: Mapping[str, str], weights: Mapping[str, float]) -> Genotype:
        """Return the network with the least weighted cost among those with `fixed` decisions."""

        def price(name: str, choice: str) -> float:
            return sum(
                weight / self.maxima[key] * self.amounts[key].each[name].get(choice, 0.0)
                for key, weight in weights.items()
            )

        return self.space.cheapest(price, fixed)


def count_choices(
    space: SupernetSpace,
    layout: Layout,
    *,
    inputs: int,
    outputs: int,
    size: int,
    like: Genotype | None = None,
) -> tuple[Amounts, Amounts]:
    """Return millions of parameters, and of multiply-adds per image, of every choice in a layout.

    Cells join the nodes that those of `like` join, if given; this changes only the base.
    """
    of: dict[str, Any] = {"inputs": inputs, "outputs": outputs, "layout": layout}
    with torch.device("meta"):
        network = space.network(**of)
        image = torch.empty(1, inputs, size, size)

    if any(isinstance(module, Candidates) for module in network.modules()):
        costs = space.costs(inputs=inputs, outputs=outputs, size=size, layout=layout)
        params, macs = _in_places(space, costs)
    else:
        params, macs = _one_by_one(space, network, image)
    if like is not None and like.concat:
        with torch.device("meta"):
            bare = space.network(like.changed(dict.fromkeys(like, NONE)), **of)
        base = _spent(bare, image, None, Results())
        params, macs = replace(params, base=base[0]), replace(macs, base=base[1])
    return params, macs


def _in_places(space: SupernetSpace, costs: CandidateCosts) -> tuple[Amounts, Amounts]:
    """Sum the costs of all places of each choice."""
    kinds = (costs.params, costs.rest.params), (costs.macs, costs.rest.macs)
    params, macs = (
        Amounts(
            rest / 1e6,
            {
                decision.name: dict(zip(decision.choices, (row / 1e6).tolist(), strict=False))
                for decision, row in zip(space.decisions, costs.by_decision(each), strict=True)
            },
        )
        for each, rest in kinds
    )
    return params, macs


def _one_by_one(space: SupernetSpace, network: nn.Module, image: Tensor) -> tuple[Amounts, Amounts]:
    """Return the costs from one pass per choice, in which only this choice runs."""
    results = Results()

    def alone(row: int = -1, column: int = -1) -> tuple[float, float]:
        active = tuple((column,) if row == r else () for r in range(len(space.decisions)))
        weights = torch.empty(len(active), space.width, device="meta")
        return _spent(network, image, Mixture(weights, active), results)

    base = alone()
    params: dict[str, dict[str, float]] = {}
    macs: dict[str, dict[str, float]] = {}
    for row, decision in enumerate(space.decisions):
        for column, choice in enumerate(decision.choices):
            more = base if choice == NONE else alone(row, column)
            params.setdefault(decision.name, {})[choice] = more[0] - base[0]
            macs.setdefault(decision.name, {})[choice] = more[1] - base[1]
    return Amounts(base[0], params), Amounts(base[1], macs)


def _spent(
    network: nn.Module, image: Tensor, mixture: Mixture | None, results: Results
) -> tuple[float, float]:
    """Return millions of parameters that a forward pass reads, and of its multiply-adds."""
    with Ledger(sizes(network.parameters()), results) as ledger, Meter() as counter:
        network.eval()(image, mixture)
    return ledger.read / 4e6, counter.macs / 1e6


def read_latencies(
    path: Path,
    space: SupernetSpace,
    layout: Layout | None,
    key: str = "budget.latency_table",
) -> Amounts:
    """Return the milliseconds from `nasrun latency`; ValueError if they are of other networks.

    `None` is any layout. `key` names the file in errors.
    """
    key = f"{key}={path}"
    try:
        table = json.loads(path.read_text())
        measured = {name: table[name] for name in ("space", "channels", "layers")}
        each = {
            name: {choice: _milliseconds(value) for choice, value in row.items()}
            for name, row in table["each"].items()
        }
        amounts = Amounts(_milliseconds(table["base"]), each)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{key}: no table ({error.__class__.__name__}: {error})") from error
    expected: dict[str, object] = {"space": space.name}
    if layout is not None:
        expected |= {"channels": layout.channels, "layers": layout.layers}
    for name, value in expected.items():
        if measured[name] != value:
            raise ValueError(
                f"{key}: of networks with {name}={measured[name]}, these have {value}; measure it "
                "again"
            )
    for decision in space.decisions:
        for choice in decision.choices:
            if choice != NONE and choice not in amounts.each.get(decision.name, {}):
                raise ValueError(f"{key}: does not have {decision.name}={choice}; measure it again")
    return amounts


def _milliseconds(value: float) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError(f"{value} is not a time; use a number of milliseconds")
    return number
