"""Fronts, crowding and knees, against the definitions by brute force."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.strategies.pareto import crowding, dominates, frontier, fronts, knee

numbers = st.integers(0, 6).map(float)
many = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=14)


def rank(point, points):
    """The longest chain of points each of which dominates the next, ending here."""
    above = [other for other in points if dominates(other, point)]
    return 1 + max((rank(other, points) for other in above), default=-1)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(many)
def test_a_point_is_in_the_front_of_its_longest_chain_of_betters(points):
    found = fronts(points)
    assert sorted(place for front in found for place in front) == list(range(len(points)))
    for number, front in enumerate(found):
        assert front == sorted(front)
        assert all(rank(points[place], points) == number for place in front)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(many)
def test_the_frontier_is_the_first_front_each_point_once(points):
    expected = {points[place] for place in fronts(points)[0]}
    best = frontier(points, lambda point: point)
    assert best == sorted(expected)
    assert [merit for _, merit in best] == sorted(merit for _, merit in best)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.permutations(range(7)), st.permutations(range(7)))
def test_crowding_is_the_distance_of_the_neighbours_in_shares_of_the_range(costs, merits):
    points = [(float(c) ** 2, float(m) ** 3) for c, m in zip(costs, merits, strict=True)]

    def share(values, value):
        below, above = ([v for v in values if v < value], [v for v in values if v > value])
        if not below or not above:
            return math.inf
        return (min(above) - max(below)) / (max(values) - min(values))

    for point, found in zip(points, crowding(points), strict=True):
        parts = [share(values, v) for values, v in zip(zip(*points, strict=True), point)]  # noqa: B905
        assert found == pytest.approx(sum(parts))


def test_what_has_no_range_is_not_divided_by():
    assert crowding([(1.0, 2.0)] * 3) == [math.inf, 0.0, math.inf]
    assert crowding([(1.0, 2.0)]) == [math.inf]
    assert crowding([]) == []
    assert fronts([]) == []


def test_a_knee_is_farthest_above_the_line_between_the_ends():
    assert knee([(0.0, 0.0), (1.0, 0.3), (2.0, 0.9), (4.0, 1.0)]) == 2
    scaled = [(1e6 * cost + 5, merit / 1e3 - 7) for cost, merit in [(0, 0), (1, 0.8), (4, 1)]]
    assert knee(scaled) == 1


def test_without_a_knee_the_best_is_taken():
    assert knee([(0.0, 0.0), (3.0, 0.1), (4.0, 1.0)]) == 2  # below the line
    assert knee([(0.0, 0.0), (4.0, 1.0)]) == 1
    assert knee([(3.0, 0.5)]) == 0
