"""The curves on a page: what every stage logged over its rounds, all runs in one chart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nasrun.config.stages import KINDS, SEARCH, SELECT
from nasrun.display.words import SHOWN
from nasrun.pages.charts import NEUTRAL, Chart, Look, Place, Series, lines
from nasrun.pages.entrants import Entrant, Logged
from nasrun.pictures.curves import Panel, retrain_panels, search_panels
from nasrun.stage import Metrics

ENTROPY = "entropy"
POPULATION = Panel(
    "Scores of the population",
    "score",
    {"best_score": "best", "median_score": "median", "worst_score": "worst"},
)


@dataclass(frozen=True)
class Curves:
    """The charts of the stages of one kind."""

    title: str
    source: str
    charts: tuple[Chart, ...]


def curves(every: Sequence[Entrant], logged: Logged) -> Iterator[Curves]:
    """Yield the charts of searches, of selections that train, and of trainings per data set."""
    together: dict[tuple[str, str], list[Entrant]] = {}
    for kept in every:
        kind = kept.group.kind
        together.setdefault((kind, kept.data if KINDS[kind].trains else ""), []).append(kept)
    for (kind, data), some in together.items():
        known = (member.stage.branch for kept in some for member in kept.group.members
                 if logged[member.stage])  # fmt: skip
        titles = {
            SEARCH.name: "Search",
            SELECT.name: f"Selection by {', '.join(dict.fromkeys(known))}",
        }
        title = titles.get(kind, f"Training from scratch on {data}")
        charts = [
            chart for panel in _panels(kind, some, logged) if (chart := _chart(panel, some, logged))
        ]
        if charts:
            folder = kind if kind == SEARCH.name else f"{kind}/BRANCH"
            yield Curves(title, f"{folder}/metrics.jsonl", tuple(charts))


def _panels(kind: str, some: Sequence[Entrant], logged: Logged) -> list[Panel]:
    """Return the panels of the kind of stage, and those of scores that have their own names."""
    rows = [row for kept in some for member in kept.group.members for row in logged[member.stage]]
    keys = dict.fromkeys(key for row in rows for key in row)
    groups = [key.removeprefix(ENTROPY).strip("_") for key in keys if key.startswith(ENTROPY)]
    if KINDS[kind].trains:
        return retrain_panels()
    found = search_panels(groups)
    known = {key for panel in found for key in panel.curves} | {*SHOWN}
    for key in keys:
        if f"best_{key}" in keys and key not in known:
            found.append(Panel(key, "", {key: "candidates", f"best_{key}": "best so far"}))
    return [*found, POPULATION]


def _chart(panel: Panel, some: Sequence[Entrant], logged: Logged) -> Chart | None:
    """Return the chart of a panel: of one group a colour per key, of several a line per key."""
    shown = []
    for kept in some:
        for place, (key, name) in enumerate(panel.curves.items()):
            curves = [
                curve
                for member in kept.group.members
                if (curve := _curve(logged[member.stage], key, panel.scale))
            ]
            if curves:
                shown.append((kept, place, name, curves))
    if len(shown) > 1 and all(curve == shown[0][3][0] for *_, curves in shown for curve in curves):
        (kept, place, _, curves), *_ = shown  # such as learning rates: one line is enough
        return lines(panel.title, panel.unit, [Series("", Look(NEUTRAL), curves[:1])])
    keys = sorted({place for _, place, _, _ in shown})
    several = len({kept.name for kept, _, _, _ in shown}) > 1
    every = []
    for kept, place, name, curves in shown:
        look = kept.look if several else Look.of(place)
        if several and len(keys) > 1:
            look = replace(look, dash=look.dash * len(keys) + keys.index(place))
        words = (kept.name if several else "", name if len(keys) > 1 or not several else "")
        every.append(Series(": ".join(filter(None, words)), look, curves))
    return lines(panel.title, panel.unit, every)


def _curve(rows: Sequence[Metrics], key: str, scale: float) -> list[Place]:
    return [
        (float(row["round"]), scale * row[key] if math.isfinite(row[key]) else math.nan)
        for row in rows
        if _is_number(row.get("round")) and _is_number(row.get(key))
    ]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
