"""Measures of a claim: numbers that are read from the finished runs of an arm.

A measure has two parts, so that no truth is read before all runs are finished: a fact of one run,
which is a number or an architecture, and its value, for which a table may be needed.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from random import Random
from statistics import fmean
from typing import TYPE_CHECKING, Any

from nasrun.claims.finished import Finished
from nasrun.data.table import Table
from nasrun.files import read_json

if TYPE_CHECKING:
    from nasrun.analysis.agreement import Numbers

Fact = float | str | Mapping[str, Any] | None
"""A fact that is kept of one run; `None` if its arm has no such number."""
DRAWS = 100
"""Ours: draws per architecture of a sample, after which the space hardly has another."""


@dataclass(frozen=True, kw_only=True)
class Gauge(ABC):
    """A number of an arm.

    text: the head of its column. percent: whether values are fractions that are shown in percent.
    digits: decimals that are shown.
    """

    text: str
    percent: bool = False
    digits: int = 2

    @property
    def scale(self) -> float:
        """The factor of values where they are shown."""
        return 100.0 if self.percent else 1.0

    @property
    @abstractmethod
    def looked_up(self) -> tuple[str, ...]:
        """The data sets whose true results it reads from a table."""

    @property
    @abstractmethod
    def needed(self) -> tuple[str, ...]:
        """Those that a table has to have."""

    @abstractmethod
    def fact(self, finished: Finished) -> Fact:
        """Return what is kept of a finished arm."""

    @abstractmethod
    def value(self, fact: Any, table: Table | None) -> float | None:
        """Return the number; `None` as long as a table is needed for it and there is none."""

    @abstractmethod
    def controls(self, table: Table) -> Mapping[str, float]:
        """Return the values of what no search has found, by name."""


@dataclass(frozen=True, kw_only=True)
class Number(Gauge):
    """A measure for which no table is needed."""

    @property
    def looked_up(self) -> tuple[str, ...]:
        return ()

    @property
    def needed(self) -> tuple[str, ...]:
        return ()

    def value(self, fact: Any, table: Table | None) -> float | None:
        return None if fact is None else float(fact)

    def controls(self, table: Table) -> Mapping[str, float]:
        return {}


def _number(found: Any, key: str) -> float | None:
    """Return what was found if it is a number or `None`; else ValueError names the key."""
    if isinstance(found, int | float | None):
        return found
    raise ValueError(f"key={key}: {str(found)[:40]} is no number; name one")


@dataclass(frozen=True, kw_only=True)
class Result(Number):
    """A number in the result of a stage; `key` may name an inner one, as in `untrained.fid`.

    `minus` is true if the number is counted with the other sign, since less is better.
    """

    stage: str
    key: str
    minus: bool = False

    def fact(self, finished: Finished) -> Fact:
        folder = finished.stage(self.stage)
        found = None if folder is None else _number(_inner(folder.result, self.key), self.key)
        return -found if self.minus and found is not None else found


@dataclass(frozen=True, kw_only=True)
class Rounds(Number):
    """A number that is logged every round: its last value, or the mean, sum or maximum of all."""

    stage: str
    key: str
    of: str = "last"

    def __post_init__(self) -> None:
        if self.of not in OF:
            raise ValueError(f"of={self.of}: use one of {', '.join(OF)}")

    def fact(self, finished: Finished) -> Fact:
        folder = finished.stage(self.stage)
        rows = [] if folder is None else [*folder.metrics(), *folder.timing()]
        found = [row[self.key] for row in rows if self.key in row]
        return OF[self.of](found) if found else None


OF: Mapping[str, Callable[[Sequence[float]], float]] = {
    "last": lambda found: found[-1],
    "mean": lambda found: sum(found) / len(found),
    "sum": sum,
    "max": max,
}
"""Summaries of a logged number."""


@dataclass(frozen=True, kw_only=True)
class EarlyRanks(Number):
    """Spearman's correlation of the scores of a population after `round` with those at the end.

    A member that diverged ranks last. `None` for a search that replaced members, since the last
    scores are then those of others.
    """

    round: int

    def fact(self, finished: Finished) -> Fact:
        from nasrun.analysis.agreement import spearman

        folder = finished.stage("search")
        if folder is None:
            return None
        rows = folder.metrics()
        if any(row.get("children") for row in rows):
            return None
        logged = [_scores(row) for row in rows]
        if not logged or not len(logged[0]):
            raise ValueError(f"{folder.path}: has no scores of members; use another measure")
        if not 1 <= self.round < len(logged):
            raise ValueError(f"round={self.round}: use 1 to {len(logged) - 1}, before the last one")
        return spearman(logged[self.round - 1], logged[-1])


def _scores(row: Mapping[str, Any]) -> Numbers:
    """Return the scores of a population's members, slot by slot, from a logged round."""
    import numpy as np

    slots = sorted(key for key in row if re.fullmatch(r"score_\d+", key))
    scores = np.array([row[key] for key in slots], dtype=float)  # null is NaN
    return np.where(np.isfinite(scores), scores, -np.inf)


@dataclass(frozen=True, kw_only=True)
class Ranking(Number):
    """A number of `nasrun analyze ranks` about the first score that it was given.

    `key` may name an inner one, as in `kendall.low`.
    """

    key: str

    def fact(self, finished: Finished) -> Fact:
        first = read_json(finished.folders[-1] / "ranks.json", "rows")["rows"][0]
        return _number(_inner(first, self.key), self.key)


@dataclass(frozen=True, kw_only=True)
class LookedUp(Gauge):
    """A measure that needs the true results of a data set; none if the table may lack it."""

    data: str
    optional: bool = False

    @property
    def looked_up(self) -> tuple[str, ...]:
        return (self.data,)

    @property
    def needed(self) -> tuple[str, ...]:
        return () if self.optional else (self.data,)

    def value(self, fact: Any, table: Table | None) -> float | None:
        if table is None or fact is None or self.data not in table.true:
            return None
        return self.true_value(fact, table)

    @abstractmethod
    def true_value(self, fact: Any, table: Table) -> float:
        """Return the number, which the table has."""

    def true_of(self, cell: str, table: Table) -> float:
        """Return the true result of an architecture."""
        return table.accuracy(cell, table.true[self.data])


@dataclass(frozen=True, kw_only=True)
class TrueAccuracy(LookedUp):
    """The true accuracy of the selected architecture.

    Controls are the mean of all architectures, and `cells`, which nobody has searched, by name.
    """

    cells: Mapping[str, str] = field(default_factory=dict)

    def fact(self, finished: Finished) -> Fact:
        folder = finished.stage("select")
        return None if folder is None else folder.result["genotype"]

    def true_value(self, fact: Any, table: Table) -> float:
        return self.true_of(fact, table)

    def controls(self, table: Table) -> Mapping[str, float]:
        if self.data not in table.true:
            return {}
        known = {name: self.true_of(cell, table) for name, cell in self.cells.items()}
        return {
            **known,
            "a random cell, mean": fmean(table.columns[table.true[self.data]].values()),
        }


@dataclass(frozen=True, kw_only=True)
class BestOfFirst(LookedUp):
    """The true accuracy of what a search would have chosen of its first `count` candidates."""

    count: int

    def fact(self, finished: Finished) -> Fact:
        from nasrun.runs.finished import load_search
        from nasrun.strategies.evaluated import EvaluatedSearch

        strategy = load_search(finished.run.path, finished.trusted, finished.root)
        if not isinstance(strategy, EvaluatedSearch):
            raise ValueError(f"{finished.run.path}: a search without candidates; use another")
        first = strategy.candidates[: self.count]
        return strategy.space.render(max(first, key=lambda each: each.score.merit).genotype)

    def true_value(self, fact: Any, table: Table) -> float:
        return self.true_of(fact, table)

    def controls(self, table: Table) -> Mapping[str, float]:
        return {}


@dataclass(frozen=True, kw_only=True)
class SupernetRanks(LookedUp):
    """Kendall's tau between a supernet's scores of `count` drawn architectures and the truth.

    The sample is drawn with `seed`, so it is the same for all arms.
    """

    count: int
    seed: int

    def fact(self, finished: Finished) -> Fact:
        import torch

        from nasrun.runs.finished import load_search
        from nasrun.strategies.evaluated import EvaluatedSearch

        strategy = load_search(finished.run.path, finished.trusted, finished.root)
        if not isinstance(strategy, EvaluatedSearch) or strategy.shared_score is None:
            raise ValueError(f"{finished.run.path}: its supernet scores nothing; use another")
        generator = torch.Generator().manual_seed(self.seed)
        drawn: dict[str, Any] = {}
        for _ in range(DRAWS * self.count):
            genotype = strategy.space.sample(generator)
            drawn[strategy.space.render(genotype)] = genotype
            if len(drawn) == self.count:
                break
        else:
            raise ValueError(
                f"count={self.count}: {DRAWS * self.count:,} draws gave only {len(drawn)} "
                "architectures; use at most that"
            )
        score = strategy.shared_score
        return {cell: round(score(genotype).value, 6) for cell, genotype in drawn.items()}

    def true_value(self, fact: Any, table: Table) -> float:
        import numpy as np

        from nasrun.analysis.agreement import kendall

        truth = [self.true_of(cell, table) for cell in fact]
        return kendall(np.array([*fact.values()]), np.array(truth))

    def controls(self, table: Table) -> Mapping[str, float]:
        return {}


@dataclass(frozen=True, kw_only=True)
class KeptTop(LookedUp):
    """Whether the subspace that a search kept has one of the true best; 1 if it does, else 0.

    share: the best this share of all architectures. draws: the number of random subspaces of two
    operations per edge, whose share of hits is the control.
    """

    share: float
    draws: int

    def fact(self, finished: Finished) -> Fact:
        folder = finished.stage("search")
        if folder is None:
            return None
        path = folder.path / "subspaces.json"
        if not path.is_file():
            raise ValueError(f"{path}: the search has left none; use a search with strategy=radars")
        kept: Mapping[str, list[str]] = json.loads(path.read_text())[-1]["kept"]
        return {edge: list(operations) for edge, operations in kept.items()}

    def true_value(self, fact: Any, table: Table) -> float:
        best = self._best(table)
        return float(any(cell in best for cell in _cells(list(fact.values()))))

    def controls(self, table: Table) -> Mapping[str, float]:
        best, source = self._best(table), Random(0)
        operations = sorted(
            set(re.findall(r"(\w+)~", "".join(table.columns[table.true[self.data]])))
        )
        pairs = list(combinations(operations, 2))
        hits = 0
        for _ in range(self.draws):
            chosen = [source.choice(pairs) for _ in range(6)]
            hits += any(cell in best for cell in _cells(chosen))
        return {"random subspaces": hits / self.draws}

    def _best(self, table: Table) -> set[str]:
        column = table.columns[table.true[self.data]]
        ranked = sorted(column, key=column.__getitem__, reverse=True)
        return set(ranked[: int(len(ranked) * self.share)])


def _cells(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return NAS-Bench-201's names of all cells with these operations on 1-0, 2-0, 2-1, 3-0, ..."""
    return [f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|" for a, b, c, d, e, f in product(*rows)]


def _inner(found: Any, key: str) -> Any:
    """Return what a dotted key names in nested mappings, `None` if there is nothing."""
    for name in key.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
