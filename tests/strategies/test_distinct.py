"""Distinct draws: without replacement, as likely as a model says."""

from collections import Counter
from itertools import product

import pytest
import torch

from nasrun.strategies.distinct import distinct

FIRST = torch.tensor([0.5, 0.3, 0.2])
SECOND = torch.tensor([[0.6, 0.4, 0.0], [0.0, 1.0, 0.0], [0.1, 0.1, 0.8]])
EACH = {
    (i, j): float(FIRST[i] * SECOND[i, j])
    for i, j in product(range(3), range(3))
    if SECOND[i, j] > 0
}
"""The probabilities of all six sequences."""


def next_choice(columns):
    if columns.shape[1] == 0:
        return FIRST.log().expand(len(columns), -1)
    return SECOND.log()[columns[:, -1]]


def drawn(count, times=1, begun=None):
    empty = torch.zeros(times, 0, dtype=torch.long) if begun is None else begun
    return [tuple(row) for row in distinct(next_choice, empty, 2, count).tolist()]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_every_possible_continuation_comes_once_where_more_are_asked_for():
    assert sorted(drawn(9)) == sorted(drawn(6)) == sorted(EACH)
    assert sorted(drawn(5, begun=torch.tensor([[1], [2]]))) == [(1, 1), (2, 0), (2, 1), (2, 2)]


def test_draws_are_without_replacement_and_as_likely_as_the_model_says():
    """P(first = a) = p_a, P(second = b | a) = p_b / (1 - p_a)."""
    times = 20000
    found = drawn(2, times)
    pairs = list(zip(found[::2], found[1::2], strict=True))
    assert len(pairs) == times and all(one != other for one, other in pairs)
    counts = Counter(pairs)
    for (a, p), (b, q) in product(EACH.items(), EACH.items()):
        expected = p * q / (1 - p) if a != b else 0.0
        assert counts[a, b] / times == pytest.approx(expected, abs=0.011)


def test_a_peaked_model_still_gives_different_draws():
    peaked = torch.tensor([0.0, -80.0, -90.0, -torch.inf])
    found = distinct(
        lambda columns: peaked.expand(len(columns), -1), torch.zeros(1, 0).long(), 2, 5
    )
    assert len(set(map(tuple, found.tolist()))) == 5
    assert found[0].tolist() == [0, 0]
