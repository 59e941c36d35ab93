"""Fronts of points with a cost and a merit, and the crowding of points on a front.

The parts of NSGA-II (Deb et al. 2002, sec. III) for two objectives. They are our own, since they
are a page, and a library of them (pymoo) would add its own loop, state and random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
Point = tuple[float, float]
"""A cost, of which less is better, and a merit, of which more is better."""


def frontier(items: Iterable[T], point: Callable[[T], Point]) -> list[T]:
    """Return the items that no other item beats, cheapest first; of equal points the first item."""
    best: list[T] = []
    for item in sorted(items, key=lambda item: (point(item)[0], -point(item)[1])):
        if not best or point(item)[1] > point(best[-1])[1]:
            best.append(item)
    return best


def dominates(one: Point, other: Point) -> bool:
    """Return whether `one` is nowhere worse than `other` and somewhere better."""
    return one != other and one[0] <= other[0] and one[1] >= other[1]


def fronts(points: Sequence[Point]) -> list[list[int]]:
    """Sort into fronts: indices of points that no other dominates, then of those left, and so on.

    Every point is in one front; each front keeps the order of the points.
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
    """Return the distance between both neighbours, as a share of each objective's range, summed.

    The first and the last point of an objective are infinitely far.
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
    """Return the index of the point farthest above the line between a frontier's first and last.

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
