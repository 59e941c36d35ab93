"""The classes that a choice recognises worst, over its seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasrun.analysis.paired import Spread
from nasrun.config.stages import KINDS
from nasrun.pages.entrants import NOTHING, Entrant, is_number

MOST = 10
"""Number of classes that a table shows."""
COLUMNS = ("class", "test images", "recall", "precision", "answered instead")


@dataclass(frozen=True)
class ByClass:
    """The table of one choice, with a sentence on which classes it has."""

    title: str
    about: str
    rows: Sequence[tuple[str, ...]]


def by_class(every: Sequence[Entrant]) -> tuple[list[ByClass], list[str]]:
    """Return a table per trained choice, and the errors of files that cannot be read."""
    tables, errors = [], []
    for kept in every:
        if not KINDS[kept.group.kind].trains or kept.is_random:
            continue
        found = []
        for member in kept.group.members:
            try:
                found += [classes] if (classes := member.stage.classes) else []
            except ValueError as error:
                errors.append(f"{error}.")
        if found:
            tables.append(_table(kept, found))
    return tables, errors


def _table(kept: Entrant, found: Sequence[Mapping[str, Any]]) -> ByClass:
    names = [name for name in found[0] if all(name in classes for classes in found)]
    rows = {name: [classes[name] for classes in found] for name in names}
    recall = {name: _percents(seeds, "recall") for name, seeds in rows.items()}
    weakest = sorted((name for name in names if recall[name]), key=lambda n: _mean(recall[n]))
    which = f"the {MOST} of {len(names)} classes" if len(names) > MOST else "classes"
    return ByClass(
        title=f"{kept.title} on {kept.data}",
        about=f"{which} with the lowest recall first; from classes.json",
        rows=[
            (
                name,
                str(rows[name][0]["images"]),
                _text(recall[name]),
                _text(_percents(rows[name], "precision")),
                _mistakes(name, [seed["answers"] for seed in rows[name]]),
            )
            for name in weakest[:MOST]
        ],
    )


def _percents(seeds: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [100 * seed[key] for seed in seeds if is_number(seed[key])]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _text(values: Sequence[float]) -> str:
    return f"{Spread.of(values).text(1)} %" if values else NOTHING


def _mistakes(name: str, answers: Sequence[Mapping[str, int]]) -> str:
    """Return the two most frequent wrong answers, with their shares of the images of the class."""
    total: Counter[str] = Counter()
    for seed in answers:
        total.update(seed)
    wrong = [(other, count) for other, count in total.most_common() if other != name][:2]
    return ", ".join(f"{other} {100 * n / total.total():.1f} %" for other, n in wrong) or NOTHING
