"""Paired comparisons: their tests, intervals and corrections, against other formulas."""

import random
import warnings
from itertools import combinations, product

import pytest
from scipy import stats

from nasrun.analysis.paired import (
    Difference,
    Spread,
    bonferroni,
    holm,
    interval,
    rank_sum,
    signed_rank,
)


def exact(differences):
    """Return p by counting: all signs of the ranks of absolute differences are equally likely."""
    ranks = stats.rankdata([abs(each) for each in differences])
    found = sum(rank for rank, each in zip(ranks, differences, strict=True) if each > 0)
    sums = [
        sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
        for signs in product((0, 1), repeat=len(ranks))
    ]
    return sum(each >= found for each in sums) / len(sums)


def test_the_signed_rank_test_counts_all_signs():
    source = random.Random(0)
    for count in (1, 3, 5, 8):
        differences = [source.gauss(0.3, 1) for _ in range(count)]
        assert signed_rank(differences) == pytest.approx(exact(differences))
    assert signed_rank([1, 2, 3, 4, 5]) == 1 / 32
    assert signed_rank([0.0, 0.0]) == 1.0
    # pairs that are equal say nothing
    assert signed_rank([0.0] * 10 + [1.0, 2.0, 3.0, 4.0]) == 1 / 16
    assert signed_rank([0.0] * 25 + [1.0] * 5) == 1 / 32
    assert signed_rank([]) is None


def test_two_sided_p_is_that_of_scipy_whichever_is_larger_and_with_ties():
    source = random.Random(1)
    for count in (1, 2, 5, 9, 20):
        for digits in (1, 6):
            first, second = (
                [round(source.gauss(0, 1), digits) for _ in range(count)] for _ in "ab"
            )
            found, other = Difference.of(first, second), Difference.of(second, first)
            different = [round(a - b, 9) for a, b in zip(first, second, strict=True) if a != b]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of few pairs with ties
                expected = stats.wilcoxon(different, alternative="two-sided").pvalue
            assert found.two_sided == pytest.approx(expected)
            assert (found.two_sided, found.opposite) == (other.two_sided, other.p)
    assert Difference.of([1, 2, 3, 4, 5], [0] * 5).two_sided == 1 / 16
    assert Difference.of([1.0], [1.0]).two_sided == 1.0
    assert Difference.of([], []).two_sided is None


def test_a_comparison_is_of_pairs_and_its_interval_is_students():
    first, second = [3.0, 5.0, 4.0, 9.0], [1.0, 4.0, 5.0, 6.0]
    found = Difference.of(first, second)
    low, high = stats.ttest_rel(first, second).confidence_interval()
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.spread.mean == pytest.approx(1.25)
    assert found.spread.std == pytest.approx((8.75 / 3) ** 0.5)  # 0.75² + 0.25² + 2.25² + 1.75²
    assert found.larger == 3
    assert interval([1.0]) == (None, None)
    assert Difference.of([1.0], [0.0]).p == 0.5


def test_the_rank_sum_is_that_of_scipy_and_needs_both():
    first, second = [3.0, 5.0, 7.0], [1.0, 4.0]
    assert rank_sum(first, second) == stats.mannwhitneyu(first, second, alternative="greater")[1]
    assert rank_sum(first, []) is None


def test_the_rank_sum_of_equal_values_goes_through_all_divisions():
    first, second = [3.0, 3.0, 2.0, 2.0], [2.0, 1.0, 1.0, 1.0]
    ranks = stats.rankdata([*first, *second])
    sums = [sum(some) for some in combinations(ranks, 4)]
    expected = sum(each >= sum(ranks[:4]) for each in sums) / len(sums)
    assert rank_sum(first, second) == pytest.approx(expected)
    assert rank_sum([0.5], [0.5]) == 1.0
    assert rank_sum([0.5, 0.6], [0.5]) < 1.0


def test_holm_corrects_the_smallest_most_and_never_falls():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
    assert bonferroni([0.01, 0.6]) == [0.02, 1.0]


def test_a_spread_says_what_it_knows():
    assert Spread.of([]).text() == "-"
    assert Spread.of([2.0]).text() == "2.00"
    assert Spread.of([1.0, 2.0]).text(1) == "1.5 ± 0.7"


def test_differences_that_are_equal_but_for_rounding_share_a_rank():
    first, second = [0.91, 0.95, 0.93, 0.97], [0.90, 0.91, 0.94, 0.92]
    assert Difference.of(first, second).p == pytest.approx(exact([1, 4, -1, 5]))
