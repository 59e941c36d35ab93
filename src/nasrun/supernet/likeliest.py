"""The most likely architectures of a supernet, in order; a rule reads only one."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from operator import itemgetter

from nasrun.genotype import NONE, Genotype
from nasrun.spaces.supernet import SupernetSpace
from nasrun.supernet.supernet import Probabilities

Choices = tuple[float, dict[str, str]]
"""The logarithm of a probability, and the choices for some of the decisions."""


def likeliest(space: SupernetSpace, probabilities: Probabilities, count: int) -> list[Genotype]:
    """Return the `count` genotypes whose kept choices have the largest product of probabilities.

    They keep as many operations as the limits say, and `none` only where it is a choice or nothing
    else is left. There are fewer than `count` if the space has no more. The earlier edge or
    operation wins a tie. The first genotype is that of SNAS's rule where `none` is a choice, else
    that of DARTS's.

    Exact: a best architecture of several decisions is made of a best one of each part of them, so
    the best `count` of every part are enough.
    """
    most = {name: limit.count for limit in space.limits for name in limit.decisions}
    found: list[Choices] = [(0.0, {})]
    for names in space.tied:
        parts = _parts(space, probabilities, names, most.get(names[0], 1), count)
        found = _best(count, _joined(found, parts))
    return [Genotype(space.name, {name: choices[name] for name in space.names})
            for _, choices in found]  # fmt: skip


def _parts(
    space: SupernetSpace,
    probabilities: Probabilities,
    names: Sequence[str],
    most: int,
    count: int,
) -> list[Choices]:
    """Return the best choices for the decisions of one limit, which keep `most` operations.

    They keep fewer if fewer have a probability above zero.
    """
    by_kept: dict[int, list[Choices]] = {0: [(0.0, {})]}
    for name in names:
        decision, row = space.decisions[space.rows[name]], probabilities[name]
        kept = [(math.log(row[c]), {name: c}) for c in space.candidates(decision) if row[c] > 0]
        grown: dict[int, list[Choices]] = {}
        for number, parts in sorted(by_kept.items(), reverse=True):  # so earlier edges come first
            grown.setdefault(number, []).extend(_joined(parts, [(0.0, {name: NONE})]))
            if kept and number < most:
                grown.setdefault(number + 1, []).extend(_joined(parts, kept))
        by_kept = {number: _best(count, parts) for number, parts in grown.items()}
    return by_kept[max(by_kept)]


def _joined(some: Sequence[Choices], others: Sequence[Choices]) -> list[Choices]:
    return [(a + b, {**first, **second}) for a, first in some for b, second in others]


def _best(count: int, parts: Iterable[Choices]) -> list[Choices]:
    return heapq.nlargest(count, parts, key=itemgetter(0))
