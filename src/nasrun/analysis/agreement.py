"""Measures of how well scores rank architectures whose true quality is known.

Intervals are the middle 95 % over architectures drawn with replacement.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy import stats
from sklearn.metrics import ndcg_score

Numbers = np.ndarray[Any, np.dtype[np.float64]]
"""One number per architecture; minus infinity ranks last."""
Measure = Callable[[Numbers, Numbers], float]
GROUP = 100
"""Number of architectures in a group; NASWOT's search keeps the best of 100 (2006.04647)."""


def kendall(scores: Numbers, truth: Numbers) -> float:
    """Return Kendall's tau-b: concordant less discordant pairs, per pair, corrected for ties."""
    return float(stats.kendalltau(scores, truth).statistic)


def spearman(scores: Numbers, truth: Numbers) -> float:
    """Return Spearman's coefficient: Pearson's coefficient of the ranks."""
    return float(stats.spearmanr(scores, truth).statistic)


def ndcg(scores: Numbers, truth: Numbers) -> float:
    """Return the discounted gain of the order by score, divided by that of the true order.

    An architecture's gain is its true value, scaled so that the worst has 0 and the best 1, times 1
    / log2(1 + position); equal scores share their positions.
    """
    span = truth.max() - truth.min()
    gains = (truth - truth.min()) / span if span > 0 else np.ones_like(truth)
    return float(ndcg_score(gains[None], stats.rankdata(scores)[None]))


def regret(scores: Numbers, truth: Numbers, top: int) -> float:
    """Return the best true value less the best among the `top` highest scores; first of ties."""
    chosen = np.argsort(-scores, kind="stable")[:top]
    return float(truth.max() - truth[chosen].max())


def interval(of: Callable[..., float], *columns: Numbers, resamples: int) -> tuple[float, float]:
    """Return the middle 95 % of a measure; NaN if architectures are too few or all alike.

    columns: the arguments of the measure, which are drawn together.
    """
    if len(columns[0]) < 2:
        return math.nan, math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of samples in which all are alike
        found = stats.bootstrap(
            columns,
            of,
            paired=True,
            vectorized=False,
            n_resamples=resamples,
            method="percentile",
            random_state=0,
        ).bootstrap_distribution
        low, high = np.nanquantile(found, (0.025, 0.975))
    return float(low), float(high)


def agreement(scores: Numbers, truth: Numbers, *, top: int, resamples: int) -> dict[str, Any]:
    """Return every measure with its interval, and the true values that the scores would find."""
    measures: dict[str, Measure] = {
        "kendall": kendall,
        "spearman": spearman,
        "ndcg": ndcg,
        "regret": partial(regret, top=top),
    }
    found: dict[str, Any] = {"n": len(scores)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scores that are all alike
        for name, of in measures.items():
            low, high = interval(of, scores, truth, resamples=resamples)
            found[name] = {"value": of(scores, truth), "low": low, "high": high}
    best = bests(scores, truth)
    found["best"] = float(truth[int(scores.argmax())])
    found["best_of_group"] = {
        "size": GROUP,
        "groups": len(best),
        "mean": statistics.fmean(best) if best else math.nan,
        "std": statistics.stdev(best) if len(best) > 1 else math.nan,
    }
    return found


def lead(scores: Numbers, control: Numbers, truth: Numbers, *, resamples: int) -> dict[str, float]:
    """Return Kendall's tau of scores less that of a control, with its interval."""

    def difference(scores: Numbers, control: Numbers, truth: Numbers) -> float:
        return kendall(scores, truth) - kendall(control, truth)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scores that are all alike
        low, high = interval(difference, scores, control, truth, resamples=resamples)
        return {"value": difference(scores, control, truth), "low": low, "high": high}


def bests(scores: Numbers, truth: Numbers) -> list[float]:
    """Return the true value of the highest score in each whole group of consecutive ones."""
    starts = range(0, len(scores) - GROUP + 1, GROUP)
    return [float(truth[start + int(scores[start : start + GROUP].argmax())]) for start in starts]


def joined(parts: list[Numbers]) -> Numbers:
    """Return the sum of log(rank / n) over several scores per architecture (2403.19232 eq. 12)."""
    ranks = [stats.rankdata(part) / len(part) for part in parts]
    return np.log(ranks).sum(0)


def placed(scores: Numbers) -> Numbers:
    """Return the rank of every number as a share: 1 is the best, equal numbers share theirs."""
    return stats.rankdata(scores) / len(scores)
