"""The history of a search: every round's architecture and size, and rules that watch them.

MiLeNAS (2003.12238) tracks sizes: a long search loses convolutions step by step while the
supernet's accuracy rises, so the best round is chosen per size. In a collapse this goes too far:
skip connections take over (1909.09656). The accuracy of a round is that of the supernet as it is
evaluated, with all candidates or the likeliest (DSNAS), on images that may have trained the alphas.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from nasrun.costs.cost import params as count_params
from nasrun.genotype import NONE, SKIP, Genotype
from nasrun.spaces.supernet import SupernetSpace
from nasrun.stage import Metrics
from nasrun.strategies import pareto
from nasrun.supernet.supernet import Supernet, argmax, magnitude


@dataclass(frozen=True)
class Snapshot:
    """The architecture that the alphas give after a round.

    `accuracy` is the supernet's on the validation part; `params` counts the derived network's
    parameters in the space's published layout; `size` counts its operations with weights per cell
    type. `skip_share` is the share of skip connections among the edges of a cell type, the largest
    over cell types; `free_share` is the share of operations without weights among all edges.
    """

    round: int
    genotype: Genotype
    accuracy: float
    params: int
    size: tuple[int, ...]
    skip_share: float
    free_share: float


@dataclass(frozen=True, kw_only=True)
class StopAtSize:
    """Stop when every cell type keeps at most `size` operations with weights for `patience` rounds.

    Smaller sizes count too, so a search cannot jump over its target, as it can in MiLeNAS's
    released code.
    """

    size: tuple[int, ...]
    patience: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(self.size))
        if not self.size or min(self.size) < 0 or self.patience < 1:
            raise ValueError(
                f"size={list(self.size)} patience={self.patience}: use one size of 0 or more per "
                "cell type, and a patience of 1 or more"
            )

    def reason(self, records: Sequence[Snapshot]) -> str | None:
        """Return why to stop after these rounds, or `None` to go on."""
        small = [within(record.size, self.size) for record in records]
        if _streak(small) < self.patience:
            return None
        last = records[-1]
        sizes = f"size {list(last.size)}, asked for {list(self.size)}"
        return f"stopped after round {last.round}: {sizes}"


@dataclass(frozen=True, kw_only=True)
class Watchdog:
    """Detect a collapse: skip connections, or operations without weights, take over.

    A round is collapsed when a cell type has at least `skip_share` skip connections among its
    edges, or all cell types together at least `free_share` operations without weights. After
    `patience` such rounds in a row it warns or stops.
    """

    skip_share: float
    free_share: float
    patience: int
    on_collapse: Literal["warn", "stop"]

    def __post_init__(self) -> None:
        if not (0 < self.skip_share <= 1 and 0 < self.free_share <= 1):
            raise ValueError(
                f"skip_share={self.skip_share} free_share={self.free_share}: "
                "use more than 0 and at most 1"
            )
        if self.patience < 1:
            raise ValueError(f"patience={self.patience}: use 1 or more")

    def collapsed(self, record: Snapshot) -> bool:
        """Return whether a round is collapsed."""
        return record.skip_share >= self.skip_share or record.free_share >= self.free_share

    def alarm(self, records: Sequence[Snapshot]) -> str | None:
        """Return a warning if a collapse has lasted exactly `patience` rounds, so only once."""
        if _streak([self.collapsed(record) for record in records]) != self.patience:
            return None
        last = records[-1]
        return (
            f"round {last.round}: the search collapses, {last.skip_share:.0%} skip connections in "
            f"a cell type, {last.free_share:.0%} operations without weights; "
            "selector=healthy takes the last round that is not collapsed"
        )

    def reason(self, records: Sequence[Snapshot]) -> str | None:
        """Return why to stop after these rounds, or `None` to go on."""
        alarm = self.alarm(records) if self.on_collapse == "stop" else None
        return None if alarm is None else f"stopped after {alarm}"


class History:
    """The rounds of a search so far; they are part of its state.

    Architectures are derived by DARTS's rule, or by the likeliest choices where `none` is one.
    """

    def __init__(
        self,
        space: SupernetSpace,
        *,
        inputs: int,
        outputs: int,
        watchdog: Watchdog | None,
        stop: StopAtSize | None,
    ) -> None:
        if stop is not None and len(stop.size) != len(space.groups):
            raise ValueError(
                f"stop.size={list(stop.size)}: space={space.name} has "
                f"{len(space.groups)} cell types; use one number per cell type"
            )
        self.space, self.inputs, self.outputs = space, inputs, outputs
        self.watchdog, self.stop = watchdog, stop
        self.rule = argmax if space.none_is_a_choice else magnitude
        self.records: list[Snapshot] = []

    def add(self, round: int, supernet: Supernet, accuracy: float) -> Metrics:
        """Record a round, warn of a collapse, and return the metrics to log."""
        genotype = supernet.genotype(self.rule)
        record = self._record(round, genotype, accuracy, self._params(genotype))
        self.records.append(record)
        if self.watchdog is not None and (alarm := self.watchdog.alarm(self.records)):
            warnings.warn(alarm, stacklevel=2)
        sizes = zip(self.space.groups, record.size, strict=True)
        return {
            "params": float(record.params),
            **{"_".join(filter(None, ("size", group))): float(count) for group, count in sizes},
            "skip_share": record.skip_share,
            "free_share": record.free_share,
        }

    @property
    def stopped(self) -> str | None:
        """Why the search ends with the last recorded round, or `None` to go on."""
        rules = [rule for rule in (self.watchdog, self.stop) if rule is not None]
        reasons = [rule.reason(self.records) for rule in rules]
        return next((reason for reason in reasons if reason is not None), None)

    @property
    def alarms(self) -> list[str]:
        """All warnings of the watchdog."""
        if self.watchdog is None:
            return []
        until = range(1, len(self.records) + 1)
        alarms = [self.watchdog.alarm(self.records[:count]) for count in until]
        return [alarm for alarm in alarms if alarm is not None]

    def report(self) -> dict[str, Any]:
        """Return entries for `result.json`: the best round per size, alarms, why it stopped."""
        best = frontier(self.records)
        sizes = [{**self._plain(r), "frontier": r in best} for r in best_per_size(self.records)]
        found: dict[str, Any] = {"sizes": sizes}
        if self.alarms:
            found["alarms"] = self.alarms
        if self.stopped is not None:
            found["stopped"] = self.stopped
        return found

    def draw(self, path: Path) -> None:
        """Draw the supernet's accuracy of every round over the size of its architecture."""
        from nasrun.pictures.plots import trade_off

        points, best = (
            [(record.params / 1e6, 100 * record.accuracy) for record in records]
            for records in (self.records, frontier(self.records))
        )
        title = "Supernet accuracy over the size of the derived network"
        trade_off(points, best, path, title, ("parameters, million", "%"), "every round")

    def state_dict(self) -> list[dict[str, Any]]:
        return [self._plain(record) for record in self.records]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        self.records = [
            self._record(
                saved["round"],
                self.space.parse(saved["genotype"]),
                saved["accuracy"],
                saved["params"],
            )
            for saved in state
        ]

    def _record(self, round: int, genotype: Genotype, accuracy: float, params: int) -> Snapshot:
        kept = {name: choice for name, choice in genotype.items() if choice != NONE}
        size = self.space.size(genotype)
        return Snapshot(
            round=round,
            genotype=genotype,
            accuracy=accuracy,
            params=params,
            size=size,
            skip_share=max(self._skip_share(group, kept) for group in self.space.groups),
            free_share=1 - sum(size) / max(1, len(kept)),
        )

    def _skip_share(self, group: str, kept: dict[str, str]) -> float:
        choices = [
            kept[d.name] for d in self.space.decisions if d.group == group and d.name in kept
        ]
        return choices.count(SKIP) / max(1, len(choices))

    def _params(self, genotype: Genotype) -> int:
        known = [record.params for record in self.records if record.genotype == genotype]
        if known:
            return known[-1]
        with torch.device("meta"):
            network = self.space.network(
                genotype,
                inputs=self.inputs,
                outputs=self.outputs,
                layout=self.space.published_layout,
            )
        return count_params(network)

    def _plain(self, record: Snapshot) -> dict[str, Any]:
        return {
            "round": record.round,
            "genotype": self.space.render(record.genotype),
            "accuracy": record.accuracy,
            "params": record.params,
            "size": list(record.size),
            "skip_share": record.skip_share,
            "free_share": record.free_share,
        }


def frontier(records: Iterable[Snapshot]) -> list[Snapshot]:
    """Return the rounds that no other round beats in parameters and accuracy, smallest first.

    Of rounds with equal parameters and accuracy, the first is returned.
    """
    in_order = sorted(records, key=lambda record: record.round)
    return pareto.frontier(in_order, lambda record: (record.params, record.accuracy))


def best_per_size(records: Iterable[Snapshot]) -> list[Snapshot]:
    """Return the most accurate round of every size, smallest size first; ties go to the first."""
    best: dict[tuple[int, ...], Snapshot] = {}
    for record in records:
        if record.size not in best or record.accuracy > best[record.size].accuracy:
            best[record.size] = record
    return [best[size] for size in sorted(best, key=lambda size: (sum(size), size))]


def within(size: Sequence[int], limit: Sequence[int]) -> bool:
    """Return whether no cell type has more operations with weights than the limit."""
    return all(own <= most for own, most in zip(size, limit, strict=True))


def _streak(flags: Sequence[bool]) -> int:
    """Return the number of true flags at the end."""
    return next((count for count, flag in enumerate(reversed(flags)) if not flag), len(flags))
