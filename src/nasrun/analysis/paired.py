"""Comparisons of two arms seed by seed: their differences, intervals and tests.

With five pairs, the smallest one-sided p of the signed-rank test is 1/32; with eight, 1/256. The
smallest two-sided p is twice as large.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

EXACT = 50_000
"""Up to so many ways to divide values into two groups, ties are tested by going through all."""


@dataclass(frozen=True)
class Spread:
    """Number, mean and sample standard deviation (n - 1) of values; `None` of too few values."""

    n: int
    mean: float | None
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of these values."""
        mean = statistics.fmean(values) if values else None
        return cls(len(values), mean, statistics.stdev(values) if len(values) > 1 else None)

    def text(self, digits: int = 2) -> str:
        """Return mean and standard deviation as text."""
        if self.mean is None:
            return "-"
        deviation = "" if self.std is None else f" ± {self.std:.{digits}f}"
        return f"{self.mean:.{digits}f}{deviation}"


@dataclass(frozen=True)
class Difference:
    """Differences of pairs, first less second.

    low, high: the interval that has the mean with 95 % (Student's t), `None` of less than two
    pairs. p: of the one-sided test that the first is larger, `None` without pairs; 1 if no pair
    differs. opposite: of the test that the second is larger. larger: in how many pairs the first
    is larger.
    """

    spread: Spread
    low: float | None
    high: float | None
    p: float | None
    opposite: float | None
    larger: int

    @classmethod
    def of(cls, first: Sequence[float], second: Sequence[float]) -> Difference:
        """Compare pairs by the signed-rank test (Wilcoxon, 1945), one-sided."""
        found = differences(first, second)
        low, high = interval(found)
        larger = sum(each > 0 for each in found)
        p, opposite = signed_rank(found), signed_rank([-each for each in found])
        return cls(Spread.of(found), low, high, p, opposite, larger)

    @property
    def two_sided(self) -> float | None:
        """Return p of the test that one of them is larger, twice that of the likelier one."""
        if self.p is None or self.opposite is None:
            return None
        return min(1.0, 2 * min(self.p, self.opposite))


def differences(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Return first less second, pair by pair, rounded so that equal differences share a rank."""
    # 0.91 - 0.90 is not 0.92 - 0.91
    return [round(a - b, 12) for a, b in zip(first, second, strict=True)]


def interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the 95 % interval of a mean by Student's t; `None` of less than two values."""
    if len(values) < 2:
        return None, None
    mean = statistics.fmean(values)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values)
    half /= len(values) ** 0.5
    return mean - half, mean + half


def signed_rank(found: Sequence[float]) -> float | None:
    """Return p of the one-sided test that differences are larger than 0; 1 if all are 0.

    Differences of 0 are left out (Wilcoxon, 1945).
    """
    if not found:
        return None
    if not (unequal := [each for each in found if each]):
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few pairs with ties
        return float(stats.wilcoxon(unequal, alternative="greater").pvalue)


def rank_sum(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return p of the one-sided test that the first are larger, without pairs (Mann-Whitney)."""
    if not first or not second:
        return None
    ways = math.comb(len(first) + len(second), len(first))
    ties = len({*first, *second}) < len(first) + len(second)
    exact = ties and ways <= EXACT and min(len(first), len(second)) > 1  # scipy refuses one value
    method = stats.PermutationMethod(n_resamples=EXACT) if exact else "auto"
    test = stats.mannwhitneyu(first, second, alternative="greater", method=method)
    return float(test.pvalue)


def holm(chances: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm, 1979)."""
    order = sorted(range(len(chances)), key=lambda place: chances[place])
    corrected, highest = [0.0] * len(chances), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[place]))
        corrected[place] = highest
    return corrected


def bonferroni(chances: Sequence[float]) -> list[float]:
    """Return p-values times their number, at most 1."""
    return [min(1.0, len(chances) * chance) for chance in chances]
