"""Architectures that meet several linear conditions at once, by integer programming.

The solver is HiGHS (Huangfu and Hall 2018), which SciPy has: for some hundred choices it takes
milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nasrun.genotype import NONE, Genotype
from nasrun.spaces.decision import DecisionSpace, UnaryCost


@dataclass(frozen=True)
class Condition:
    """The condition that `base` and the costs of all choices add up to at most 0."""

    base: float
    cost: UnaryCost


def cheapest_within(
    space: DecisionSpace, conditions: Sequence[Condition], fixed: Mapping[str, str]
) -> Genotype | None:
    """Return the genotype with the least sum of all costs that meets the conditions, or `None`.

    It has the `fixed` decisions, and obeys the space's limits as `DecisionSpace.cheapest` does. The
    solver takes a sum of up to 1e-6 for 0.
    """
    from scipy.optimize import LinearConstraint, milp

    tied = {name for limit in space.limits for name in limit.decisions}
    open_ = {d.name: space.candidates(d) for d in space.decisions}
    open_ |= {name: (choice,) for name, choice in fixed.items()}
    options = [
        (name, choice)
        for name, choices in open_.items()
        for choice in choices
        if choice != NONE or name not in tied  # an edge that takes no operation is dropped
    ]
    if not options:  # the solver refuses a problem without variables
        alone = Genotype(space.name, dict.fromkeys(space.names, NONE))
        return alone if all(condition.base <= 0 for condition in conditions) else None
    owners = np.array([name for name, _ in options])
    rows, least, most = [], [], []

    def demand(row: np.ndarray, low: float, high: float) -> None:
        rows.append(row)
        least.append(low)
        most.append(high)

    for name in space.names:
        demand(owners == name, float(name not in tied), 1.0)
    for limit in space.limits:
        kept = min(limit.count, len({*limit.decisions} & {*owners.tolist()}))
        demand(np.isin(owners, limit.decisions), 0.0 if space.none_is_a_choice else kept, kept)
    costs = np.array([[of.cost(*option) for option in options] for of in conditions])
    for row, condition in zip(costs, conditions, strict=True):
        demand(row, -np.inf, -condition.base)
    found = milp(
        costs.sum(axis=0),
        integrality=np.ones(len(options)),
        bounds=(0, 1),
        constraints=LinearConstraint(np.array(rows, dtype=float), least, most),
    )
    if found.x is None:
        return None
    taken = {name: choice for (name, choice), x in zip(options, found.x, strict=True) if x > 0.5}
    return Genotype(space.name, {name: taken.get(name, NONE) for name in space.names})
