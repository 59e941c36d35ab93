"""RADARS: differentiable search with bounded memory (2109.05691), in our reading.

Neither the code nor the full text of the paper was available. Known is: reinforcement learning
iteratively prunes each layer's candidates to a promising subspace, and differentiable search runs
on it. The rest is ours: rewards, controller, knapsack, feedback, all numbers.

    explore   a controller learns from single paths with shared weights which choices are good
    prune     to the likeliest subspace whose supernet fits into the memory
    exploit   differentiable search on it, with the shared weights
    feed back ln q <- (1 - mu) ln q + mu ln p(alpha), and its weights to the shared ones
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch

from nasrun.budget import MEMORY
from nasrun.context import Context
from nasrun.costs.memory import Additive, Shapes
from nasrun.divergence import below
from nasrun.genotype import NONE
from nasrun.spaces.supernet import SupernetSpace
from nasrun.stage import Foreseen, Metrics, Rehearsal
from nasrun.strategies.base import Mask, SupernetStrategy
from nasrun.strategies.controller import Kept, all_choices, choices
from nasrun.strategies.differentiable import Differentiable
from nasrun.strategies.explore import Explore
from nasrun.strategies.pruning import subspace
from nasrun.tasks.base import ImageTask


class Turn(NamedTuple):
    """What a round does: the `position` of its phase's round in the phase."""

    phase: Literal["warm_up", "explore", "exploit"]
    cycle: int
    position: int


class Radars(SupernetStrategy, Foreseen):
    """Warm-up, then `cycles` of exploring, pruning and exploiting.

    `mode=alternate` exploits in every cycle, `shrink` in the last one only, after a pruning by at
    most a half in each. A decision keeps at most `most` choices for `inner`, and `guard` of the
    memory that the budget leaves is used. Feedback moves the controller by `mu`; before a further
    cycle every decision gets its best pruned choice back with probability `readmit`.
    """

    heeds = MEMORY

    def __init__(
        self,
        *,
        inner: Differentiable,
        explore: Explore,
        mode: Literal["alternate", "shrink"],
        cycles: int,
        warm_up: int,
        explore_rounds: int,
        most: int,
        guard: float,
        mu: float,
        readmit: float,
    ) -> None:
        for key, value, least in (
            ("cycles", cycles, 1),
            ("warm_up", warm_up, 0),
            ("explore_rounds", explore_rounds, 1),
            ("most", most, 1),
        ):
            if value < least:
                raise ValueError(f"{key}={value}: use at least {least}")
        if not 0 < guard <= 1:
            raise ValueError(f"guard={guard}: use more than 0 and at most 1")
        if not 0 <= mu <= 1 or not 0 <= readmit <= 1:
            raise ValueError(f"mu={mu} readmit={readmit}: use numbers from 0 to 1")
        if inner.partial_channels != 1:
            raise ValueError(
                f"inner.partial_channels={inner.partial_channels}: RADARS shares weights of whole "
                "candidates with its paths; use 1"
            )
        if inner.stop is not None:
            raise ValueError(
                f"inner.stop.size={list(inner.stop.size)}: RADARS exploits for all its rounds; "
                "use inner.stop=null"
            )
        if inner.watchdog is not None and inner.watchdog.on_collapse == "stop":
            raise ValueError(
                "inner.watchdog.on_collapse=stop: the inner search must run all its rounds; "
                "use warn"
            )
        self.inner = inner
        self.explore = explore
        self.most = most
        self.guard = guard
        self.mu = mu
        self.readmit = readmit
        self.turns = [Turn("warm_up", 0, position) for position in range(warm_up)]
        for cycle in range(cycles):
            self.turns += [Turn("explore", cycle, i) for i in range(explore_rounds)]
            if mode == "alternate" or cycle == cycles - 1:
                self.turns += [Turn("exploit", cycle, i) for i in range(inner.rounds)]
        self.exploring = sum(turn.phase != "exploit" for turn in self.turns)
        self.exploit: Exploit | None = None
        self.prunings: list[dict[str, Any]] = []
        self.layers: list[list[int]] = []
        """How many choices of every decision are alive, by round."""

    @property
    def rounds(self) -> int:
        return len(self.turns)

    def begin(self, context: Context[SupernetSpace, ImageTask]) -> None:
        self.context = context
        self.space, self.task, self.budget = context.space, context.task, context.budget
        self.exploit, self.tuning, self.prunings, self.layers = None, False, [], []
        self.explore.begin(context)
        self.validation = self.explore.validation
        self.seen = self.explore.controller.marginals()
        self.budget.refuse_beyond(self._least_bytes, "even one path at a time")

    @cached_property
    def shapes(self) -> Shapes:
        """The whole space's supernet by shape; it takes no memory."""
        layout = self.inner.layout_of(self.space)
        return Shapes.of(self.space, self.task, self.budget, self.inner.weight_optimizer, layout)

    @cached_property
    def additive(self) -> Additive:
        """What each choice adds to a step of the inner search."""
        return self.shapes.additive(self.inner.batch_size, self.inner.level.graphs)

    def _need(self, kept: Kept) -> int:
        """The bytes, by shapes, of exploiting a subspace."""
        return self.inner.footprint(self.shapes, kept) + self.explore.aside

    def foreseen_bytes(self) -> int:
        """Those of the likeliest subspace as of now, and at least of the largest path."""
        _, need = self._subspace(self._marginals())
        return max(need, self._exploring_bytes())

    def rehearsals(self) -> Iterator[Rehearsal]:
        """Uniform paths, then paths with lessons, then the likeliest subspace as of now."""
        rests: dict[str, Callable[[], object] | None] = {
            "warm_up": None,
            "explore": self.explore.teach if self.explore.updates else None,
            "exploit": self.validate,
        }
        phases = [turn.phase for turn in self.turns]
        for phase, rest in rests.items():
            if phase in phases:
                self.round = phases.index(phase)
                play, count = self.play, phases.count(phase)
                if phase == "exploit":
                    self._prune(self.turns[self.round].cycle)
                    assert self.exploit is not None
                    play = self.exploit.inner.play  # a round may be anew, the pruning may not
                yield Rehearsal(count, play, count, rest)

    def _exploring_bytes(self) -> int:
        return self.explore.step_bytes(self.shapes, self.additive)

    def _least_bytes(self) -> float:
        """What the search needs at least; so much more as is left of the memory for safety."""
        smallest = _smallest(self.additive.each)
        return max(self._exploring_bytes(), self._need(smallest)) / self.guard

    def run_round(self) -> Metrics:
        if self.tuning:
            assert self.exploit is not None
            return self.exploit.run_round(self)
        turn = self.turns[self.round]
        if turn.phase == "exploit":
            if turn.position == 0:
                self._prune(turn.cycle)
            assert self.exploit is not None
            self.exploit.inner.round = turn.position
            metrics = self.exploit.run_round(self)
            metrics["kept_choices"] = _mean_length(self.exploit.kept)
            metrics["predicted_memory_gib"] = self.exploit.memory_gib
        else:
            if turn.phase == "explore" and turn.position == 0 and turn.cycle > 0:
                self._return()
            done = sum(earlier.phase != "exploit" for earlier in self.turns[: self.round])
            with below("explore"):
                metrics = self.explore.run_round(
                    self, done / self.exploring, warm_up=turn.phase == "warm_up"
                )
        alive = self.explore.alive()
        self.layers.append([len(alive[decision.name]) for decision in self.space.decisions])
        return {**metrics, "cycle": float(turn.cycle), "alive_choices": _mean_length(alive)}

    def _prune(self, cycle: int) -> None:
        """Begin to exploit the likeliest subspace that fits; the alive choices are halved."""
        kept, need = self._subspace(self._marginals())
        self._narrow(kept)
        plain = {name: list(row) for name, row in kept.items()}
        self.prunings.append({"cycle": cycle, "kept": plain, "bytes_by_shape": need})
        self.exploit = self._exploit(kept, need)
        self.explore.bank.fill(self.supernet.network)

    def _subspace(self, marginals: dict[str, dict[str, float]]) -> tuple[Kept, int]:
        """The likeliest subspace that fits, and the bytes that it needs."""
        room = self.guard * self.budget.room
        if math.isinf(room):
            free = Additive(0, {name: dict.fromkeys(row, 0) for name, row in marginals.items()})
            kept = subspace(marginals, free, room, self.most)
            return kept, self._need(kept)
        sizes = {n: {c: self.additive.each[n][c] for c in row} for n, row in marginals.items()}
        least, limit = self.additive.of(_smallest(sizes)), room - self.explore.aside
        while True:
            kept = subspace(marginals, self.additive, max(limit, least), self.most)
            need = self._need(kept)
            if need <= room or limit <= least:  # of the smallest the inner search says if it fits
                return kept, need
            # what operations need for a moment is no sum, so more than that is missing
            limit = self.additive.of(kept) - (need - room)

    def _marginals(self) -> dict[str, dict[str, float]]:
        """How likely the controller draws each alive choice."""
        with below("explore.controller"):
            table = self.explore.controller.marginals()
        self.seen = torch.where(self.explore.controller.alive, table, self.seen)
        alive = self.explore.alive()
        return {
            decision.name: {
                choice: float(table[row, column])
                for column, choice in enumerate(decision.choices)
                if choice in alive[decision.name]
            }
            for row, decision in enumerate(self.space.decisions)
        }

    def _narrow(self, kept: Kept) -> None:
        """Leave alive what is kept, and of the rest the likelier up to half of what was."""
        left: Kept = {}
        for name, row in self._marginals().items():
            first = kept.get(name) or (max((c for c in row if c != NONE), key=row.__getitem__),)
            ranked = sorted(row, key=lambda choice: (choice not in first, -row[choice]))
            count = max(len(first), math.ceil(len(row) / 2))
            left[name] = tuple(choice for choice in row if choice in ranked[:count])
        self.explore.keep(left)

    def _exploit(self, kept: Kept, need: int) -> Exploit:
        exploit = Exploit(copy.deepcopy(self.inner), kept, self.budget.whole(need))
        exploit.begin(self.context)
        inner = exploit.inner
        self.supernet, self.history, self.layout = inner.supernet, inner.history, inner.layout
        self.train, self.batch_size = inner.train, inner.batch_size
        self.largest = inner.largest
        return exploit

    def _return(self) -> None:
        """Feed back what was exploited, or prune by half; then re-admit."""
        if self.exploit is None:
            self._narrow({})
        else:
            self._feed_back(self.exploit)
            self.exploit = None  # its memory is needed
            del self.supernet
        alive = self.explore.controller.alive.clone()
        pruned = all_choices(self.space) & ~alive
        best = self.seen.masked_fill(~pruned, -1.0).argmax(1)
        lucky = torch.rand(len(best)) < self.readmit
        for row in torch.nonzero(lucky & pruned.any(1))[:, 0].tolist():
            alive[row, best[row]] = True
        self.explore.keep(choices(self.space, alive))

    def _feed_back(self, exploit: Exploit) -> None:
        inner = exploit.inner
        table = torch.zeros(self.seen.shape)
        for name, row in inner.supernet.probabilities().items():
            for choice, p in row.items():
                decision = self.space.decisions[self.space.rows[name]]
                table[self.space.rows[name], decision.choices.index(choice)] = p
        score = inner.validate()[self.task.objective]
        with below("explore.controller"):
            self.explore.controller.follow(table, self.mu, score)
        self.explore.bank.take(inner.supernet.network)

    def masked(
        self,
        masks: Sequence[Mask | None],
        *,
        images: int | None = None,
        batch_size: int | None = None,
        in_training: bool = False,
    ) -> list[Metrics]:
        assert self.exploit is not None
        return self.exploit.inner.masked(
            masks, images=images, batch_size=batch_size, in_training=in_training
        )

    def tune(self, weight_lr: float) -> None:
        assert self.exploit is not None
        self.exploit.inner.tune(weight_lr)
        self.tuning = True

    def skip_ahead(self) -> None:
        self._prune(self.turns[-1].cycle)

    def state_dict(self) -> dict[str, Any]:
        exploit = self.exploit
        return {
            "explore": self.explore.state_dict(),
            "seen": self.seen,
            "prunings": copy.deepcopy(self.prunings),
            "layers": copy.deepcopy(self.layers),
            "exploit": None if exploit is None else exploit.inner.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.explore.load_state_dict(state["explore"])
        self.seen = state["seen"]
        self.prunings = copy.deepcopy(state["prunings"])
        self.layers = copy.deepcopy(state["layers"])
        if state["exploit"] is None:
            self.exploit = None
            return
        last = self.prunings[-1]
        kept: Kept = {name: tuple(row) for name, row in last["kept"].items()}
        if self.exploit is None or self.exploit.kept != kept:
            self.exploit = self._exploit(kept, last["bytes_by_shape"])
        self.exploit.inner.load_state_dict(state["exploit"])

    def finish(self, folder: Any) -> dict[str, Any]:
        from nasrun.pictures.curves import search_curves
        from nasrun.pictures.plots import shrinking_space

        metrics, names = folder.metrics(), list(self.space.rows)
        search_curves(metrics, folder.path / "search.png", self.space.groups)
        shrinking_space(
            dict(zip(names, zip(*self.layers, strict=True), strict=True)),
            metrics,
            folder.timing(),
            self.budget.max_memory_gib,
            folder.path / "subspaces.png",
        )
        folder.write("subspaces.json", self.prunings)
        assert self.exploit is not None
        return {
            "validation_accuracy": self.validate()[self.task.objective],
            "predicted_memory_gib": self.exploit.memory_gib,
            "kept_choices": _mean_length(self.exploit.kept),
        }


class Exploit:
    """The inner strategy on a subspace; it is predicted to take `memory_gib` with its process."""

    def __init__(self, inner: Differentiable, kept: Kept, memory_gib: float) -> None:
        self.inner = inner
        self.kept = kept
        self.memory_gib = memory_gib

    def begin(self, context: Context[SupernetSpace, ImageTask]) -> None:
        """Build the subspace's supernet."""
        self.inner.begin(replace(context, space=context.space.restrict(self.kept)))

    def run_round(self, stage: Radars) -> Metrics:
        """One round of the inner strategy, its steps told to whoever watches the whole."""
        with below("inner"):
            return self.inner.play(stage.step)


def _smallest(sizes: Mapping[str, Mapping[str, int]]) -> Kept:
    """The smallest operation of every decision."""
    return {
        name: (min((choice for choice in row if choice != NONE), key=row.__getitem__),)
        for name, row in sizes.items()
    }


def _mean_length(kept: Kept) -> float:
    return sum(map(len, kept.values())) / len(kept)
