"""Numbers for people, and the metrics that are shown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from nasrun.stage import Metrics

SHOWN = {
    "train_loss": "loss",
    "penalty": "penalty",
    "validation_accuracy": "val",
    "best_validation_accuracy": "best",
    "entropy": "H",
    "entropy_normal": "H(normal)",
    "entropy_reduce": "H(reduce)",
    "changed_edges": "changed",
    "skip_share": "skip",
    "decided": "decided",
    "best_score": "best",
    "median_score": "median",
    "worst_score": "worst",
    "children": "children",
    "child_gain": "child gain",
}
COUNTS = ("changed_edges", "decided", "children")
RANKS = (r".*accuracy|best_.*", r"train_loss", r".*")
"""Patterns of metrics in the order of their importance, for narrow terminals."""
BARS = "▁▂▃▄▅▆▇█"
NOTHING: Mapping[str, float] = MappingProxyType({})


class Said(NamedTuple):
    """A metric as text, and its rank by importance."""

    text: str
    rank: int


def summary(metrics: Metrics, largest: Mapping[str, float] = NOTHING) -> str:
    """Return the shown metrics on one line; `largest` has the maxima of some of them."""
    return "  ".join(text for text, _ in said(metrics, largest))


def said(metrics: Metrics, largest: Mapping[str, float] = NOTHING) -> Iterator[Said]:
    """Yield the shown metrics; those with a maximum as a share of it.

    An entropy whose maximum is unknown is left out, since the number alone says nothing.
    """
    for key, name in SHOWN.items():
        if key not in metrics or (key.startswith("entropy") and not largest.get(key)):
            continue
        value = metrics[key]
        if key.endswith("accuracy"):
            text = percent(value)
        elif largest.get(key):
            text = f"{value / largest[key]:.1%}"
        elif key == "skip_share":
            text = f"{value:.0%}"
        elif key in COUNTS:
            text = f"{value:.0f}"
        else:
            text = f"{value:.3f}"
        yield Said(f"{name} {text}", _rank(key))
    for key in metrics.keys() - SHOWN.keys():
        if f"best_{key}" in metrics:  # a score with its own name
            text = f"{key} {metrics[key]:.4g}  best {metrics[f'best_{key}']:.4g}"
            yield Said(text, 0)
    if scores := [value for key, value in metrics.items() if re.fullmatch(r"score_\d+", key)]:
        yield Said(bars(scores), len(RANKS) - 1)


def _rank(key: str) -> int:
    return next(rank for rank, pattern in enumerate(RANKS) if re.fullmatch(pattern, key))


def bars(scores: Sequence[float]) -> str:
    """Return a bar for each score of a population, in the members' order; blank if it diverged.

    Bars span from the lowest quartile of the scores to the best score.
    """
    known = sorted(score for score in scores if math.isfinite(score))
    if not known:
        return ""
    low, high = known[len(known) // 4], known[-1]
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    places = [round(max(0.0, score - low) * scale) if math.isfinite(score) else -1
              for score in scores]  # fmt: skip
    return "".join(BARS[place] if place >= 0 else " " for place in places)


def percent(fraction: float | None) -> str:
    """Return a fraction as percent, a dash for `None`."""
    return "-" if fraction is None else f"{100 * fraction:.2f}%"


def storage(gib: float) -> str:
    """Return a size in GiB, or in MiB if it is less than one GiB."""
    return f"{gib:.2f} GiB" if gib >= 1 else f"{1024 * gib:.1f} MiB"


def duration(seconds: float | None) -> str:
    """Return seconds as a duration for people, a dash for `None`."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def integer(number: float) -> str:
    """Return an integer, with a power of ten if it has more than nine digits."""
    return f"{number:,.0f}" if number < 1e9 else f"{number:.2e}".replace("e+", "e")
