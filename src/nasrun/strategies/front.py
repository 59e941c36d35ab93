"""Which of many points no other beats, by a cost and a merit, and how lonely each is there.

The parts of NSGA-II (Deb et al. 2002, sec. III) for two objectives. They are our own, since they
are a page, and a library of them (pymoo) would bring a loop, a state and random numbers besides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
Point = tuple[float, float]
"""A cost, of which less is better, and a merit, of which more is."""


def frontier(items: Iterable[T], point: Callable[[T], Point]) -> list[T]:
    """What no other item beats, cheapest first; of those with equal points the first."""
    best: list[T] = []
    for item in sorted(items, key=lambda item: (point(item)[0], -point(item)[1])):
        if not best or point(item)[1] > point(best[-1])[1]:
            best.append(item)
    return best


def dominates(one: Point, other: Point) -> bool:
    """Whether one point is nowhere worse and somewhere better."""
    return one != other and one[0] <= other[0] and one[1] >= other[1]


def fronts(points: Sequence[Point]) -> list[list[int]]:
    """Fast nondominated sort: places of points that none dominates, then of those left, and so on.

    Every point is in one front, each front in the order of the points.
    """
    below: list[list[int]] = [[] for _ in points]
    above = [0] * len(points)
    for one, first in enumerate(points):
        for other, second in enumerate(points):
            if dominates(first, second):
                below[one].append(other)
                above[other] += 1
    found = []
    front = [place for place, count in enumerate(above) if count == 0]
    while front:
        found.append(front)
        freed = []
        for other in (other for one in front for other in below[one]):
            above[other] -= 1
            if above[other] == 0:
                freed.append(other)
        front = sorted(freed)
    return found


def crowding(points: Sequence[Point]) -> list[float]:
    """Crowding distance: per objective the share of its range between both neighbours, summed.

    The first and the last of an objective are infinitely far.
    """
    distances = [0.0] * len(points)
    for values in zip(*points, strict=True):
        order = sorted(range(len(points)), key=values.__getitem__)
        distances[order[0]] = distances[order[-1]] = math.inf
        extent = values[order[-1]] - values[order[0]]
        for before, place, after in zip(order, order[1:], order[2:], strict=False):
            if extent > 0:
                distances[place] += (values[after] - values[before]) / extent
    return distances


def knee(points: Sequence[Point]) -> int:
    """The place of the point farthest above the line from a frontier's cheapest to its best.

    Both axes are shares of their range on the frontier, whose points are given cheapest first. If
    none is above the line, it is the last point, which has the most merit.
    """
    (least, worst), (most, best) = points[0], points[-1]
    if len(points) < 2:
        return 0
    heights = [
        (merit - worst) / (best - worst) - (cost - least) / (most - least) for cost, merit in points
    ]
    return max(range(len(points)), key=lambda place: (heights[place], place))
