"""How undecided a supernet is: the entropy of its probabilities, per cell type."""

from __future__ import annotations

import math

from nasrun.spaces.supernet import SupernetSpace
from nasrun.supernet.supernet import Supernet


def entropies(supernet: Supernet) -> dict[str, float]:
    """Return per cell type the sum over its decisions of -sum p ln p, in nats."""
    space, probabilities = supernet.space, supernet.probabilities()
    totals = dict.fromkeys(space.groups, 0.0)
    for decision in space.decisions:
        row = probabilities[decision.name].values()
        edge = sum(row)  # 1 unless edges have weights
        totals[decision.group] -= sum(p / edge * math.log(p / edge) for p in row if p > 0)
    return {_named(group): total for group, total in totals.items()}


def largest_entropies(space: SupernetSpace) -> dict[str, float]:
    """Return the entropies of uniform probabilities: per cell type the sum of ln(choices)."""
    totals = dict.fromkeys(space.groups, 0.0)
    for decision in space.decisions:
        totals[decision.group] += math.log(len(decision.choices))
    return {_named(group): total for group, total in totals.items()}


def _named(group: str) -> str:
    """Return the metric's name for the entropy of a cell type."""
    return "_".join(filter(None, ("entropy", group)))
