"""The distribution of parameters over the architectures of a space, without building them.

A network's parameters are a sum over its choices, so their distribution is a convolution.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from itertools import combinations
from typing import Any

import torch

from nasrun.costs.cost import Candidates
from nasrun.genotype import Genotype
from nasrun.spaces.layout import Layout
from nasrun.spaces.supernet import SupernetSpace

Prices = Mapping[str, Mapping[str, int]]
"""Parameters that every choice of every decision adds."""


def prices(space: SupernetSpace, layout: Layout) -> Prices:
    """Return the parameters that every choice adds to a network of this layout."""
    with torch.device("meta"):
        network = space.network(inputs=3, outputs=10, layout=layout)
    found = {d.name: dict.fromkeys(d.choices, 0) for d in space.decisions}
    for place in network.modules():
        if isinstance(place, Candidates):
            choices = found[space.names[place.row]]
            for choice, operation in place.candidates.items():
                choices[choice] += sum(weight.numel() for weight in operation.parameters())
    return found


def price(of: Prices, genotype: Genotype) -> int:
    """Return the parameters that all choices of a genotype add."""
    return sum(of[name].get(choice, 0) for name, choice in genotype.items())


def distribution(space: SupernetSpace, of: Prices) -> Counter[int]:
    """Return the number of genotypes, with as many edges as limits keep, by added parameters."""
    limits = {limit.decisions: limit.count for limit in space.limits}
    candidates = {decision.name: space.candidates(decision) for decision in space.decisions}
    total: Counter[int] = Counter({0: 1})
    for tied in space.tied:
        alone = {name: Counter(of[name].get(c, 0) for c in candidates[name]) for name in tied}
        here: Counter[int] = Counter()
        for kept in combinations(tied, limits.get(tied, len(tied))):
            one: Counter[int] = Counter({0: 1})
            for name in kept:
                one = _summed(one, alone[name])
            here.update(one)
        total = _summed(total, here)
    return total


def share_up_to(value: int | Fraction, among: Mapping[Any, int]) -> float:
    """Return the share of a distribution that is at most `value`."""
    return sum(n for other, n in among.items() if other <= value) / sum(among.values())


def _summed(first: Counter[int], second: Counter[int]) -> Counter[int]:
    """Return the distribution of the sum of two independent numbers."""
    found: Counter[int] = Counter()
    for a, count in first.items():
        for b, times in second.items():
            found[a + b] += count * times
    return found
