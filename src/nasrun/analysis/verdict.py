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


@dataclass(frozen=True)
class Sign:
    """A sign of a collapse: `says`, and an `advice`; it holds if a number passes a threshold."""

    name: str
    value: float
    threshold: float
    holds: bool
    says: str
    advice: str


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


def signs(measured: Mapping[str, float | None], watchdog: Watchdog | None) -> list[Sign]:
    """Return all signs whose number is known, in order.

    `measured` has `facts`, `accuracy`, `chance`, `gap`, `growth`, `skip_likelier`, `agreement`.
    """
    skips = SKIPS if watchdog is None else watchdog.skip_share
    free = FREE if watchdog is None else watchdog.free_share
    chance = measured.get("chance") or 0.0
    rules = (
        (
            *("untrained", "accuracy", min(UNTRAINED * chance, chance + HARDLY * (1 - chance)), -1),
            "the supernet answers hardly better than by guessing",
            "raise rounds, or strategy.weight_optimizer.lr",
        ),
        (
            *("uniform alphas", "entropy", UNIFORM, 1),
            "the alphas are nearly uniform, so the search has decided nothing",
            "raise rounds or alpha_lr, or select by method=perturb, which reads no alphas",
        ),
        (
            *(f"{NONE} dominates", "none", NONES, 1),
            f"`{NONE}` is the likeliest choice of many edges, which then are worth nothing",
            f"select by method=perturb, or search a space without {NONE} (space=darts_s5)",
        ),
        (
            *("skip connections dominate", "skip_share", skips, 1),
            f"`{SKIP}` takes over the cells",
            "select by method=healthy, the last round before, or search with strategy=sdarts",
        ),
        (
            *("skip connections dominate", "skip_likelier", skips, 1),
            f"`{SKIP}` is likelier than every operation with weights on most edges",
            "select by method=perturb, or search with strategy=sdarts",
        ),
        (
            *("no weights are left", "free_share", free, 1),
            "the architecture has no operation with weights",
            "select by method=at_least with a size, or by method=healthy",
        ),
        (
            *("discretisation gap", "gap", GAP, 1),
            "the architecture alone loses much of the supernet's accuracy",
            "select by method=perturb, or search with strategy=snas, which samples architectures",
        ),
        (
            *("growing sharpness", "growth", GROWTH, -1),
            "the loss becomes sharp in the alphas",
            "select an earlier round by method=frontier, or raise strategy.weight_optimizer."
            "weight_decay",
        ),
        (
            *("misleading alphas", "agreement", MISLED, -1),
            "likelier operations are not stronger ones",
            "select by method=perturb, which measures strength",
        ),
    )
    found = []
    for name, key, threshold, above, says, advice in rules:
        value = measured.get(key)
        if value is not None:
            holds = value >= threshold if above > 0 else value <= threshold
            found.append(Sign(name, value, threshold, holds, says, advice))
    return found


def verdict(found: Sequence[Sign]) -> dict[str, object]:
    """Return the verdict with its reason and an imperative, and the numbers of all signs."""
    first = next((sign for sign in found if sign.holds), None)
    rows = [
        {"sign": s.name, "value": s.value, "threshold": s.threshold, "holds": s.holds}
        for s in found
    ]
    if first is None:
        told = "no sign of a collapse"
        return {"verdict": HEALTHY, "because": told, "try": "retrain its choice", "signs": rows}
    return {"verdict": first.name, "because": first.says, "try": first.advice, "signs": rows}
