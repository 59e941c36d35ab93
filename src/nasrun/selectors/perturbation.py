"""Perturbation-based selection: DARTS-PT (2108.04392).

It discretises the supernet step by step instead of reading alphas. An operation event masks each
candidate of one undecided edge in turn and keeps the one whose absence costs most; after all edges
are decided, a topology event drops the edges of one node whose absence costs least. The supernet is
tuned between events.

Where we differ from the released code, unless the settings ask for it: candidates are measured on
the same images in a fixed order, without augmentation and without changing batch-norm buffers; an
edge dropped in a topology event stays dropped in the event's later trials. `none` is measured, too,
which is the unmasked supernet, but is kept only in a space where it is a choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal

import torch

from nasrun.divergence import Diverged
from nasrun.genotype import NONE, AtMost, Decision, Genotype
from nasrun.selectors.base import Selector
from nasrun.spaces.decision import DecisionSpace
from nasrun.stage import Divided, Metrics, Rehearsal
from nasrun.strategies.base import Strategy, SupernetStrategy
from nasrun.strategies.judges import Judge, Scores

Event = dict[str, Any]
EdgeOrder = Literal["random", "fixed", "reverse"]


class Perturbation(Selector, Divided):
    """Decide one operation per cell type and event, later one node's edges; tune between events.

    An event takes place every `interval` rounds, before the round. A round is one tuning pass at
    the constant rate `weight_lr`; one round follows the last event. `order` is the order of edges,
    then of nodes; a random order is drawn once, from the run's seed. The `judge` scores what is
    masked. With `drop_together`, a topology event drops its edges only at its end, so that its
    trials still contain them (released code).
    """

    accepts = SupernetStrategy

    def __init__(
        self,
        *,
        interval: int,
        weight_lr: float,
        order: EdgeOrder,
        judge: Judge,
        drop_together: bool,
    ) -> None:
        if interval < 1:
            raise ValueError(f"interval={interval}: use at least 1 tuning round per event")
        if not weight_lr > 0:
            raise ValueError(f"weight_lr={weight_lr}: use more than 0")
        self.interval = interval
        self.weight_lr = weight_lr
        self.order: EdgeOrder = order
        self.judge = judge
        self.drop_together = drop_together
        self.scores: list[Event] = []

    @property
    def smallest_batch(self) -> float:
        return math.inf  # it tunes with the batches of the search, which has its own smallest one

    def read(self, strategy: Strategy) -> None:
        assert isinstance(strategy, SupernetStrategy)
        self.space = space = strategy.supernet.space  # with RADARS a subspace
        self.strategy = strategy
        self.check(strategy, space)
        strategy.tune(self.weight_lr)
        self.largest = strategy.largest
        stream = self.streams("edges")
        self.decision_order = _arranged(len(space.decisions), self.order, stream)
        self.limit_order = _arranged(len(space.limits), self.order, stream)
        self.operation_events = max(len(self._undecided(group)) for group in space.groups)
        self.topology_events = max(len(self._crowded(group)) for group in space.groups)

    def check(self, strategy: Strategy, space: DecisionSpace) -> None:
        assert isinstance(strategy, SupernetStrategy)
        self.judge.check(strategy, "selector")

    def rehearsals(self, strategy: Strategy) -> Iterator[Rehearsal]:
        """Yield rehearsals with all candidates and with one per edge; costs fall in between."""
        self.read(strategy)
        strategy, space, judge = self.strategy, self.space, self.judge
        tuning = Rehearsal(self.rounds / 2, strategy.play, self.rounds / 2, strategy.validate)
        open_ = {group: self._undecided(group) for group in space.groups}
        yield tuning
        for decisions in open_.values():
            passes = sum(len(decision.choices) for decision in decisions)
            if passes:
                first = decisions[0]
                yield Rehearsal(
                    rests=passes / len(first.choices) / 2,
                    rest=partial(judge.operations, strategy, first),
                )
        for decisions in open_.values():
            for decision in decisions:
                possible = [c for c in space.candidates(decision) if c != NONE] or [NONE]
                self.fixed[decision.name] = possible[int(torch.randint(len(possible), ()))]
        yield tuning
        for group, decisions in open_.items():
            halves = sum(len(decision.choices) for decision in decisions) / 2
            topology = sum(
                sum(range(limit.count + 1, len(limit.decisions) + 1))
                for limit in self._crowded(group)
            )
            decided = {d.name: 0.0 for d in decisions[:3] if self.fixed[d.name] != NONE}
            if decided:
                yield Rehearsal(
                    rests=(halves + topology) / len(decided),
                    rest=partial(judge.edges, strategy, decided),
                )

    @property
    def events(self) -> int:
        """Number of operation and topology events."""
        return self.operation_events + self.topology_events

    @property
    def rounds(self) -> int:
        """Number of rounds: from the first event to the last, plus one, and at least `events`.

        A space without topology events has one round fewer, as in the released code for
        NAS-Bench-201: the last event is moved before the last round.
        """
        if not self.events:
            return 0
        return max(self.events, self.interval * (self.events - 1) + bool(self.topology_events))

    def round_of(self, event: int) -> int:
        """Return the number of rounds before the event."""
        return min(self.interval * event, self.rounds - 1)

    @property
    def fixed(self) -> dict[str, str]:
        """Decisions taken so far; a dropped edge is `none`."""
        return self.strategy.supernet.fixed

    @property
    def genotype(self) -> Genotype:
        return self.space.check(
            Genotype(self.space.name, {name: self.fixed[name] for name in self.space.rows})
        )

    def run_round(self) -> Metrics:
        self.strategy.tell(self.step)
        for event in range(self.events):
            if self.round_of(event) == self.round:
                decide = self._operation if event < self.operation_events else self._topology
                for group in self.space.groups:
                    decide(event, group)
        try:
            metrics = self.strategy.run_round()
        except Diverged as error:
            raise Diverged("tuning the supernet", error.losses, ["weight_lr"]) from error
        metrics["decided"] = float(len(self.fixed))
        return metrics

    def _operation(self, event: int, group: str) -> None:
        """Fix the next undecided decision of the group to the operation that is missed most."""
        for decision in self._undecided(group)[:1]:
            possible = self._within(decision.name, self.space.candidates(decision))
            chosen, scores = self.judge.decide(self.strategy, decision, possible)
            self.fixed[decision.name] = chosen
            self._record(event, decision.name, scores, chosen)

    def _topology(self, event: int, group: str) -> None:
        """Drop edges of the next crowded node, each time the one that is missed least."""
        for limit in self._crowded(group)[:1]:
            kept = [name for name in limit.decisions if self.fixed[name] != NONE]
            dropped: list[str] = []
            while len(kept) > limit.count:
                decided = {name: self._decided(name) for name in kept}
                scores = self.judge.edges(self.strategy, decided)
                # ties go to the last
                possible = reversed(self._droppable(kept, dropped))
                dropped.append(max(possible, key=scores.__getitem__))
                kept.remove(dropped[-1])
                if not self.drop_together:
                    self.fixed[dropped[-1]] = NONE
                self._record(event, limit.node, scores, dropped[-1])
            self.fixed.update(dict.fromkeys(dropped, NONE))

    def _undecided(self, group: str) -> list[Decision]:
        """Return the open decisions of a group, the next one first."""
        return [
            decision
            for decision in (self.space.decisions[position] for position in self.decision_order)
            if decision.group == group and decision.name not in self.fixed
        ]

    def _within(self, decision: str, choices: Sequence[str]) -> list[str]:
        """Return the choices with which the limits can still be met, or all if there is none."""
        if (limits := self.context.limits) is None:
            return list(choices)
        decided = [{**self.fixed, decision: choice} for choice in choices]
        met = [limits.complete(fixed) is not None for fixed in decided]
        return [c for c, possible in zip(choices, met, strict=True) if possible] or list(choices)

    def _droppable(self, edges: Sequence[str], dropped: Sequence[str]) -> list[str]:
        """Return the edges without which the limits can still be met, or all if there is none."""
        if (limits := self.context.limits) is None:
            return list(edges)
        without = [{**self.fixed, **dict.fromkeys([*dropped, edge], NONE)} for edge in edges]
        met = [limits.complete(fixed) is not None for fixed in without]
        return [edge for edge, possible in zip(edges, met, strict=True) if possible] or list(edges)

    def _crowded(self, group: str) -> list[AtMost]:
        """Return the limits of a group that are still exceeded, the next one first.

        Open edges and edges with an operation count.
        """
        return [
            limit
            for limit in (self.space.limits[position] for position in self.limit_order)
            if limit.group == group
            and sum(self.fixed.get(name) != NONE for name in limit.decisions) > limit.count
        ]

    def _decided(self, edge: str) -> float:
        """Return the score of an edge's operation when decided; -1 if the search decided it.

        That is minus the probability that a decided operation has.
        """
        events = [score for score in self.scores if score["subject"] == edge]
        return events[0]["scores"][events[0]["outcome"]] if events else -1.0

    def _record(self, event: int, subject: str, scores: Scores, outcome: str) -> None:
        self.scores.append(
            {"event": event, "subject": subject, "scores": scores, "outcome": outcome}
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy.state_dict(),
            "scores": list(self.scores),
            "decision_order": self.decision_order,
            "limit_order": self.limit_order,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.strategy.load_state_dict(state["strategy"])
        self.scores = list(state["scores"])
        self.decision_order = list(state["decision_order"])
        self.limit_order = list(state["limit_order"])

    def report(self, folder: Any) -> dict[str, Any]:
        from nasrun.pictures.plots import event_scores

        folder.write("scores.json", self.scores)
        nodes = {limit.node for limit in self.space.limits}
        path = folder.path / "scores.png"
        event_scores(self.scores, path, self.judge.measure, nodes)
        note = f"{self.rounds} tuning rounds, {self.interval} per event (DARTS-PT: 5 per event)"
        return {
            "events": self.events,
            "tuning_rounds": self.rounds,
            "validation_passes": self.judge.passes * sum(len(s["scores"]) for s in self.scores),
            "note": note,
        }


def _arranged(count: int, order: EdgeOrder, stream: torch.Generator) -> list[int]:
    """Return the positions 0 .. `count` - 1 in the given order."""
    positions: list[int] = list(range(count))
    if order == "random":
        positions = torch.randperm(count, generator=stream).tolist()
    return positions[::-1] if order == "reverse" else positions
