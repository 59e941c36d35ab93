"""PBT-NAS: a population that mixes networks while they train (2307.15621).

All members train for an interval and are scored; then the worst are replaced by children of the
best. A child is a copy of one parent in which some decisions, with choice and weights, come from
another parent. The donated weights are shrunk and perturbed; averages are copied. Nothing is
retrained at the end.

Where we differ from the released code: every random number belongs to a stream named by run,
interval, member and purpose, so that a search can be interrupted and continued, here or on another
machine, with the same bytes; an unevaluated child is never taken for the best. See `variation` for
what a child inherits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from nasrun.context import Context
from nasrun.engines.base import given
from nasrun.genotype import Genotype
from nasrun.refusing import refuse_below
from nasrun.score import Score
from nasrun.spaces.inheritance import InheritingSpace
from nasrun.stage import Metrics
from nasrun.strategies.base import Candidate, PopulationStrategy
from nasrun.strategies.delivery import Delivery
from nasrun.strategies.members import (
    Member,
    Order,
    TrainMember,
    folder_of,
    rank,
    read,
    shares,
    summary,
    sweep,
    write,
)
from nasrun.strategies.variation import Parent, Variation
from nasrun.streams import named, restored
from nasrun.tasks.base import PopulationTask
from nasrun.trained import Tensors, Trained


class Population(PopulationStrategy):
    """`size` members; after an interval the worst `children` are replaced by offspring of the best.

    A child has two distinct parents among the best `parents`; the fitter one is its base. Children
    are made by `variation` after every `mix_every` intervals, from interval `mix_always_from` after
    each one, never after the last, and never in the share `burn_in` of the search, so that members
    that learn late are not lost early. If `variation` is `None`, no member is ever replaced: random
    search at the same cost. The result is the best member of the last interval, or of all intervals
    with `best_ever`. A member whose training diverges is the worst and is never a parent; if all
    diverge, the search ends with an error.
    """

    searches = (InheritingSpace,)

    def __init__(
        self,
        *,
        intervals: int,
        size: int,
        children: int,
        parents: int,
        mix_every: int,
        mix_always_from: int | None,
        burn_in: float,
        best_ever: bool,
        variation: Variation | None,
    ) -> None:
        if not 0 <= burn_in < 1:
            raise ValueError(f"burn_in={burn_in}: use a share of the search, 0 to less than 1")
        if mix_always_from is not None and mix_always_from < 1:
            raise ValueError(f"mix_always_from={mix_always_from}: use 1 or more, or null for never")
        self.intervals = intervals
        self.size = size
        self.children = children
        self.parents = parents
        self.mix_every = mix_every
        refuse_below(self, intervals=1, size=2, children=1, parents=2, mix_every=1)
        self.mix_always_from = mix_always_from
        self.burn_in = burn_in
        self.best_ever = best_ever
        self.variation = variation
        self.members: list[Member] = []
        self.best: Member | None = None
        self.former_best: Member | None = None
        self.history: list[dict[str, Any]] = []
        if variation is not None:
            self._check_replacement()

    def _check_replacement(self) -> None:
        """Raise ValueError if a replacement leaves too few members."""
        size, children, parents = self.size, self.children, self.parents
        if children >= size:
            raise ValueError(
                f"size={size}: use more than children={children}, so that a member survives"
            )
        if parents > size - children:
            raise ValueError(
                f"parents={parents}: use at most the {size - children} that survive, "
                f"size={size} less children={children}"
            )

    @property
    def rounds(self) -> int:
        return self.intervals

    @property
    def candidates(self) -> Sequence[Member]:
        if not self.best_ever or self.best is None:
            return self._sound
        still_there = any(member.file == self.best.file for member in self._sound)
        return self._sound if still_there else [*self._sound, self.best]

    @property
    def _sound(self) -> list[Member]:
        """Members that were scored and did not diverge."""
        return [member for member in self.members if member.sound]

    @property
    def _unknown(self) -> Score:
        """Score of a member that has not been scored yet."""
        return Score(self.task.score, math.nan)

    @property
    def delivery(self) -> Delivery:
        return Delivery(self.space, self.task, self.seed, self.intervals)

    def begin(self, context: Context[InheritingSpace, PopulationTask]) -> None:
        self.space, self.task, self.budget = context.space, context.task, context.budget
        self.engine, self.streams = given(context.engine), context.streams
        self._kept_job: TrainMember | None = None
        (self.seed,) = self.streams.numbers("population", 1)
        generator = torch.Generator().manual_seed(self._stream(0, 0, "population"))
        genotypes = self.space.stratified(self.size, generator)
        self.members = [
            Member(genotype, self._unknown, slot, founders=dict.fromkeys(genotype, slot))
            for slot, genotype in enumerate(genotypes)
        ]
        network = self.delivery.network(genotypes[0], self._stream(0, 0, "check"))
        self.task.check(network)
        self.needs = self.task.needs(network, self.size, self.intervals)

    def run_round(self) -> Metrics:
        interval = self.round
        best = (self.best, self.former_best) if self.best_ever else ()
        sweep(self.home, self.round, {member.file for member in best if member})
        job = self._job()
        orders = [self._order(member) for member in self.members]
        generator = torch.Generator().manual_seed(self._stream(interval, 0, "submission"))
        queue = torch.randperm(self.size, generator=generator).tolist()
        found: list[Metrics] = [{} for _ in orders]
        cores = self.budget.resolved["threads"]
        results = self.engine.run(job, [orders[slot] for slot in queue], cores)
        for position, metrics in self.track(results, self.size):
            found[queue[position]] = metrics
        if interval + 1 == self.intervals:
            self.engine.close()
        for slot, metrics in enumerate(found):
            score = Score(self.task.score, metrics[self.task.objective])
            self.members[slot] = replace(self.members[slot], score=score, file=orders[slot].target)
        if not self._sound:
            self.engine.close()
            raise ValueError(
                f"round {interval + 1}: every member's training diverged; the rounds before it are "
                "kept; use a smaller task.optimizer.lr"
            )
        self._remember_best()
        metrics_of_all = summary(self.members, found, self.task.objective, self.round)
        births = self._replace_worst() if self._mixes_after(interval + 1) else []
        self.history.append(
            {
                "scores": [metrics[self.task.objective] for metrics in found],
                "births": births,
                "founders": shares(self.members),
            }
        )
        self._show_best(interval + 1)
        return {**metrics_of_all, "children": len(births)}

    def _mixes_after(self, intervals: int) -> bool:
        if (
            self.variation is None
            or not self.burn_in * self.intervals - 1e-9 <= intervals < self.intervals
        ):
            return False
        always = self.mix_always_from
        return intervals % self.mix_every == 0 or (always is not None and intervals >= always)

    def _replace_worst(self) -> list[dict[str, Any]]:
        """Replace the worst by children, and return a record of every birth."""
        assert self.variation is not None
        ranked = sorted(self.members, key=rank)
        top = [member for member in ranked[: self.parents] if member.sound]
        losers = ranked[self.size - self.children :] if len(top) > 1 else []
        births: list[dict[str, Any]] = []
        for loser in losers:
            seed = self._stream(self.round, loser.slot, "variation")
            generator = torch.Generator().manual_seed(seed)
            first, second = sorted(torch.randperm(len(top), generator=generator)[:2].tolist())
            base, donor = top[first], top[second]
            child = self.variation.child(
                Parent(base.genotype, self.training_of(base)),
                Parent(donor.genotype, self.training_of(donor)),
                self.space,
                partial(self._fresh, slot=loser.slot),
                generator,
            )
            file = f"{folder_of(self.round + 1)}/{loser.slot:02d}.child.pt"
            write(self.home / file, child.trained, {}, "")
            giver = base if child.from_base else donor
            founders = {**base.founders, **{name: giver.founders[name] for name in child.changed}}
            self.members[loser.slot] = Member(
                child.genotype,
                self._unknown,
                loser.slot,
                file,
                founders,
                born=self.round + 1,
                base_score=base.score.value,
            )
            births.append(
                {
                    "child": loser.slot,
                    "base": base.slot,
                    "donor": giver.slot,
                    "changed": list(child.changed),
                }
            )
        return births

    def _fresh(self, genotype: Genotype, slot: int) -> Tensors:
        network = self.delivery.network(genotype, self._stream(self.round, slot, "fresh"))
        return {name: tensor.cpu() for name, tensor in network.state_dict().items()}

    def _order(self, member: Member) -> Order:
        return Order(
            seed=self.seed,
            interval=self.round,
            slot=member.slot,
            choices=dict(member.genotype),
            source=member.file,
            target=f"{folder_of(self.round + 1)}/{member.slot:02d}.pt",
        )

    def _job(self) -> TrainMember:
        """Return the job, the same object in every round, so that an engine sends it only once."""
        if self._kept_job is None:
            self._kept_job = TrainMember(self.space, self.task, self.home.resolve())
        return self._kept_job

    def _stream(self, interval: int, slot: int, purpose: str) -> int:
        return named(self.seed, interval, slot, purpose)

    def _remember_best(self) -> None:
        best = min(self.members, key=rank)
        self.former_best = self.best
        if self.best is None or rank(best)[0] < rank(self.best)[0]:
            self.best = best

    def _show_best(self, interval: int) -> None:
        best = min((m for m in self.members if m.sound), key=rank, default=None)
        if best is not None:
            learner = self.delivery.learner(best.genotype, self.training_of(best), "show")
            with restored():
                torch.manual_seed(self._stream(0, 0, "show"))  # the same numbers in every round
                learner.show(self.home / f"best_{interval:03d}")

    def training_of(self, candidate: Candidate) -> Trained:
        assert isinstance(candidate, Member) and candidate.file is not None
        return read(self.home / candidate.file)[0]

    def state_dict(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "members": [member.to_plain() for member in self.members],
            "best": None if self.best is None else self.best.to_plain(),
            "former_best": None if self.former_best is None else self.former_best.to_plain(),
            "history": list(self.history),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        def member(plain: dict[str, Any] | None) -> Member | None:
            return None if plain is None else self._member(plain)

        self.seed = state["seed"]
        self.members = [self._member(plain) for plain in state["members"]]
        self.best, self.former_best = member(state["best"]), member(state["former_best"])
        self.history = list(state["history"])

    def _member(self, plain: dict[str, Any]) -> Member:
        return Member.from_plain(self.space.name, self.task.score, plain)

    def finish(self, folder: Any) -> dict[str, Any]:
        from nasrun.pictures.plots import lineage

        lineage(self.history, folder.path / "lineage.png")
        folder.write("lineage.json", self.history)
        best = max((member.score for member in self.candidates), key=lambda score: score.merit)
        trained = sum(len(past["scores"]) for past in self.history)
        return {
            **best.report(),
            "members": self.size,
            "member_intervals": trained,
        }
