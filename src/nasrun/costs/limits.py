"""Hard limits of what the found network may cost, and the architectures that meet them.

Costs are sums over choices: `base` and what each choice adds. Selection asks `allow` and
`complete`, and ends with `nearest`, so that whatever a selector chose, its result is within the
limits.
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
from nasrun.costs.ledger import Ledger, sizes
from nasrun.genotype import NONE, Genotype
from nasrun.spaces.layout import Layout
from nasrun.spaces.supernet import SupernetSpace
from nasrun.supernet.mixture import Mixture

Probabilities = Mapping[str, Mapping[str, float]]
LEAST = 1e-12
"""Stands for a probability of zero."""


@dataclass(frozen=True)
class Amounts:
    """One kind of cost as a sum: `base`, and `each` for decision and choice."""

    base: float
    each: Mapping[str, Mapping[str, float]]

    def of(self, genotype: Mapping[str, str]) -> float:
        """The cost of a network."""
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
        """The limits of a budget on networks of this layout; ValueError names an impossible one.

        `like` is an architecture whose cells join the nodes that those of the networks do.
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
        """ValueError if no genotype of the space is within the limits."""
        for key, most in self.maxima.items():
            least = self.amounts[key].of(self._cheapest({}, {key: 1.0}))
            if least > most:
                raise ValueError(
                    f"budget.{key}={most}: the cheapest network of this space has {least:.4g}; "
                    "allow that or more"
                )
        if self.complete({}) is None:
            named = " ".join(f"budget.{key}={most}" for key, most in self.maxima.items())
            raise ValueError(f"{named}: each can be met alone, but not all together; allow more")

    def inside(self, space: SupernetSpace) -> Limits | None:
        """The same limits on a part of the space; None if none is found there that meets them."""
        limits = replace(self, space=space)
        return None if limits.complete({}) is None else limits

    def cost(self, genotype: Mapping[str, str]) -> dict[str, float]:
        """What a network costs, by budget key."""
        return {key: amounts.of(genotype) for key, amounts in self.amounts.items()}

    def allow(self, genotype: Mapping[str, str]) -> bool:
        """Whether a network is within all limits."""
        return self._excess(genotype) == 0.0

    def complete(self, fixed: Mapping[str, str]) -> Genotype | None:
        """A genotype within the limits that decides so, None if there is none to be found.

        It keeps what the space's own limits keep: an edge fixed to an operation may be dropped for
        them. With one limit the answer is exact; with several, mixtures of costs are tried.
        """
        for weights in self._mixtures():
            found = self._cheapest(fixed, weights)
            if self.allow(found):
                return found
        return None

    def nearest(self, genotype: Genotype, probabilities: Probabilities | None = None) -> Genotype:
        """The genotype itself if it is within the limits, else one that is, found greedily.

        Operations are exchanged one by one: least loss of ln p for what is saved. Where that is not
        enough, decisions follow the cheapest network's, edges that a limit of the space ties
        together at once.
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

    def _excess(self, genotype: Mapping[str, str]) -> float:
        """By how much limits are exceeded, as the sum of shares of them."""
        costs = self.cost(genotype)
        return sum(max(0.0, costs[key] / most - 1.0) for key, most in self.maxima.items())

    def _best_exchange(
        self, chosen: Mapping[str, str], probabilities: Probabilities | None
    ) -> dict[str, str] | None:
        """The decision to change and its new operation, None if no change of one helps."""
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
        """Weights of the limits: each alone, all alike, and pairs in thirds."""
        keys = list(self.maxima)
        yield dict.fromkeys(keys, 1.0)
        for key in keys:
            yield {key: 1.0}
        for one, other in combinations(keys, 2):
            yield {one: 2.0, other: 1.0}
            yield {one: 1.0, other: 2.0}

    def _units(self) -> list[tuple[str, ...]]:
        """Decisions that a limit of the space ties together, and the others alone."""
        tied = [limit.decisions for limit in self.space.limits]
        inside = {name for names in tied for name in names}
        return [*tied, *((name,) for name in self.space.rows if name not in inside)]

    def _cheapest(self, fixed: Mapping[str, str], weights: Mapping[str, float]) -> Genotype:
        """The network that costs least by these weights, among those that decide so."""

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
    """Millions of parameters and of multiply-adds for one image, of every choice in a layout.

    The nodes that cells join, which may be those of a genotype `like`, change the base alone.
    """
    of: dict[str, Any] = {"inputs": inputs, "outputs": outputs, "layout": layout}
    with torch.device("meta"):
        network = space.network(**of)
        image = torch.empty(1, inputs, size, size)

    told = any(isinstance(module, Candidates) for module in network.modules())
    costs = space.costs(inputs=inputs, outputs=outputs, size=size, layout=layout) if told else None
    params, macs = _one_by_one(space, network, image) if costs is None else _in_places(space, costs)
    if like is not None and like.concat:
        with torch.device("meta"):
            bare = space.network(like.changed(dict.fromkeys(like, NONE)), **of)
        base = _spent(bare, image, None)
        params, macs = replace(params, base=base[0]), replace(macs, base=base[1])
    return params, macs


def _in_places(space: SupernetSpace, costs: CandidateCosts) -> tuple[Amounts, Amounts]:
    """Where a network tells the places of its candidates, each is counted there."""
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
    """From a pass per choice, in which it alone runs."""

    def alone(row: int = -1, column: int = -1) -> tuple[float, float]:
        active = tuple((column,) if row == r else () for r in range(len(space.decisions)))
        weights = torch.empty(len(active), space.width, device="meta")
        return _spent(network, image, Mixture(weights, active))

    base = alone()
    params: dict[str, dict[str, float]] = {}
    macs: dict[str, dict[str, float]] = {}
    for row, decision in enumerate(space.decisions):
        for column, choice in enumerate(decision.choices):
            more = base if choice == NONE else alone(row, column)
            params.setdefault(decision.name, {})[choice] = more[0] - base[0]
            macs.setdefault(decision.name, {})[choice] = more[1] - base[1]
    return Amounts(base[0], params), Amounts(base[1], macs)


def _spent(network: nn.Module, image: Tensor, mixture: Mixture | None) -> tuple[float, float]:
    """Millions of parameters that a forward pass reads, and of multiply-adds that it takes."""
    with Ledger(sizes(network.parameters())) as ledger, Meter() as counter:
        network.eval()(image, mixture)
    return ledger.read / 4e6, counter.macs / 1e6


def read_latencies(path: Path, space: SupernetSpace, layout: Layout) -> Amounts:
    """The milliseconds that `nasrun latency` measured; ValueError for other networks'."""
    key = f"budget.latency_table={path}"
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
    wanted = {"space": space.name, "channels": layout.channels, "layers": layout.layers}
    for name, value in wanted.items():
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
