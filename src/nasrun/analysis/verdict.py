"""A verdict on a finished search in words: healthy, or which kind of collapse, and what to try.

Every sign compares a number of the search with a threshold. Signs are in order: an earlier one
explains later ones, so the first that holds is the verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from nasrun.genotype import NONE, SKIP
from nasrun.strategies.base import SupernetStrategy
from nasrun.strategies.history import Watchdog
from nasrun.supernet.supernet import Probabilities

HEALTHY = "healthy"
WINDOW = 5  # RobustDARTS's early stopping: eigenvalues are smoothed over 5 epochs
GROWTH = 0.75  # RobustDARTS: the smoothed eigenvalue 5 epochs ago, divided by today's
UNTRAINED = 2.0  # ours: times the accuracy of guessing
HARDLY = 1 / 9  # ours: of the way from guessing to no error; the same as UNTRAINED for 10 classes
UNIFORM = (
    0.99  # ours: of the largest entropy; of 8 operations, the likeliest has 0.2 instead of 0.125
)
NONES = 0.5  # ours: of the decisions
SKIPS = 0.75  # ours: of the edges; as the watchdog's, 6 of 8
FREE = 1.0  # ours, as the watchdog's
GAP = 0.1  # ours: accuracy; our searches by DARTS lose 0.42, those by SNAS nothing
MISLED = 0.0  # ours: the rank correlation of probability and strength


@dataclass(frozen=True, kw_only=True)
class Symptom:
    """A collapse, known by a number `key` of at least a threshold; at most, if not `above`.

    It `says` what happens, and has an `advice`. Numbers that are `of_alphas` mean nothing for
    alphas that never move.
    """

    name: str
    key: str
    threshold: float
    above: bool = True
    of_alphas: bool = True
    says: str
    advice: str


@dataclass(frozen=True)
class Sign:
    """A symptom with the number that a search has."""

    symptom: Symptom
    value: float

    @property
    def holds(self) -> bool:
        """Whether the number passes the threshold."""
        if self.symptom.above:
            return self.value >= self.symptom.threshold
        return self.value <= self.symptom.threshold


@dataclass(frozen=True, kw_only=True)
class Means:
    """The ways that a search leaves open, on which advice depends.

    `moves_alphas`: whether its level moves alphas at the end. `smooths`: whether it searches near
    the mixture already. `samples`: whether training samples its mixtures. `perturbs`: whether the
    selector has an edge to decide and an operation to miss.
    """

    watchdog: Watchdog | None
    moves_alphas: bool
    smooths: bool
    samples: bool
    perturbs: bool

    @classmethod
    def of(cls, searched: SupernetStrategy) -> Means:
        """Return those of a finished search."""
        supernet = searched.supernet
        return cls(
            watchdog=searched.watchdog,
            moves_alphas=searched.level.moves_alphas(1.0),
            smooths=searched.level.smooths,
            samples=searched.relaxation.samples,
            perturbs=searched.relaxation.mixes
            and any(name not in supernet.fixed for name in supernet.space.rows),
        )


def facts(strategy: SupernetStrategy) -> dict[str, float]:
    """Return the numbers of a search at its end that its alphas give, as shares.

    `entropy`: the mean entropy of a decision's probabilities, of the largest possible one, where a
    decision that the search has taken counts as 0;
    `none`: decisions whose likeliest choice is `none`, of those that have it; `skip_likelier`:
    edges on which skip is likelier than each operation with weights, of those that have both.
    `skip_share` and `free_share` are those of the last round's architecture.
    """
    rows = strategy.supernet.probabilities()
    found = {"entropy": _entropy(rows), "none": _nones(rows)}
    if strategy.history.records:
        last = strategy.history.records[-1]
        found |= {"skip_share": last.skip_share, "free_share": last.free_share}
    return found


def _entropy(rows: Probabilities) -> float:
    shares = []
    for row in rows.values():
        total = sum(row.values())
        p = [value / total for value in row.values() if total > 0 and value > 0]
        if len(row) > 1:
            shares.append(-sum(x * math.log(x) for x in p) / math.log(len(row)))
    return fmean(shares) if shares else 0.0


def _nones(rows: Probabilities) -> float:
    among = [row for row in rows.values() if NONE in row]
    return sum(max(row, key=row.__getitem__) == NONE for row in among) / max(1, len(among))


def growth(eigenvalues: Sequence[float | None]) -> float | None:
    """Return the mean of the eigenvalues before the last WINDOW rounds, divided by that of these.

    Each mean is over WINDOW rounds; `None` if there are fewer rounds, or a mean is not positive.
    """
    known = [value for value in eigenvalues if value is not None and math.isfinite(value)]
    if len(known) < 2 * WINDOW:
        return None
    before, now = fmean(known[-2 * WINDOW : -WINDOW]), fmean(known[-WINDOW:])
    return before / now if before > 0 and now > 0 else None


def signs(measured: Mapping[str, float | None], means: Means) -> list[Sign]:
    """Return all signs whose number is known, in order; of alphas that never move, none.

    `measured` has `facts`, `accuracy`, `chance`, `gap`, `growth`, `skip_likelier`, `agreement`.
    """
    return [
        Sign(symptom, value)
        for symptom in symptoms(measured.get("chance") or 0.0, means)
        if means.moves_alphas or not symptom.of_alphas
        if (value := measured.get(symptom.key)) is not None
    ]


def symptoms(chance: float, means: Means) -> tuple[Symptom, ...]:
    """Return all symptoms, in order, with what this search can still try."""
    watchdog = means.watchdog
    skips = SKIPS if watchdog is None else watchdog.skip_share
    free = FREE if watchdog is None else watchdog.free_share
    perturb = "select by method=perturb" if means.perturbs else ""
    earlier = "select an earlier round by method=frontier"
    healthy = "" if watchdog is None else "select by method=healthy, the last round before"
    smooth = "" if means.smooths else "search with strategy=sdarts"
    sample = "" if means.samples else "search with strategy=snas, which samples architectures"
    return (
        Symptom(
            name="untrained",
            key="accuracy",
            threshold=min(UNTRAINED * chance, chance + HARDLY * (1 - chance)),
            above=False,
            of_alphas=False,
            says="the supernet is hardly better than guessing",
            advice="raise rounds, or the learning rate of the weights",
        ),
        Symptom(
            name="uniform alphas",
            key="entropy",
            threshold=UNIFORM,
            says="the alphas are nearly uniform, so the search has decided nothing",
            advice=_or("raise rounds or alpha_lr", perturb and f"{perturb}, which reads no alphas"),
        ),
        Symptom(
            name=f"{NONE} dominates",
            key="none",
            threshold=NONES,
            says=f"`{NONE}` is the likeliest choice of many edges, which then are worth nothing",
            advice=_or(perturb, f"search a space without {NONE} (space=darts_s5)"),
        ),
        Symptom(
            name="skip connections dominate",
            key="skip_share",
            threshold=skips,
            says=f"`{SKIP}` takes over the cells",
            advice=_or(healthy or earlier, smooth),
        ),
        Symptom(
            name="skip connections dominate",
            key="skip_likelier",
            threshold=skips,
            says=f"`{SKIP}` is likelier than every operation with weights on most edges",
            advice=_or(perturb, smooth) or earlier,
        ),
        Symptom(
            name="no weights are left",
            key="free_share",
            threshold=free,
            says="the architecture has no operation with weights",
            advice=_or("select by method=at_least with a size", healthy and "by method=healthy"),
        ),
        Symptom(
            name="discretisation gap",
            key="gap",
            threshold=GAP,
            says="the architecture alone loses much of the supernet's accuracy",
            advice=_or(perturb, sample) or "raise rounds",
        ),
        Symptom(
            name="growing sharpness",
            key="growth",
            threshold=GROWTH,
            above=False,
            says="the loss becomes sharp in the alphas",
            advice=_or(earlier, "raise the weight decay of the weights"),
        ),
        Symptom(
            name="misleading alphas",
            key="agreement",
            threshold=MISLED,
            above=False,
            says="likelier operations are not stronger ones",
            advice=(perturb and f"{perturb}, which measures strength") or "raise rounds",
        ),
    )


def _or(*imperatives: str) -> str:
    """Return the imperatives that are not empty as one."""
    return ", or ".join(filter(None, imperatives))


def verdict(found: Sequence[Sign], means: Means) -> dict[str, object]:
    """Return the verdict with its reason and an imperative, and the numbers of all signs."""
    first = next((sign for sign in found if sign.holds), None)
    rows = [
        {
            "sign": sign.symptom.name,
            "value": sign.value,
            "threshold": sign.symptom.threshold,
            "holds": sign.holds,
        }
        for sign in found
    ]
    if first is not None:
        name, told, advice = first.symptom.name, first.symptom.says, first.symptom.advice
    elif means.moves_alphas:
        name, told, advice = HEALTHY, "no sign of a collapse", "retrain its choice"
    else:
        name, told = HEALTHY, "no sign of a collapse; its alphas never move"
        reads_none = "select by method=perturb, which reads none"
        advice = reads_none if means.perturbs else "search with strategy=darts"
    return {"verdict": name, "because": told, "try": advice, "signs": rows}
