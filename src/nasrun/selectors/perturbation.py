"""Perturbation-based selection: DARTS-PT (2108.04392).

Instead of reading alphas, discretise the supernet step by step. An operation event masks each
candidate of one undecided edge in turn and keeps the one whose absence costs most; after all edges
are decided, a topology event drops the edges of one node whose absence costs least. The supernet is
tuned between events.

Where we differ from the released code: candidates are measured on the same images in a fixed order,
without augmentation, and leave no trace in batch-norm buffers; within a topology event an edge that
was dropped stays dropped in the later trials; `none` is never a candidate.
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from nasrun.genotype import NONE, Genotype
from nasrun.selectors.base import Selector
from nasrun.spaces.base import Space
from nasrun.stage import Metrics
from nasrun.strategies.base import Strategy, SupernetStrategy

Score = dict[str, Any]


class Perturbation(Selector):
    """Decide one operation a cell type and event, later one node's edges, tuning between events.

    An event comes before the first of every `interval` rounds; a round is one tuning pass at
    the constant `weight_lr`. So the last event is followed by one round. `criterion` is what a
    masked supernet is judged by.
    """

    accepts = SupernetStrategy

    def __init__(
        self, *, interval: int, weight_lr: float, criterion: Literal["accuracy", "loss"]
    ) -> None:
        if interval < 1:
            raise ValueError(f"interval={interval}: at least 1 tuning round an event")
        if not weight_lr > 0:
            raise ValueError(f"weight_lr={weight_lr}: more than 0")
        self.interval = interval
        self.weight_lr = weight_lr
        self.criterion = criterion
        self.scores: list[Score] = []

    def begin(self, strategy: Strategy, space: Space) -> None:
        assert isinstance(strategy, SupernetStrategy)
        self.space = space
        self.strategy = strategy
        strategy.tune(self.weight_lr)
        self.operation_events = max(
            sum(decision.group == group for decision in space.decisions) for group in space.groups
        )
        nodes = [limit.decisions[0].rpartition("/")[0] for limit in space.limits]
        self.topology_events = max((nodes.count(group) for group in space.groups), default=0)

    @property
    def events(self) -> int:
        """Operation events, then topology events."""
        return self.operation_events + self.topology_events

    @property
    def rounds(self) -> int:
        return self.interval * (self.events - 1) + 1

    @property
    def fixed(self) -> dict[str, str]:
        """What is decided so far: `none` where an edge is dropped."""
        return self.strategy.supernet.fixed

    @property
    def genotype(self) -> Genotype:
        return self.space.check(
            Genotype(self.space.name, {name: self.fixed[name] for name in self.space.rows})
        )

    def run_round(self) -> Metrics:
        self.strategy.display = self.display
        event, tuning = divmod(self.round, self.interval)
        if tuning == 0:
            decide = self._operation if event < self.operation_events else self._topology
            for group in self.space.groups:
                decide(event, group)
        metrics = self.strategy.run_round()
        metrics["decided"] = float(len(self.fixed))
        return metrics

    def _operation(self, event: int, group: str) -> None:
        """Fix a random undecided decision of the group to the operation that is missed most."""
        undecided = [
            decision
            for decision in self.space.decisions
            if decision.group == group and decision.name not in self.fixed
        ]
        if not undecided:
            return
        decision = undecided[_draw(len(undecided))]
        candidates = [choice for choice in decision.choices if choice != NONE]
        trials = {}
        for choice in self.strategy.track(candidates, len(candidates)):
            trials[choice] = self._judge(self.strategy.validate(without=(decision.name, choice)))
        chosen = min(trials, key=trials.__getitem__)  # of equals the first
        self.fixed[decision.name] = chosen
        self._record(event, decision.name, trials, chosen)

    def _topology(self, event: int, group: str) -> None:
        """Drop edges of a random open node, each time the one that is missed least."""
        open_limits = [
            limit
            for limit in self.space.limits
            if limit.decisions[0].rpartition("/")[0] == group
            and self._kept(limit.decisions) > limit.count
        ]
        if not open_limits:
            return
        limit = open_limits[_draw(len(open_limits))]
        while True:
            kept = [name for name in limit.decisions if self.fixed[name] != NONE]
            if len(kept) <= limit.count:
                return
            trials = {}
            for name in kept:
                choice = self.fixed[name]
                trials[name] = self._judge(self.strategy.validate(without=(name, choice)))
            dropped = max(reversed(kept), key=trials.__getitem__)  # of equals the last
            self.fixed[dropped] = NONE
            self._record(event, limit.decisions[-1].rpartition("-")[0], trials, dropped)

    def _kept(self, names: tuple[str, ...]) -> int:
        return sum(self.fixed[name] != NONE for name in names)

    def _judge(self, metrics: Metrics) -> float:
        """How good the masked supernet is, bigger is better."""
        return metrics["accuracy"] if self.criterion == "accuracy" else -metrics["loss"]

    def _record(self, event: int, subject: str, trials: dict[str, float], outcome: str) -> None:
        self.scores.append(
            {"event": event, "subject": subject, "scores": trials, "outcome": outcome}
        )

    def state_dict(self) -> dict[str, Any]:
        return {"strategy": self.strategy.state_dict(), "scores": list(self.scores)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.strategy.load_state_dict(state["strategy"])
        self.scores = list(state["scores"])

    def report(self, folder: Any) -> dict[str, Any]:
        folder.write("scores.json", self.scores)
        note = f"{self.rounds} tuning rounds, {self.interval} an event (DARTS-PT: 5 an event)"
        return {"events": self.events, "tuning_rounds": self.rounds, "note": note}


def _draw(count: int) -> int:
    return int(torch.randint(count, ()))
