"""The smallest p that a signed-rank test can still reach, whatever the missing pairs are.

A missing difference that equals another one in size can make p smaller than one that is larger than
all (both get the mean of two ranks), so all orders of the missing ones among those that are known
are gone through.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

EXACT_PAIRS = 10
"""Up to so many pairs, all orders take less than a second."""
DIGIT = 16
"""Bits per count of the ways to reach a sum of ranks: of 10 pairs there are 1,024."""


def least_signed_rank(found: Sequence[float], pairs: int) -> float:
    """Return the smallest p that `pairs` pairs can reach if these are the first of them.

    The others are then positive, since the other sign makes no p smaller; neither does a pair of
    equal values, which is left out. At most 10 pairs.
    """
    known, missing = [each for each in found if each], pairs - len(found)
    if not known and not missing:
        return 1.0
    sizes = sorted({abs(each) for each in known})
    places = {size: 2 * number for number, size in enumerate(sizes, 1)}  # odd ones lie between
    ours = [math.copysign(places[abs(each)], each) for each in known]
    orders = _orders(range(1, 2 * len(sizes) + 2), missing)
    ways = min(_ways([*ours, *others]) for others in orders)
    return ways / 2 ** (len(known) + missing)


def _orders(places: Sequence[int], count: int) -> Iterator[list[float]]:
    """Yield the orders of `count` numbers at places: equal at an even one, in any order between."""
    if not places:
        if not count:
            yield []
        return
    first, *rest = places
    for here in range(count + 1):
        own = [[0] * here] if first % 2 == 0 else list(_weak_orders(here))
        for others in _orders(rest, count - here):
            for order in own:
                yield [*(first + level / (count + 1) for level in order), *others]


def _weak_orders(count: int) -> Iterator[list[int]]:
    """Yield the orders of numbers that cannot be told apart, with ties: levels from 0."""
    if not count:
        yield []
    for equal in range(1, count + 1):
        for others in _weak_orders(count - equal):
            yield [0] * equal + [level + 1 for level in others]


def _ways(differences: Sequence[float]) -> int:
    """Return the number of choices of signs with which no more rank is negative than here."""
    ranked = sorted(differences, key=abs)
    sums, lost, start = 1, 0, 0  # of doubled ranks, which are whole; one digit of `sums` per sum
    while start < len(ranked):
        end = start
        while end < len(ranked) and abs(ranked[end]) == abs(ranked[start]):
            end += 1
        rank = start + 1 + end
        for each in ranked[start:end]:
            sums += sums << (rank * DIGIT)
            lost += rank if each < 0 else 0
        start = end
    return (sums & ((1 << ((lost + 1) * DIGIT)) - 1)) % ((1 << DIGIT) - 1)
