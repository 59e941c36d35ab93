"""Costs of networks as sums over their choices: counted ones, and times from a table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nasrun.costs.cost import CandidateCosts, Candidates, Meter
from nasrun.costs.ledger import Ledger, Results, sizes
from nasrun.genotype import NONE, Genotype
from nasrun.spaces.layout import LAYOUT, Layout, layout_of
from nasrun.spaces.supernet import SupernetSpace
from nasrun.supernet.mixture import Mixture


@dataclass(frozen=True)
class Amounts:
    """One kind of cost as a sum: `base`, and `each` for decision and choice; others cost 0."""

    base: float
    each: Mapping[str, Mapping[str, float]]

    def of(self, genotype: Mapping[str, str]) -> float:
        """Return the cost of a network."""
        return self.base + sum(self.at(name, choice) for name, choice in genotype.items())

    def at(self, name: str, choice: str) -> float:
        """Return what a choice adds."""
        return self.each.get(name, {}).get(choice, 0.0)

    def times(self, factor: float) -> Amounts:
        """Return the same costs in another unit."""
        each = {
            name: {choice: factor * value for choice, value in row.items()}
            for name, row in self.each.items()
        }
        return Amounts(factor * self.base, each)


class ChoiceCosts(NamedTuple):
    """Millions of parameters, of multiply-adds per image, and of numbers that these move.

    A convolution, a matrix product or a pool moves what it reads, weights included, and what it
    writes. Activations, batch norms and sums are considered fused with these, so a skip moves
    nothing. Every choice counts at each of its places, also if equal ones are computed once.
    """

    params: Amounts
    macs: Amounts
    moved: Amounts

    @property
    def flops(self) -> Amounts:
        """Millions of operations: two per multiply-add."""
        return self.macs.times(2.0)

    @property
    def bytes(self) -> Amounts:
        """Millions of bytes that are moved in fp32."""
        return self.moved.times(4.0)


def count_choices(
    space: SupernetSpace,
    layout: Layout,
    *,
    inputs: int,
    outputs: int,
    size: int,
    like: Genotype | None = None,
) -> ChoiceCosts:
    """Return the costs of every choice in a layout.

    Cells join the nodes that those of `like` join, if given; this changes only the base.
    """
    of: dict[str, Any] = {"inputs": inputs, "outputs": outputs, "layout": layout}
    with torch.device("meta"):
        network = space.network(**of)
        image = torch.empty(1, inputs, size, size)

    if any(isinstance(module, Candidates) for module in network.modules()):
        costs = space.costs(inputs=inputs, outputs=outputs, size=size, layout=layout)
        counted = _in_places(space, costs)
    else:
        counted = _one_by_one(space, network, image)
    if like is not None and like.concat:
        with torch.device("meta"):
            bare = space.network(like.changed(dict.fromkeys(like, NONE)), **of)
        bases = _spent(bare, image, None, Results())
        kinds = zip(counted, bases, strict=True)
        counted = ChoiceCosts(*(replace(amounts, base=base) for amounts, base in kinds))
    return counted


def _in_places(space: SupernetSpace, costs: CandidateCosts) -> ChoiceCosts:
    """Sum the costs of all places of each choice."""
    kinds = (
        (costs.params, costs.rest.params),
        (costs.macs, costs.rest.macs),
        (costs.moved, costs.rest_moved),
    )
    return ChoiceCosts(
        *(
            Amounts(
                rest / 1e6,
                {
                    decision.name: dict(zip(decision.choices, (row / 1e6).tolist(), strict=False))
                    for decision, row in zip(space.decisions, costs.by_decision(each), strict=True)
                },
            )
            for each, rest in kinds
        )
    )


def _one_by_one(space: SupernetSpace, network: nn.Module, image: Tensor) -> ChoiceCosts:
    """Return the costs from one pass per choice, in which only this choice runs."""
    results = Results()

    def alone(row: int = -1, column: int = -1) -> tuple[float, ...]:
        return _spent(network, image, space.alone(row, column, image.device), results)

    bases = alone()
    found: list[dict[str, dict[str, float]]] = [{} for _ in bases]
    for row, decision in enumerate(space.decisions):
        for column, choice in enumerate(decision.choices):
            more = bases if choice == NONE else alone(row, column)
            for each, cost, base in zip(found, more, bases, strict=True):
                each.setdefault(decision.name, {})[choice] = cost - base
    return ChoiceCosts(*(Amounts(base, each) for base, each in zip(bases, found, strict=True)))


def _spent(
    network: nn.Module, image: Tensor, mixture: Mixture | None, results: Results
) -> tuple[float, ...]:
    """Return millions of the parameters that a forward pass reads, multiply-adds, moved numbers."""
    given = sizes(network.parameters())
    with torch.no_grad(), Ledger(given, results) as ledger, Meter() as counter:
        network.eval()(image, mixture)
    return ledger.read / 4e6, counter.macs / 1e6, counter.access / 1e6


def read_latencies(
    path: Path,
    space: SupernetSpace,
    layout: Layout | None,
    size: int | None,
    key: str = "budget.latency_table",
) -> Amounts:
    """Return the milliseconds from `nasrun latency`; ValueError if they are of other networks.

    `None` is any layout, or images of any size. `key` names the file in errors.
    """
    key = f"{key}={path}"
    try:
        table = json.loads(path.read_text())
        measured = {name: table.get(name) for name in ("space", *LAYOUT, "size")}
        each = {
            name: {choice: _milliseconds(value) for choice, value in row.items()}
            for name, row in table["each"].items()
        }
        amounts = Amounts(_milliseconds(table["base"]), each)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{key}: not a table of latencies ({error.__class__.__name__}: {error}); write one "
            "with `nasrun latency`"
        ) from error
    expected: dict[str, object] = {"space": space.name}
    if layout is not None:
        expected |= layout_of(layout)
    if size is not None:
        expected["size"] = size
    for name, value in expected.items():
        if measured[name] is None:
            raise ValueError(f"{key}: does not say its {name}; measure it again")
        if measured[name] != value:
            raise ValueError(
                f"{key}: was measured on networks with {name}={measured[name]}, but these have "
                f"{name}={value}; measure it again"
            )
    if others := sorted(amounts.each.keys() - space.rows.keys()):
        raise ValueError(f"{key}: has {others[0]}, which this space does not; measure it again")
    for decision in space.decisions:
        for choice in decision.choices:
            if choice != NONE and choice not in amounts.each.get(decision.name, {}):
                raise ValueError(f"{key}: does not have {decision.name}={choice}; measure it again")
    return amounts


def _milliseconds(value: float) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError(f"{value} is not a time; use a number of milliseconds")
    return number
