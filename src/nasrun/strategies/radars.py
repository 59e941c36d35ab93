"""RADARS: differentiable search with bounded memory (2109.05691), in our reading.

Neither the code nor the full text of the paper was available. This much is known: reinforcement
learning iteratively prunes the candidates of each layer to a promising subspace, on which
differentiable search runs. The rest is ours: rewards, controller, knapsack, feedback, all numbers.

    explore   a controller learns from single paths with shared weights which choices are good
    prune     keep the likeliest subspace whose supernet fits into memory
    exploit   run differentiable search on it, with the shared weights
    feed back ln q <- (1 - mu) ln q + mu ln p(alpha), and copy its weights to the shared ones
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from nasrun.budget import MEMORY
from nasrun.context import Context
from nasrun.costs.memory import Additive, Shapes
from nasrun.divergence import below
from nasrun.refusing import refuse_below
from nasrun.spaces.supernet import SupernetSpace
from nasrun.stage import Foreseen, Metrics, Rehearsal
from nasrun.strategies.base import Mask, SupernetStrategy
from nasrun.strategies.differentiable import Differentiable
from nasrun.strategies.exploit import Exploit, refuse_unfit
from nasrun.strategies.explore import Explore
from nasrun.strategies.pruning import fitting, halved, smallest, subspace
from nasrun.strategies.subspace import Kept, all_choices, choices
from nasrun.streams import restored
from nasrun.tasks.base import ImageTask


class Turn(NamedTuple):
    """The phase and the cycle of a round, and its `position` in the phase."""

    phase: Literal["warm_up", "explore", "exploit"]
    cycle: int
    position: int


@dataclass(kw_only=True, eq=False)
class Radars(SupernetStrategy, Foreseen):
    """Warm-up, then `cycles` of exploring, pruning and exploiting.

    `mode=alternate` exploits in each cycle, `shrink` only in the last one, after a pruning by at
    most a half in each cycle. A decision keeps at most `most` choices for `inner`, and the search
    uses the share `guard` of the memory that the budget leaves. Feedback moves the controller by
    `mu`; before each further cycle a decision gets its best pruned choice back with probability
    `readmit`.
    """

    inner: Differentiable
    explore: Explore
    mode: Literal["alternate", "shrink"]
    cycles: int
    warm_up: int
    explore_rounds: int
    most: int
    guard: float
    mu: float
    readmit: float

    heeds = MEMORY

    def __post_init__(self) -> None:
        refuse_below(self, cycles=1, warm_up=0, explore_rounds=1, most=1)
        if not 0 < self.guard <= 1:
            raise ValueError(f"guard={self.guard}: use more than 0 and at most 1")
        if not 0 <= self.mu <= 1 or not 0 <= self.readmit <= 1:
            raise ValueError(f"mu={self.mu} readmit={self.readmit}: use numbers from 0 to 1")
        refuse_unfit(self.inner)
        self.relaxation, self.level = self.inner.relaxation, self.inner.level
        self.watchdog = self.inner.watchdog
        self.key = self.inner.key = "strategy.inner"
        self.turns = [Turn("warm_up", 0, position) for position in range(self.warm_up)]
        for cycle in range(self.cycles):
            self.turns += [Turn("explore", cycle, i) for i in range(self.explore_rounds)]
            if self.mode == "alternate" or cycle == self.cycles - 1:
                self.turns += [Turn("exploit", cycle, i) for i in range(self.inner.rounds)]
        self.exploring = sum(turn.phase != "exploit" for turn in self.turns)
        self.exploit: Exploit | None = None
        self.prunings: list[dict[str, Any]] = []
        self.layers: list[list[int]] = []
        """The number of choices alive, per round and decision."""

    @property
    def rounds(self) -> int:
        return len(self.turns)

    def begin(self, context: Context[SupernetSpace, ImageTask]) -> None:
        self.context, self.streams = context, context.streams
        self.space, self.task, self.budget = context.space, context.task, context.budget
        self.exploit, self.tuning, self.prunings, self.layers = None, False, [], []
        self.explore.begin(context)
        self.validation = self.explore.validation
        self.seen = self.explore.controller.marginals()
        self.budget.refuse_beyond(self._least_bytes, "even one path at a time")
        with restored():  # what the inner search refuses is refused now, not after exploring
            Exploit(copy.deepcopy(self.inner), self._smallest(), 0.0).begin(context)

    def _smallest(self) -> Kept:
        """Return the smallest operation of each decision; without a memory limit, the first one."""
        if math.isinf(self.budget.room):  # measuring takes a while, for nothing
            sizes = {each.name: dict.fromkeys(each.choices, 0) for each in self.space.decisions}
            return smallest(sizes)
        return smallest(self.additive.each)

    @cached_property
    def shapes(self) -> Shapes:
        """The supernet of the whole space by shapes; it takes no memory."""
        layout = self.inner.layout_of(self.space)
        given = self.space, self.task, self.budget, self.inner.weight_optimizer, layout
        return Shapes.of(*given, exact=self.inner.exact)

    @cached_property
    def additive(self) -> Additive:
        """The bytes that each choice adds to a step of the inner search."""
        return self.shapes.additive(self.inner.batch_size, self.inner.level.graphs)

    def _need(self, kept: Kept) -> int:
        """Return the bytes, by shapes, that exploiting a subspace takes."""
        exploiting = self.inner.footprint(self.shapes, kept, len(self.validation))
        return exploiting + self.explore.aside

    def foreseen_bytes(self) -> int:
        """Return the bytes of the likeliest subspace now, at least those of the largest path."""
        _, need = self._subspace(self.most)
        return max(need, self._exploring_bytes())

    def rehearsals(self) -> Iterator[Rehearsal]:
        """Uniform paths, then paths with lessons, then the subspace that is likeliest now."""
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
                    play = self.exploit.inner.play  # a round may be repeated, the pruning may not
                yield Rehearsal(count, play, count, rest)

    def _exploring_bytes(self) -> int:
        return self.explore.step_bytes(self.shapes, self.additive)

    def _least_bytes(self) -> float:
        """Return the bytes that the search needs at least, with the margin that `guard` leaves."""
        need = self._need(smallest(self.additive.each))
        return max(self._exploring_bytes(), need) / self.guard

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
        """Begin to exploit the likeliest subspace that fits, and halve the choices alive."""
        self._remember()
        kept, need = self._subspace(self.most)
        self._narrow(kept)
        plain = {name: list(row) for name, row in kept.items()}
        self.prunings.append({"cycle": cycle, "kept": plain, "bytes_by_shape": need})
        self.exploit = self._exploit(kept, need)
        self.explore.bank.fill(self.supernet.network)

    def _subspace(self, most: int) -> tuple[Kept, int]:
        """Return the likeliest subspace that fits into memory, and the bytes that it needs."""
        marginals = self._marginals()
        room = self.guard * self.budget.room
        if math.isinf(room):
            free = Additive(0, {name: dict.fromkeys(row, 0) for name, row in marginals.items()})
            kept = subspace(marginals, free, room, most)
            return kept, self._need(kept)
        return fitting(
            marginals, self.additive, self._need, room, aside=self.explore.aside, most=most
        )

    def _marginals(self) -> dict[str, dict[str, float]]:
        """Return the probability with which the controller draws each choice alive."""
        table = self._table()
        alive = self.explore.alive()
        return {
            decision.name: {
                choice: float(table[row, column])
                for column, choice in enumerate(decision.choices)
                if choice in alive[decision.name]
            }
            for row, decision in enumerate(self.space.decisions)
        }

    def _table(self) -> Tensor:
        """Return the controller's probabilities, (decisions, choices)."""
        with below("explore.controller"):
            return self.explore.controller.marginals()

    def _remember(self) -> None:
        """Keep the probabilities of choices alive; `readmit` chooses among the pruned by them."""
        self.seen = torch.where(self.explore.controller.alive, self._table(), self.seen)

    def _narrow(self, kept: Kept) -> None:
        """Leave alive the choices kept, and the likeliest others up to half of those alive."""
        self.explore.keep(halved(self._marginals(), kept))

    def _exploit(self, kept: Kept, need: int) -> Exploit:
        exploit = Exploit(copy.deepcopy(self.inner), kept, self.budget.whole(need))
        exploit.begin(self.context)
        inner = exploit.inner
        self.supernet, self.history, self.layout = inner.supernet, inner.history, inner.layout
        self.train, self.batch_size = inner.train, inner.batch_size
        self.largest = inner.largest
        return exploit

    def _return(self) -> None:
        """Feed back the results of exploiting, or else prune by half; then re-admit choices."""
        if self.exploit is None:
            self._remember()
            self._narrow(self._subspace(most=1)[0])  # of what is left, one network has to fit
        else:
            self._feed_back(self.exploit)
            self.exploit = None  # frees its memory
            del self.supernet
        alive = self.explore.controller.alive.clone()
        pruned = all_choices(self.space) & ~alive
        best = self.seen.masked_fill(~pruned, -1.0).argmax(1)
        lucky = torch.rand(len(best), generator=self.streams("readmit")) < self.readmit
        for row in torch.nonzero(lucky & pruned.any(1))[:, 0].tolist():
            alive[row, best[row]] = True
        self.explore.keep(choices(self.space, alive))

    def _feed_back(self, exploit: Exploit) -> None:
        inner = exploit.inner
        table = torch.zeros(self.seen.shape)
        for name, row in inner.supernet.probabilities().items():
            for choice, p in row.items():
                table[self.space.rows[name], self.space.column(name, choice)] = p
        with below("explore.controller"):
            self.explore.controller.follow(table, self.mu)
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
        from nasrun.pictures.plots import shrinking_space

        assert self.exploit is not None
        shrinking_space(
            dict(zip(self.space.rows, zip(*self.layers, strict=True), strict=True)),
            folder.metrics(),
            folder.timing(),
            self.budget.max_memory_gib,
            folder.path / "subspaces.png",
        )
        folder.write("subspaces.json", self.prunings)
        return {
            **self.exploit.inner.finish(folder),
            "predicted_memory_gib": self.exploit.memory_gib,
            "kept_choices": _mean_length(self.exploit.kept),
        }


def _mean_length(kept: Kept) -> float:
    return sum(map(len, kept.values())) / len(kept)
