"""Selectors that choose a round of the search by its size, accuracy or health.

MiLeNAS (2003.12238) retrains the best architecture of every size; see `strategies/history.py`. The
compared accuracies are the supernet's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from nasrun.genotype import Genotype
from nasrun.selectors.base import Immediate
from nasrun.spaces.decision import DecisionSpace
from nasrun.strategies.base import Strategy, SupernetStrategy
from nasrun.strategies.history import History, Snapshot, frontier, within


class Recorded(Immediate):
    """A selector without rounds: the architecture of one of the search's rounds.

    If the network's costs are limited, only rounds within the limits are considered, if any.
    """

    accepts = SupernetStrategy

    @abstractmethod
    def pick(self, history: History, records: Sequence[Snapshot]) -> Snapshot:
        """Return the chosen round; ValueError if no round fits the settings."""

    def read(self, strategy: Strategy) -> None:
        assert isinstance(strategy, SupernetStrategy)
        self.check(strategy, self.space)
        records = strategy.history.records
        records = [r for r in records if self.allows(r.genotype)] or records
        self._record = self.pick(strategy.history, records)

    @property
    def genotype(self) -> Genotype:
        return self._record.genotype

    def report(self, folder: Any) -> dict[str, Any]:
        record = self._record
        if not self.allows(record.genotype):
            note = f"round {record.round}, operations exchanged to be within the limits"
            return {"round": record.round, "note": note}
        size = list(record.size)
        note = (
            f"round {record.round}, size {size}, {record.params / 1e6:.3f} M parameters as "
            f"published, supernet accuracy {record.accuracy:.2%}"
        )
        return {"round": record.round, "size": size, "note": note}


class Frontier(Recorded):
    """The most accurate round among those that fit `size` and `max_params`.

    `size` is the number of operations with weights per cell type, `max_params` the largest number
    of parameters of the network in the space's published layout; `None` allows any. The chosen
    round is on the frontier of the remaining ones: ties go to the smallest, then to the first.
    """

    def __init__(self, *, size: Sequence[int] | None, max_params: int | None) -> None:
        self.size = None if size is None else _checked(size)
        if max_params is not None and max_params < 1:
            raise ValueError(f"max_params={max_params}: use 1 or more, or null for any number")
        self.max_params = max_params

    def check(self, strategy: Strategy, space: DecisionSpace) -> None:
        _refuse_other_length(self.size, space)

    def pick(self, history: History, records: Sequence[Snapshot]) -> Snapshot:
        left = [
            record
            for record in records
            if (self.size is None or record.size == self.size)
            and (self.max_params is None or record.params <= self.max_params)
        ]
        if not left:
            size = None if self.size is None else list(self.size)
            asked = {"selector.size": size, "selector.max_params": self.max_params}
            given = " ".join(f"{key}={value}" for key, value in asked.items() if value is not None)
            had = sorted({(record.params, record.size) for record in records})
            there = ", ".join(f"{list(size)} with {params:,} parameters" for params, size in had)
            raise ValueError(f"{given}: no round of this search fits; use one of: {there}")
        return frontier(left)[-1]


class AtLeast(Recorded):
    """The last round in which each cell type keeps at least `size` operations with weights.

    MiLeNAS stops at a size; this is the architecture just before, even if the search jumps over it.
    `None` allows any size.
    """

    def __init__(self, *, size: Sequence[int] | None) -> None:
        self.size = None if size is None else _checked(size)

    def check(self, strategy: Strategy, space: DecisionSpace) -> None:
        _refuse_other_length(self.size, space)

    def pick(self, history: History, records: Sequence[Snapshot]) -> Snapshot:
        for record in reversed(records):
            if self.size is None or within(self.size, record.size):
                return record
        raise ValueError(
            f"selector.size={list(self.size or ())}: no round of this search is so large; use a "
            f"smaller size, the first round has {list(records[0].size)}"
        )


class Healthy(Recorded):
    """The last round that the search's watchdog does not call collapsed.

    If all rounds are collapsed: the round with the smallest share of skip connections, then of
    operations without weights; ties go to the last.
    """

    def check(self, strategy: Strategy, space: DecisionSpace) -> None:
        assert isinstance(strategy, SupernetStrategy)
        if strategy.watchdog is None:
            raise ValueError(
                f"selector=healthy: the search has {strategy.key}.watchdog=null, so nothing says "
                "which rounds are healthy; use selector=frontier"
            )

    def pick(self, history: History, records: Sequence[Snapshot]) -> Snapshot:
        watchdog = history.watchdog
        assert watchdog is not None
        healthy = [record for record in records if not watchdog.collapsed(record)]
        if healthy:
            return healthy[-1]
        return min(reversed(records), key=lambda r: (r.skip_share, r.free_share))


def _refuse_other_length(size: Sequence[int] | None, space: DecisionSpace) -> None:
    groups = len(space.groups)
    if size is not None and len(size) != groups:
        raise ValueError(
            f"selector.size={list(size)}: use {groups} numbers, one per "
            "cell type, or null for any size"
        )


def _checked(size: Sequence[int]) -> tuple[int, ...]:
    if not size or min(size) < 0:
        raise ValueError(f"size={list(size)}: use one number of 0 or more per cell type")
    return tuple(size)
