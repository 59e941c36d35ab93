"""Differentiable architecture search: a supernet, a relaxation of its choices, and a level.

DARTS, SNAS, MiLeNAS and their relatives are this class with different settings; see `levels.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import Any, Literal

import torch
from torch import Tensor

from nasrun.context import Context
from nasrun.costs.memory import Shapes
from nasrun.divergence import Diverged, finite
from nasrun.keyed import keyed
from nasrun.refusing import refuse_clip
from nasrun.schedules import Constant, Schedule
from nasrun.spaces.layout import Layout
from nasrun.spaces.supernet import SupernetSpace, batch_statistics
from nasrun.stage import Divided, Foreseen, Metrics, Rehearsal
from nasrun.strategies.base import Mask, SupernetStrategy
from nasrun.strategies.curvature import GRAPHS, Curvature
from nasrun.strategies.descent import Search
from nasrun.strategies.history import History, StopAtSize, Watchdog
from nasrun.strategies.levels import Level
from nasrun.strategies.penalties import Penalty, Within
from nasrun.streams import seeded
from nasrun.supernet.entropy import entropies, largest_entropies
from nasrun.supernet.mixture import Mixture
from nasrun.supernet.region import compile_regions
from nasrun.supernet.relaxation import Relaxation
from nasrun.supernet.supernet import Supernet, argmax
from nasrun.tasks.base import ImageTask, OptimizerFactory, Part, Sliced, Split, optimizer_of


class Differentiable(SupernetStrategy, Foreseen, Divided):
    """Train alphas and weights together for `rounds` passes over the training data.

    Weights train on the `train` part of the data; the level decides whether alphas train on it or
    on the `validation` part. With `data=all` both parts are joined for training, so the validation
    images that are measured are trained on, too. The clips are maximum gradient norms. `drop_path`
    is the constant probability that an edge's mixture is dropped for a sample. `penalty` is added
    to the alphas' loss. In the search network, candidates see one of `partial_channels` parts of
    the channels, and `beta_std` gives edges trainable weights by which they compete (both
    PC-DARTS). `watchdog` detects a collapse, `stop` ends the search early, `curvature` measures how
    sharp the validation loss is in the alphas after every round. `None` switches a clip, penalty,
    edge weights, watchdog, stop or curvature off.
    """

    key = "strategy"
    """An outer strategy sets that of its inner one."""

    def __init__(
        self,
        *,
        rounds: int,
        batch_size: int,
        data: Literal["train", "all"],
        level: Level,
        relaxation: Relaxation,
        weight_optimizer: OptimizerFactory,
        weight_schedule: Schedule,
        weight_clip: float | None,
        alpha_optimizer: OptimizerFactory,
        alpha_clip: float | None,
        alpha_mean: float,
        alpha_std: float,
        drop_path: float,
        penalty: Penalty | None,
        partial_channels: int,
        beta_std: float | None,
        watchdog: Watchdog | None,
        stop: StopAtSize | None,
        curvature: Curvature | None = None,  # runs of earlier versions do not name it
    ) -> None:
        if rounds < 1:
            raise ValueError(f"rounds={rounds}: use at least 1")
        if batch_size < 2:
            raise ValueError(f"batch_size={batch_size}: use at least 2, for batch norm")
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path={drop_path}: use 0 or more, but less than 1")
        refuse_clip(weight_clip=weight_clip, alpha_clip=alpha_clip)
        for key, std in (("alpha_std", alpha_std), ("beta_std", beta_std)):
            if std is not None and std < 0:
                raise ValueError(f"{key}={std}: use 0 or more")
        if partial_channels < 1:
            raise ValueError(
                f"partial_channels={partial_channels}: use 1 for all channels, or more"
            )
        self._rounds = rounds
        self.batch_size = batch_size
        self.parts: tuple[Part, ...] = ("train", "validation") if data == "all" else ("train",)
        self.level = level
        self.relaxation = relaxation
        self.weight_optimizer = weight_optimizer
        self.weight_schedule = weight_schedule
        self.weight_clip = weight_clip
        self.alpha_optimizer = alpha_optimizer
        self.alpha_clip = alpha_clip
        self.alpha_mean, self.alpha_std = alpha_mean, alpha_std
        self.drop_path = drop_path
        self.penalty = penalty
        self.partial_channels = partial_channels
        self.beta_std = beta_std
        self.watchdog, self.stop, self.curvature = watchdog, stop, curvature

    @property
    def rounds(self) -> int:
        return self._rounds

    @property
    def smallest_batch(self) -> float:
        return self.batch_size

    def begin(self, context: Context[SupernetSpace, ImageTask]) -> None:
        space, task, budget = context.space, context.task, context.budget
        self.space, self.task, self.budget = space, task, budget
        self.streams = context.streams
        self.train, self.validation = task.split(*self.parts), task.split("validation")
        for split in (self.train, self.validation):
            budget.refuse_thin(len(split), self.batch_size)
        self.layout = self.layout_of(space)
        instead = "a smaller batch_size, or strategy=radars"
        budget.refuse_beyond(self.foreseen_bytes, "this supernet", instead)
        self._build(context)

    def layout_of(self, space: SupernetSpace) -> Layout:
        """Return the search network's layout; ValueError if the channels cannot be split."""
        with keyed(self.key):
            return space.partial_layout(self.partial_channels)

    def _build(self, context: Context[SupernetSpace, ImageTask]) -> None:
        space, task, budget = context.space, context.task, context.budget
        network = space.network(inputs=task.inputs, outputs=task.outputs, layout=self.layout)
        network.drop_path = self.drop_path
        self.supernet = Supernet(
            space,
            network,
            self.relaxation,
            alpha_mean=self.alpha_mean,
            alpha_std=self.alpha_std,
            beta_std=self.beta_std,
            streams=self.streams,
        ).to(budget.torch_device)
        self.supernet.to(memory_format=torch.channels_last)
        compile_regions(network, budget)
        budget.world.enter(network)
        self.largest = largest_entropies(space)
        with keyed(self.key):
            self.level.check(optimizer_of(self.weight_optimizer, self.supernet.weights()))
            self._begin_parts(context)
        self.search = self._search()
        self.schedule, self.first_lr = self.weight_schedule, self.search.weight_lr

    def _begin_parts(self, context: Context[SupernetSpace, ImageTask]) -> None:
        task, budget = context.task, context.budget
        moving = any(self.level.moves_alphas(sum(phase)) for phase in self.level.phases)
        if self.penalty is not None and not moving:
            raise ValueError("penalty: has no effect, no alpha moves; use null")
        self.penalties = [] if self.penalty is None else [self.penalty]
        self.within: Within | None = None
        if context.limits is not None and moving:
            self.within = Within(context.limits, weight=budget.limit_weight, rate=budget.limit_rate)
            self.penalties.append(self.within)
        for penalty in self.penalties:
            penalty.begin(self.supernet, task)
        seen = {"inputs": task.inputs, "outputs": task.outputs}
        self.history = History(self.space, **seen, watchdog=self.watchdog, stop=self.stop)
        if self.curvature is not None:
            self.curvature.check(self.supernet, task, self.validation)

    def footprint(self, shapes: Shapes, kept: Mapping[str, Sequence[str]], images: int) -> int:
        """Return the bytes, by shapes, of training the `kept` choices, measured on `images`."""
        single = self.relaxation.single and not self.level.smooths  # which trains the mixture
        step = shapes.single if single else shapes.step
        own = math.ceil(self.batch_size / shapes.processes)
        need = step(kept, own, min(self.measured_together, images), self.level.graphs)
        if self.curvature is None:
            return need
        return max(need, shapes.training(kept, self.curvature.images, GRAPHS))

    @property
    def exact(self) -> bool:
        """Whether a part of a round computes in fp32 whatever the budget's precision is."""
        return self.level.exact or self.curvature is not None

    def shapes(self) -> Shapes:
        """Return the supernet's shapes, which take no memory."""
        given = self.space, self.task, self.budget, self.weight_optimizer, self.layout
        return Shapes.of(*given, exact=self.exact)

    def foreseen_bytes(self) -> int:
        return self.footprint(self.shapes(), {}, len(self.validation))

    def rehearsals(self) -> Iterator[Rehearsal]:
        for begins, share in self.level.phases:
            rounds = share * self.rounds
            self.round = round(begins * self.rounds)
            yield Rehearsal(rounds, self.play, rounds, self.validate)

    def skip_ahead(self) -> None:
        self.round = self.rounds

    def _search(self) -> Search:
        weights = self.supernet.weights()
        return Search(
            loss=self._loss,
            supernet=self.supernet,
            alphas=self.supernet.alphas(),
            weights=weights,
            buffers=list(self.supernet.network.buffers()),
            alpha_optimizer=optimizer_of(self.alpha_optimizer, self.supernet.alphas()),
            weight_optimizer=optimizer_of(self.weight_optimizer, weights),
            penalty=self._penalty if self.penalties else None,
            alpha_clip=self.alpha_clip,
            weight_clip=self.weight_clip,
            precisely=self.budget.precisely,
            world=self.budget.world,
            streams=self.streams,
        )

    def _loss(self, batch: Sliced, mixture: Mixture | None = None) -> Tensor:
        if self.search.channels_first:
            images, labels, part = Sliced(*batch)
            batch = Sliced(images.clone(memory_format=torch.contiguous_format), labels, part)
        network = self.supernet.network
        forward = self.supernet if mixture is None else partial(network, mixture=mixture)
        return self.task.loss(forward, batch)

    def _penalty(self) -> Tensor:
        return torch.stack([penalty() for penalty in self.penalties]).sum()

    def run_round(self) -> Metrics:
        self.supernet.progress = min(1.0, (self.round + 1) / self.rounds)
        lr = self.schedule.at(min(1.0, self.round / self.rounds), self.first_lr)
        for group in self.search.weight_optimizer.param_groups:
            group["lr"] = lr
        before = self.supernet.genotype(argmax)
        losses: Metrics = {}
        try:
            losses = self._epoch()
        except (RuntimeError, ValueError):  # a distribution refuses NaN
            if finite({}, self.supernet):
                raise
        measured = self.validate() if losses and finite(losses, self.supernet) else {}
        validation = {f"validation_{name}": value for name, value in measured.items()}
        if not validation or not finite(validation):  # before the round is saved
            keys = ("weight_optimizer.lr", "alpha_optimizer.lr", "weight_clip")
            raise Diverged("the search", {**losses, **validation}, keys)
        metrics = {"lr": lr, **losses, **validation, **entropies(self.supernet)}
        for penalty in self.penalties:
            metrics |= penalty.metrics()
        if self.within is not None and self.level.moves_alphas(self.supernet.progress):
            self.within.ascend()
        after = self.supernet.genotype(argmax)
        metrics["changed_edges"] = float(sum(before[name] != after[name] for name in after))
        if not self.done:  # a selector that tunes a finished search does not add to its history
            accuracy = metrics[f"validation_{self.task.objective}"]
            metrics |= self.history.add(self.round + 1, self.supernet, accuracy)
            if self.curvature is not None:
                found = self.curvature.measure(self.supernet, self.task, self.validation)
                metrics["alpha_eigenvalue"] = found.value
            self.stopped = self.history.stopped
        return metrics

    def _epoch(self) -> Metrics:
        order = torch.randperm(len(self.train), generator=self.streams("order"))
        steps = math.ceil(len(order) / self.batch_size)
        training = self.task.batches(self.train, self.batch_size, order, self.streams("augment"))
        reads = self.level.reads_validation(self.supernet.progress)
        validation = self._endless(self.validation) if reads else repeat(None)
        totals: dict[str, list[Tensor]] = {}
        self.supernet.train()
        for train in self.track(training, steps):
            for name, loss in self.level.step(self.search, train, next(validation)).items():
                totals.setdefault(name, []).append(loss)
        means = {name: torch.stack(losses).mean() for name, losses in totals.items()}
        self.budget.world.average([*means.values()])
        self.budget.world.settle(self.supernet.network)
        return {name: float(mean) for name, mean in means.items()}

    def _endless(self, split: Split) -> Iterator[Sliced]:
        orders, changes = self.streams("validation order"), self.streams("validation augment")
        while True:
            order = torch.randperm(len(split), generator=orders)
            yield from self.task.batches(split, self.batch_size, order, changes)

    def masked(
        self,
        masks: Sequence[Mask | None],
        *,
        images: int | None = None,
        batch_size: int | None = None,
        in_training: bool = False,
    ) -> list[Metrics]:
        network = self.supernet.network
        split = self.validation if images is None else self.task.subset(self.validation, images)
        with batch_statistics(self.supernet):
            mixtures = [self.supernet.mixture(without=mask) for mask in masks]
            if not in_training:
                rows = {self.supernet.space.rows[mask[0]] for mask in masks if mask is not None}
                compared = partial(network.compared, mixtures=mixtures, rows=rows)
                track = self.track if len(masks) > 1 else None
                size = batch_size or self.measured_together
                return self.task.compare(compared, split, size, track=track)
        self.supernet.train()
        forwards = [partial(network, mixture=mixture) for mixture in mixtures]
        seeds = iter(self.streams.numbers("masked", len(forwards)))
        size = batch_size or self.batch_size
        return [
            self.task.evaluate(forward, split, size, augmented=seeded(next(seeds)))
            for forward in self.track(forwards, len(forwards))
        ]

    def tune(self, weight_lr: float) -> None:
        alpha_state = self.search.alpha_optimizer.state_dict()
        self.search = self._search()
        self.search.alpha_optimizer.load_state_dict(alpha_state)
        self.schedule, self.first_lr = Constant(), weight_lr
        self.round = self.rounds  # the search may have stopped early

    def state_dict(self) -> dict[str, Any]:
        return {
            "supernet": self.supernet.state_dict(),
            "alpha_optimizer": self.search.alpha_optimizer.state_dict(),
            "weight_optimizer": self.search.weight_optimizer.state_dict(),
            "history": self.history.state_dict(),
            "multipliers": {} if self.within is None else self.within.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.supernet.load_state_dict(state["supernet"])
        self.search.alpha_optimizer.load_state_dict(state["alpha_optimizer"])
        self.search.weight_optimizer.load_state_dict(state["weight_optimizer"])
        self.history.load_state_dict(state["history"])
        if self.within is not None:
            self.within.load_state_dict(state["multipliers"])
        self.stopped = self.history.stopped

    def finish(self, folder: Any) -> dict[str, Any]:
        from nasrun.pictures.curves import search_curves

        search_curves(folder.metrics(), folder.path / "search.png", self.space.groups)
        folder.write("history.json", self.history.state_dict())
        self.history.draw(folder.path / "frontier.png")
        return {
            "validation_accuracy": self.validate()[self.task.objective],
            "trained_on": "+".join(self.parts),
            **self.history.report(),
        }
