"""Rank agreement against formulas of its own: pairs, discounts, what is left out."""

import math
from itertools import combinations

import numpy as np
import pytest

from nasrun.analysis.agreement import (
    agreement,
    bests,
    interval,
    joined,
    kendall,
    lead,
    ndcg,
    placed,
    regret,
    spearman,
)

X = np.array([1.0, 2.0, 2.0, -math.inf, 5.0])
Y = np.array([0.3, 0.1, 0.4, 0.1, 0.9])


def test_tau_b_is_counted_over_pairs():
    signs = [(np.sign(X[i] - X[j]), np.sign(Y[i] - Y[j])) for i, j in combinations(range(5), 2)]
    over = sum(a * b for a, b in signs)
    tied = [sum(pair[side] != 0 for pair in signs) for side in (0, 1)]
    assert kendall(X, Y) == pytest.approx(over / math.sqrt(tied[0] * tied[1]))


def test_rho_is_the_correlation_of_ranks():
    ranks = np.array([2.0, 3.5, 3.5, 1, 5]), np.array([3, 1.5, 4, 1.5, 5])
    assert spearman(X, Y) == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_ndcg_discounts_gains_by_the_place_that_a_score_gives():
    scores, truth = np.array([3.0, 2.0, 1.0]), np.array([0.5, 0.9, 0.1])
    ideal = 1 + 0.5 / math.log2(3)
    assert ndcg(scores, truth) == pytest.approx((0.5 + 1 / math.log2(3)) / ideal)
    assert ndcg(truth, truth) == pytest.approx(1)
    assert ndcg(scores, np.full(3, 0.5)) == pytest.approx(1)


def test_the_regret_is_what_the_best_of_the_top_lacks():
    scores, truth = np.array([4.0, 3.0, 2.0, 1.0]), np.array([0.1, 0.5, 0.4, 0.9])
    found = [regret(scores, truth, top) for top in (1, 2, 3, 4)]
    assert found == pytest.approx([0.8, 0.4, 0.4, 0.0])


def test_an_interval_narrows_with_agreement_and_is_the_same_every_time():
    x = np.arange(50.0)
    assert interval(kendall, x, x, resamples=50) == pytest.approx((1, 1), abs=0.05)
    mixed = np.random.default_rng(1).permutation(x)
    low, high = interval(kendall, x, mixed, resamples=100)
    assert low < kendall(x, mixed) < high
    assert (low, high) == interval(kendall, x, mixed, resamples=100)
    assert all(map(math.isnan, interval(kendall, x[:1], x[:1], resamples=10)))


def test_the_lead_over_a_control_is_of_both_on_the_same_architectures():
    generator = np.random.default_rng(0)
    truth = generator.normal(size=200)
    good, bad = truth + generator.normal(size=200) / 4, truth + 2 * generator.normal(size=200)
    found = lead(good, bad, truth, resamples=200)
    assert found["value"] == pytest.approx(kendall(good, truth) - kendall(bad, truth))
    assert 0 < found["low"] < found["value"] < found["high"]
    # two intervals of their own would be as wide as if the errors of the two were independent
    alike = lead(good + 1e-9 * generator.normal(size=200), good, truth, resamples=200)
    assert alike["high"] - alike["low"] < 0.01
    assert lead(good, good, truth, resamples=20) == {"value": 0, "low": 0, "high": 0}


def test_the_best_of_every_hundred_is_a_search_of_its_own():
    x, y = np.arange(250.0), np.arange(250.0) / 10
    assert bests(x, y) == [9.9, 19.9]  # 50 are left over
    found = agreement(x, y, top=1, resamples=2)
    assert found["best_of_group"] == {
        "size": 100,
        "groups": 2,
        "mean": pytest.approx(14.9),
        "std": pytest.approx(7.07, abs=0.01),
    }
    assert found["best"] == 24.9


def test_scores_that_are_all_alike_rank_nothing():
    found = agreement(np.ones(5), Y, top=1, resamples=5)
    assert math.isnan(found["kendall"]["value"])
    assert found["regret"]["value"] == pytest.approx(0.6)  # ties go to the first


def test_numbers_are_joined_by_their_ranks_among_all():
    first, second = np.array([1.0, 2.0]), np.array([2.0, 2.0])
    assert joined([first, second]).tolist() == pytest.approx(
        [math.log(1 / 2) + math.log(1.5 / 2), math.log(1.5 / 2)]
    )
    assert placed(X).tolist() == pytest.approx([0.4, 0.7, 0.7, 0.2, 1.0])
