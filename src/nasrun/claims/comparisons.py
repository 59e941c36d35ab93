"""Comparisons of a claim's arms: what has to be larger than what, and by which test."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from nasrun.analysis.futility import least_signed_rank
from nasrun.analysis.paired import Difference, Spread, differences, interval, rank_sum

Values = Mapping[str, Mapping[str, Mapping[int, float]]]
"""Values by measure, arm and place; equal places are a pair."""


@dataclass(frozen=True)
class Outcome:
    """The finding of a comparison.

    spread: of the differences. low, high: their 95 % interval. larger: in how many pairs the
    difference is positive, `None` without pairs. p: of the one-sided test, `None` if there is no
    test; opposite: of the test of the other direction. holds: the answer of what needs no test.
    """

    spread: Spread
    low: float | None = None
    high: float | None = None
    larger: int | None = None
    p: float | None = None
    opposite: float | None = None
    holds: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison(ABC):
    """A statement about the values of a measure; one that does not `decide` is only shown."""

    measure: str
    decides: bool = True

    @property
    @abstractmethod
    def text(self) -> str:
        """The statement, without the name of the measure."""

    @property
    @abstractmethod
    def arms(self) -> tuple[str, ...]:
        """The arms that it reads."""

    @abstractmethod
    def outcome(self, values: Values) -> Outcome:
        """Return what it finds in the values so far."""

    def least(self, values: Values, pairs: int) -> float:
        """Return the smallest p that it can reach with `pairs` pairs, by the values so far.

        It is 0 where that is not known.
        """
        return 0.0

    def check(self, arms: Collection[str], measures: Collection[str]) -> None:
        """Raise ValueError if it names an arm or a measure that the claim lacks."""
        if self.measure not in measures:
            known = ", ".join(measures)
            raise ValueError(f"comparisons.measure={self.measure}: use one of {known}")
        for arm in self.arms:
            if arm not in arms:
                raise ValueError(f"comparisons: no arm {arm}; use one of {', '.join(arms)}")


@dataclass(frozen=True, kw_only=True)
class Paired(Comparison):
    """An arm has larger values than another, seed by seed (Wilcoxon's signed-rank test)."""

    larger: str
    smaller: str

    @property
    def text(self) -> str:
        return f"{self.larger} - {self.smaller}"

    @property
    def arms(self) -> tuple[str, ...]:
        return (self.larger, self.smaller)

    def outcome(self, values: Values) -> Outcome:
        found = Difference.of(*self._pairs(values))
        return Outcome(found.spread, found.low, found.high, found.larger, found.p, found.opposite)

    def least(self, values: Values, pairs: int) -> float:
        return least_signed_rank(differences(*self._pairs(values)), pairs)

    def _pairs(self, values: Values) -> tuple[list[float], list[float]]:
        """Return the values of both arms at the places that both have."""
        first, second = (values.get(self.measure, {}).get(arm, {}) for arm in self.arms)
        places = sorted(first.keys() & second.keys())
        return [first[place] for place in places], [second[place] for place in places]


@dataclass(frozen=True, kw_only=True)
class Unpaired(Comparison):
    """An arm has larger values than another, whose seeds are not paired (Mann-Whitney's test)."""

    larger: str
    smaller: str

    @property
    def text(self) -> str:
        return f"{self.larger} > {self.smaller}, without pairs"

    @property
    def arms(self) -> tuple[str, ...]:
        return (self.larger, self.smaller)

    def outcome(self, values: Values) -> Outcome:
        first, second = ([*values.get(self.measure, {}).get(arm, {}).values()] for arm in self.arms)
        p, opposite = rank_sum(first, second), rank_sum(second, first)
        return Outcome(Spread.of([]), p=p, opposite=opposite)


@dataclass(frozen=True, kw_only=True)
class Bounded(Comparison):
    """No value of an arm is above a bound; there is no test."""

    arm: str
    most: float

    @property
    def text(self) -> str:
        return f"{self.arm} <= {self.most:g}"

    @property
    def arms(self) -> tuple[str, ...]:
        return (self.arm,)

    def outcome(self, values: Values) -> Outcome:
        found = [*values.get(self.measure, {}).get(self.arm, {}).values()]
        low, high = interval(found)
        held = all(value <= self.most for value in found) if found else None
        return Outcome(Spread.of(found), low, high, holds=held)


@dataclass(frozen=True, kw_only=True)
class MoreOften(Comparison):
    """An arm hits more often than chance does, in `draws` tries (Fisher's exact test).

    `control` is the name of the measure's control that has the share of hits by chance. Control
    values are at the place -1.
    """

    arm: str
    control: str
    draws: int

    @property
    def text(self) -> str:
        return f"{self.arm} more often than {self.control}"

    @property
    def arms(self) -> tuple[str, ...]:
        return (self.arm,)

    def outcome(self, values: Values) -> Outcome:
        from scipy import stats

        of = values.get(self.measure, {})
        found, chance = [*of.get(self.arm, {}).values()], of.get(self.control, {}).get(-1)
        if not found or chance is None:
            return Outcome(Spread.of(found))
        hits, by_chance = round(sum(found)), round(chance * self.draws)
        odds = [[hits, len(found) - hits], [by_chance, self.draws - by_chance]]
        p, opposite = (
            float(stats.fisher_exact(odds, alternative=side).pvalue) for side in ("greater", "less")
        )
        return Outcome(Spread.of(found), p=p, opposite=opposite)
