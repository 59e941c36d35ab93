"""Tables of stages: searches and selections by their scores, and every stage of every run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasrun.analysis.paired import Spread
from nasrun.config.stages import KINDS, SELECT
from nasrun.display import duration
from nasrun.pages.entrants import (
    NOTHING,
    Entrant,
    Logged,
    among,
    data_of,
    is_number,
    measure,
    spread_of,
    told,
    unit_of,
)
from nasrun.runs.groups import Group
from nasrun.runs.standing import Standing


@dataclass(frozen=True)
class ScoreRow:
    """A row about a search or a selection: its score is not one on test images."""

    name: str
    runs: str
    score: str
    on: str
    time: str


def validated(every: Sequence[Entrant]) -> list[ScoreRow]:
    """Return the searches and selections, and trainings, whose scores are no results of choices."""
    return [
        ScoreRow(
            name=kept.title,
            runs=among(len(kept.scored), len(kept.group.members)),
            score=spread_of(kept),
            on=measure(kept.scored[0][1]) if kept.scored else NOTHING,
            time=duration(kept.group.seconds),
        )
        for kept in every
        if kept.group.on is not None and not kept.of_choices
    ]


def incomparable(every: Sequence[Entrant]) -> str:
    """Return why the scores of searches and selections are not compared, and what to do instead."""
    told = (
        "These scores are not compared between configurations: searches and selections decide by "
        "them, and the accuracy of a supernet says little of the architecture chosen from it."
    )
    if any(kept.of_choices for kept in every):
        return told
    return (
        f"{told} Type nasrun run with the same words: it continues these runs and trains choices."
    )


DISCRETISED = {
    "supernet_accuracy": "supernet",
    "child_accuracy": "choice alone",
    "gap": "gap, points",
    "child_recalibrated_accuracy": "batch norms recalibrated",
    "child_tuned_accuracy": "after one epoch",
}
"""Numbers of a selection on validation images, in words."""


def discretised(every: Sequence[Entrant]) -> list[tuple[str, ...]]:
    """Return per selection the validation accuracies of its choice without retraining."""
    rows = []
    for kept in every:
        if kept.group.kind == SELECT.name and any("gap" in result for result in kept.group.done):
            rows.append((kept.name, *(_percent(kept.group, key) for key in DISCRETISED)))
    return rows


def _percent(group: Group, key: str) -> str:
    values = [100 * result[key] for result in group.done if is_number(result.get(key))]
    return f"{Spread.of(values).text()}{'' if key == 'gap' else ' %'}" if values else NOTHING


@dataclass(frozen=True)
class SeedRow:
    """A stage of one run."""

    name: str
    stage: str
    run: str
    seed: str
    score: str
    on: str
    top5: str
    balanced: str
    params: str
    macs: str
    rounds: str
    time: str
    finished: bool


def singles(
    every: Sequence[Entrant], labels: Mapping[str, str], logged: Logged
) -> Iterator[SeedRow]:
    """Yield every stage of every run, once per score that it has."""
    for kept in every:
        kind = kept.group.kind
        for member in kept.group.members:
            result = member.result or {}
            seed = member.run.record.get("seed")
            for standing in _standings(result, kind):
                yield SeedRow(
                    name=kept.name,
                    stage=f"{kind} ({data_of(member)})" if KINDS[kind].trains else kind,
                    run=labels[str(member.run.path)],
                    seed=NOTHING if seed is None else str(seed),
                    score=told(standing),
                    on=NOTHING if standing is None else measure(standing),
                    top5=_accuracy(result, "test_top5_accuracy"),
                    balanced=_accuracy(result, "test_balanced_accuracy"),
                    params=_amount(result, "params"),
                    macs=_amount(result, "macs"),
                    rounds=str(len(logged[member.stage])),
                    time=NOTHING if not result else duration(result["seconds"]),
                    finished=member.result is not None,
                )


def _standings(result: Mapping[str, Any], kind: str) -> list[Standing | None]:
    """Return the score of a result, and its other true results; `None` if it is not known."""
    own = Standing.of(result, kind)
    return [own, *(each for each in Standing.looked_up(result).values() if each != own)]


def _accuracy(result: Mapping[str, Any], key: str) -> str:
    return NOTHING if (value := result.get(key)) is None else f"{100 * value:.2f} %"


def _amount(result: Mapping[str, Any], key: str) -> str:
    if (number := result.get(key)) is None:
        return NOTHING
    scale, unit = unit_of([number])
    return f"{number / scale:.{3 if key == 'params' and unit == 'M' else 1}f} {unit}"
