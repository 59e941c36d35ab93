"""Scores from a short training of each architecture."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from nasrun.budget import Budget
from nasrun.context import Context
from nasrun.costs.memory import Shapes, network_bytes
from nasrun.divergence import Diverged, finite
from nasrun.engines.base import OnEngine, given
from nasrun.evaluators.base import Evaluator
from nasrun.genotype import Genotype
from nasrun.machine import one_thread
from nasrun.refusing import refuse_clip
from nasrun.schedules import Schedule
from nasrun.score import Score
from nasrun.spaces.layout import Layout, Stem
from nasrun.spaces.supernet import SupernetSpace
from nasrun.stage import Metrics, Rehearsal, Step, tracked, unseen
from nasrun.streams import Streams
from nasrun.tasks.base import ImageTask, Learner, OptimizerFactory, Split, Track

SPEED = "training_speed"
"""Name of the score by training losses: minus their mean."""


class FromScratch(Evaluator, OnEngine):
    """Trains each architecture from scratch for a few epochs and scores it on the validation part.

    With `speed_epochs`, the score is the training speed instead, for which no image is validated:
    minus the mean training loss of that many last epochs (Ru et al., 2006.04492). The engine trains
    several architectures side by side, each on one thread. An architecture whose training diverges
    gets the worst score; if all of a round diverge and no earlier one is sound, the settings are
    refused.
    """

    def __init__(
        self,
        *,
        epochs: int,
        batch_size: int,
        channels: int,
        layers: int,
        stem: Stem,
        optimizer: OptimizerFactory,
        schedule: Schedule,
        clip: float | None,
        speed_epochs: int | None,
    ) -> None:
        if epochs < 1 or batch_size < 2:
            raise ValueError(
                f"epochs={epochs} batch_size={batch_size}: "
                "use at least 1 epoch and at least 2 images per batch"
            )
        if speed_epochs is not None and not 1 <= speed_epochs <= epochs:
            raise ValueError(
                f"speed_epochs={speed_epochs} epochs={epochs}: use 1 to epochs, or "
                "null for the validation accuracy"
            )
        refuse_clip(clip=clip)
        self.epochs = epochs
        self.batch_size = batch_size
        self.layout = Layout(channels=channels, layers=layers, stem=stem)
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip = clip
        self.speed_epochs = speed_epochs
        self.any_sound = False

    scores = SupernetSpace  # the memory of the largest network is computed from it

    @property
    def on_engine(self) -> bool:
        return True

    @property
    def smallest_batch(self) -> float:
        return math.inf

    def begin(self, context: Context[SupernetSpace, ImageTask]) -> None:
        space, task, budget = context.space, context.task, context.budget
        self.engine, self.streams = given(context.engine), context.streams
        self.any_sound = False
        task.split("train"), task.split("validation")  # so that faults in them show now
        self.threads = budget.own_threads
        self.job = TrainFromScratch(
            space=space,
            task=task,
            budget=budget,
            layout=self.layout,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            schedule=self.schedule,
            clip=self.clip,
            speed_epochs=self.speed_epochs,
        )

    def step_bytes(self) -> int:
        return self.job.step_bytes()

    def __call__(self, genotype: Genotype) -> Score:
        (score,) = self.evaluate([genotype])
        return score

    def evaluate(
        self,
        genotypes: Sequence[Genotype],
        track: Track | None = None,
        *,
        epochs: int | None = None,
    ) -> list[Score]:
        """As `Evaluator.evaluate`; trains for `epochs`, or as the settings say if it is `None`."""
        length = self.epochs if epochs is None else epochs
        seeds = self.streams.numbers("candidates", len(genotypes))
        orders = [
            Trial(genotype.space, dict(genotype), length, seed)
            for genotype, seed in zip(genotypes, seeds, strict=True)
        ]
        results: Iterable[tuple[int, Metrics]] = self.engine.run(self.job, orders, self.threads)
        if track is not None:
            results = track(results, len(orders))
        found = dict(results)
        scores = [self.job.score(found[place]) for place in range(len(orders))]
        self.any_sound |= any(score.sound for score in scores)
        if len(scores) > 1 and not self.any_sound:
            keys = ("optimizer.lr", "clip")
            raise Diverged("the training of every candidate", {}, keys)
        return scores

    def state_dict(self) -> dict[str, Any]:
        return {"any_sound": self.any_sound}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.any_sound = state.get("any_sound", False)

    def rehearsal(
        self, genotype: Genotype, count: int, together: int, *, epochs: int | None = None
    ) -> Rehearsal:
        """As `Evaluator.rehearsal`; counts trainings that run side by side once.

        It runs on one thread, as each of the engine's processes does.
        """
        job, abreast = self.job, self.engine.side_by_side(self.threads)
        rounds, left = divmod(count, together)
        each = rounds * math.ceil(together / abreast) + math.ceil(left / abreast)
        learner = job.learner(genotype)

        def play(step: Step) -> None:
            with one_thread():
                job.train(learner, 0.0, self.streams, step)

        def rest() -> None:
            with one_thread():
                job.measure(learner)

        length = self.epochs if epochs is None else epochs
        return Rehearsal(each * length, play, each, rest if self.speed_epochs is None else None)


@dataclass(frozen=True)
class Trial:
    """An architecture to train, with the number of epochs and the seed."""

    space: str
    choices: Mapping[str, str]
    epochs: int
    seed: int


@dataclass(frozen=True)
class TrainFromScratch:
    """The engine's job: train one architecture and measure it on the validation part."""

    space: SupernetSpace
    task: ImageTask
    budget: Budget
    layout: Layout
    batch_size: int
    optimizer: OptimizerFactory
    schedule: Schedule
    clip: float | None
    speed_epochs: int | None

    def __call__(self, order: Trial) -> Metrics:
        self.budget.apply_in_process()
        streams = Streams(order.seed)
        with streams.aside("initialise"):
            learner = self.learner(Genotype(order.space, order.choices))
        lost = {SPEED if self.speed_epochs else self.task.objective: -math.inf}
        losses: list[float] = []
        for epoch in range(order.epochs):
            with streams.aside("train", epoch):
                means = self.train(learner, epoch / order.epochs, streams)
            if not finite(means, learner.network):
                return lost
            losses.append(means["train_loss"])
        if self.speed_epochs:
            return {SPEED: -statistics.fmean(losses[-self.speed_epochs :])}
        metrics = self.measure(learner)
        return metrics if finite(metrics) else lost

    def score(self, metrics: Metrics) -> Score:
        """Return the score of a training by its result."""
        if self.speed_epochs:
            return Score(SPEED, metrics[SPEED])
        return Score.validation(metrics, self.task.objective)

    def learner(self, genotype: Genotype) -> Learner:
        """Return a learner with a new network and its optimizer."""
        task = self.task
        network = self.space.network(
            genotype, inputs=task.inputs, outputs=task.outputs, layout=self.layout
        )
        return task.learner(network, optimizer=self.optimizer, clip=self.clip)

    def step_bytes(self) -> int:
        """Return the bytes that training or measuring the largest network needs, by shapes."""
        shapes = Shapes.of(self.space, self.task, self.budget, self.optimizer)
        return network_bytes(
            self.space,
            shapes.largest(self.batch_size),
            self.layout,
            self.task,
            budget=self.budget,
            batch_size=self.batch_size,
            test_batch=min(2 * self.batch_size, len(self._splits[1])),
            optimizer=self.optimizer,
        )

    def train(
        self, learner: Learner, progress: float, streams: Streams, step: Step = unseen
    ) -> Metrics:
        """Train one epoch and return the mean losses; `progress` is the share of epochs done."""
        images, _ = self._splits
        order = torch.randperm(len(images), generator=streams("order"))
        batches = self.task.batches(images, self.batch_size, order, streams("augment"))
        shown = tracked(batches, math.ceil(len(images) / self.batch_size), step)
        return learner.train(shown, self.schedule.at(progress, learner.first_lr))

    def measure(self, learner: Learner) -> Metrics:
        """Return the validation metrics."""
        return learner.evaluate(self._splits[1], 2 * self.batch_size)

    @cached_property
    def _splits(self) -> tuple[Split, Split]:
        """Training and validation part, read where the job runs, so that no images are sent."""
        return self.task.split("train"), self.task.split("validation")
