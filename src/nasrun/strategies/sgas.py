"""SGAS: decide edges one by one while the supernet is searched (Li et al., 1912.00195).

At equal distances after a start, the most certain edge of each cell type is fixed to its operation;
when a node has all the edges that it keeps, its others are dropped. So the supernet ends as the
architecture itself, with weights that were trained for it. The judge chooses an edge's operation:
the likeliest in the paper, the one that is missed most in DARTS-PT's SGAS + PT (2108.04392).

Where we differ from the released code: scores are normalised over the open edges, not over all. A
measure that is equal for all of them is ignored, where the code multiplies by zero (the importance,
in a space without `none`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from nasrun.context import Context
from nasrun.divergence import below
from nasrun.genotype import NONE
from nasrun.spaces.supernet import SupernetSpace
from nasrun.stage import Foreseen, Metrics, Rehearsal
from nasrun.strategies.base import Mask, SupernetStrategy
from nasrun.strategies.differentiable import Differentiable
from nasrun.strategies.judges import Judge, Magnitude
from nasrun.tasks.base import ImageTask

Distribution = dict[str, float]


class Greedy(SupernetStrategy, Foreseen):
    """A strategy that decides edges during the search of an `inner` strategy.

    The first decision of a cell type is taken when the share `first` of the rounds is done, the
    last one at `last`. An edge's distribution is compared with those of `history_size` earlier
    rounds; 0 is the paper's criterion 1. The batch size grows by `batch_growth` per decision.
    """

    def __init__(
        self,
        *,
        inner: Differentiable,
        judge: Judge,
        first: float,
        last: float,
        history_size: int,
        batch_growth: int,
    ) -> None:
        if not 0 <= first <= last <= 1:
            raise ValueError(f"first={first} last={last}: use 0 <= first <= last <= 1")
        for key, value in (("history_size", history_size), ("batch_growth", batch_growth)):
            if value < 0:
                raise ValueError(f"{key}={value}: use 0 or more")
        self.inner = inner
        self.relaxation, self.level, self.watchdog = inner.relaxation, inner.level, inner.watchdog
        self.key = inner.key = "strategy.inner"
        self.judge = judge
        self.first, self.last = first, last
        self.history_size = history_size
        self.batch_growth = batch_growth
        self.first_batch_size = self.batch_size = inner.batch_size
        self.past: list[dict[str, Distribution]] = []
        self.decisions: list[dict[str, Any]] = []

    @property
    def rounds(self) -> int:
        return self.inner.rounds

    def begin(self, context: Context[SupernetSpace, ImageTask]) -> None:
        space = context.space
        self.space, self.task = space, context.task
        self.streams = context.streams
        self.past, self.decisions = [], []
        self._grow()  # back to the first batch size, if an earlier search changed it
        self.inner.begin(context)
        self.train, self.validation = self.inner.train, self.inner.validation
        self.supernet, self.history = self.inner.supernet, self.inner.history
        self.layout = self.inner.layout
        self.judge.check(self, "strategy")
        dropped = {
            group: sum(
                max(0, len(limit.decisions) - limit.count)
                for limit in space.limits
                if limit.group == group
            )
            for group in space.groups
        }
        self.to_decide = max(
            sum(decision.group == group for decision in space.decisions) - dropped[group]
            for group in space.groups
        )

    def due(self, rounds: int) -> int:
        """Return how many decisions per cell type are due after `rounds` rounds."""
        gap = (self.last - self.first) / max(1, self.to_decide - 1)
        ends = [self.rounds * (self.first + gap * number) for number in range(self.to_decide)]
        return sum(rounds >= max(1, math.floor(end + 1e-9)) for end in ends)

    def run_round(self) -> Metrics:
        self.inner.round = self.round
        with below("inner"):
            metrics = self.inner.play(self.step)
        self.stopped = self.inner.stopped
        for _ in range(self.due(self.round + 1) - self.due(self.round)):
            for group in self.space.groups:
                self._decide(group, self.judge)
        self._grow()
        if self.history_size:
            self.past = [*self.past, self._distributions()][-self.history_size :]
        return {**metrics, "decided": float(len(self.supernet.fixed))}

    def _decide(self, group: str, judge: Judge) -> None:
        """Fix the most certain open edge of a group, and drop its node's surplus edges.

        Ties go to the first.
        """
        fixed, rows = self.supernet.fixed, self.supernet.probabilities()
        undecided = [d for d in self.space.decisions if d.group == group and d.name not in fixed]
        if not undecided:
            return
        certainty = self.certainty({decision.name: rows[decision.name] for decision in undecided})
        decision = max(undecided, key=lambda decision: certainty[decision.name])
        chosen, scores = judge.decide(self, decision, self.space.candidates(decision))
        fixed[decision.name] = chosen
        for limit in self.space.limits:
            kept = [name for name in limit.decisions if fixed.get(name, NONE) != NONE]
            if decision.name in kept and len(kept) == limit.count:
                fixed.update({name: NONE for name in limit.decisions if name not in kept})
        self.decisions.append(
            {
                "round": self.round + 1,
                "subject": decision.name,
                "certainty": certainty,
                "scores": scores,
                "outcome": chosen,
            }
        )

    def _grow(self) -> None:
        taken = len(self.decisions) // len(self.space.groups)
        self.batch_size = self.first_batch_size + self.batch_growth * taken
        self.inner.batch_size = self.batch_size

    def certainty(self, rows: Mapping[str, Distribution]) -> dict[str, float]:
        """Return importance * certainty of every edge, and * stability if there is a history.

        Importance is 1 - p(none), certainty is 1 - H / log(n) of the n operations except `none`,
        stability is the mean over the past of sum_o min(p_o, q_o). Each is scaled to 0 .. 1.
        """
        measures = [
            [1.0 - row.get(NONE, 0.0) / sum(row.values()) for row in rows.values()],
            [1.0 - _entropy(_operations(row)) for row in rows.values()],
        ]
        if self.past:
            measures.append([self._stability(name, _operations(row)) for name, row in rows.items()])
        scaled = [_scaled(measure) for measure in measures]
        return {name: math.prod(factors) for name, *factors in zip(rows, *scaled, strict=True)}

    def _stability(self, name: str, row: Distribution) -> float:
        return sum(
            sum(min(p, past[name][operation]) for operation, p in row.items()) for past in self.past
        ) / len(self.past)

    def _distributions(self) -> dict[str, Distribution]:
        rows = self.supernet.probabilities()
        return {
            name: _operations(row) for name, row in rows.items() if name not in self.supernet.fixed
        }

    def masked(
        self,
        masks: Sequence[Mask | None],
        *,
        images: int | None = None,
        batch_size: int | None = None,
        in_training: bool = False,
    ) -> list[Metrics]:
        return self.inner.masked(
            masks, images=images, batch_size=batch_size, in_training=in_training
        )

    def tune(self, weight_lr: float) -> None:
        self.inner.tune(weight_lr)
        self.round = self.rounds

    def skip_ahead(self) -> None:
        self.inner.skip_ahead()
        self.round = self.inner.round
        judge = Magnitude()
        for _ in range(self.to_decide):
            for group in self.space.groups:
                self._decide(group, judge)

    def foreseen_bytes(self) -> int:
        """Return the maximum over all numbers of taken decisions.

        Batches may grow while candidates become fewer.
        """
        if not self.batch_growth:
            return self.inner.foreseen_bytes()
        inner, shapes, found = copy.copy(self.inner), self.inner.shapes(), []
        each = shapes.additive(self.first_batch_size).each
        for taken in range(self.to_decide + 1):
            inner.batch_size = self.first_batch_size + self.batch_growth * taken
            kept = {
                decision.name: (max(decision.choices, key=each[decision.name].__getitem__),)
                for group in self.space.groups
                for decision in [d for d in self.space.decisions if d.group == group][:taken]
            }
            found.append(inner.footprint(shapes, kept, len(self.validation)))
        return max(found)

    def rehearsals(self) -> Iterator[Rehearsal]:
        """Yield rehearsals as if all decisions were taken at the end."""
        yield from self.inner.rehearsals()
        choices = len(self.space.decisions[0].choices)
        passes = self.judge.passes * self.to_decide * len(self.space.groups) * choices
        yield Rehearsal(rests=passes, rest=partial(self.validate, images=self.judge.images))

    def state_dict(self) -> dict[str, Any]:
        return {
            "inner": self.inner.state_dict(),
            "past": self.past,
            "decisions": list(self.decisions),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.inner.load_state_dict(state["inner"])
        self.stopped = self.inner.stopped
        self.past = list(state["past"])
        self.decisions = list(state["decisions"])
        self._grow()

    def finish(self, folder: Any) -> dict[str, Any]:
        folder.write("decisions.json", self.decisions)
        return self.inner.finish(folder)


def _operations(row: Distribution) -> Distribution:
    """Return the distribution of an edge's operations, given that it is not `none`."""
    total = sum(p for choice, p in row.items() if choice != NONE)
    return {choice: p / total for choice, p in row.items() if choice != NONE}


def _entropy(row: Distribution) -> float:
    """Return the entropy divided by its maximum, so from 0 to 1."""
    if len(row) == 1:
        return 0.0
    return -sum(p * math.log(p) for p in row.values() if p > 0) / math.log(len(row))


def _scaled(values: Sequence[float]) -> list[float]:
    """Scale the smallest value to 0 and the largest to 1; all to 1 if they are equal."""
    low, high = min(values), max(values)
    if high == low:
        return [1.0] * len(values)
    return [(value - low) / (high - low) for value in values]
