"""Scores from the weights of a supernet that all architectures share."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from nasrun.context import Context
from nasrun.costs.memory import Shapes
from nasrun.divergence import Diverged, finite
from nasrun.evaluators.base import Evaluator
from nasrun.evaluators.samplers import PathSampler
from nasrun.genotype import Genotype
from nasrun.keyed import keyed
from nasrun.refusing import refuse_clip
from nasrun.schedules import Schedule
from nasrun.score import Score
from nasrun.spaces.supernet import SupernetSpace, batch_statistics
from nasrun.stage import Metrics, Stage
from nasrun.streams import Streams
from nasrun.tasks.base import ImageTask, OptimizerFactory, Split


class Inherited(Evaluator):
    """Weights of a supernet trained on single paths, which the `sampler` draws (1902.07638).

    A score is that on `images` validation images, a fixed stratified part; null is all.
    """

    scores = SupernetSpace

    def __init__(
        self,
        *,
        rounds: int,
        batch_size: int,
        optimizer: OptimizerFactory,
        schedule: Schedule,
        clip: float | None,
        sampler: PathSampler,
        images: int | None,
    ) -> None:
        if rounds < 1 or batch_size < 2:
            raise ValueError(
                f"rounds={rounds} batch_size={batch_size}: "
                "use at least 1 round and at least 2 images per batch"
            )
        if images is not None and images < 1:
            raise ValueError(f"images={images}: use at least 1, or null for all")
        refuse_clip(clip=clip)
        self.rounds = rounds
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip = clip
        self.sampler = sampler
        self.images = images

    @property
    def warm_up_rounds(self) -> int:
        return self.rounds

    @property
    def smallest_batch(self) -> float:
        return self.batch_size

    def check(self, task: ImageTask) -> None:
        self._part(task)

    def _part(self, task: ImageTask) -> Split:
        """Return the validation images that scores are measured on."""
        validation = task.split("validation")
        if self.images is None:
            return validation
        with keyed("evaluator"):
            return task.subset(validation, self.images)

    def begin(self, context: Context[SupernetSpace, ImageTask]) -> None:
        space, task, budget = context.space, context.task, context.budget
        self.space, self.task, self.streams = space, task, context.streams
        self.train, self.validation = task.split("train"), task.split("validation")
        budget.refuse_thin(len(self.train), self.batch_size)
        self.measured = self._part(task)
        self.device, self.budget = budget.torch_device, budget
        network = space.network(inputs=task.inputs, outputs=task.outputs)
        self.sampler.begin(space, self.streams("paths"))
        self.path = _SinglePath(network, space, self.sampler, self.streams, self.device)
        self.learner = task.learner(self.path, optimizer=self.optimizer, clip=self.clip)

    def warm_up(self, stage: Stage, progress: float) -> Metrics:
        order = torch.randperm(len(self.train), generator=self.streams("order"))
        steps = math.ceil(len(order) / self.batch_size)
        batches = self.task.batches(self.train, self.batch_size, order, self.streams("augment"))
        lr = self.schedule.at(progress, self.learner.first_lr)
        losses = self.learner.train(stage.track(batches, steps), lr)
        if not finite(losses, self.path):
            raise Diverged("the warm-up", losses, ("optimizer.lr", "clip"))
        return {**losses, **self.sampler.report()}

    @property
    def shared_score(self) -> Callable[[Genotype], Score]:
        return partial(self._score, split=self.validation)

    def __call__(self, genotype: Genotype) -> Score:
        return self._score(genotype, self.measured)

    def _score(self, genotype: Genotype, split: Split) -> Score:
        mixture = self.space.one_hot(genotype, self.device)
        with batch_statistics(self.path):
            metrics = self.task.evaluate(
                lambda images: self.path.network(images, mixture),
                split,
                4 * self.batch_size,
            )
        return Score.validation(metrics, self.task.objective)

    def step_bytes(self) -> int:
        shapes = Shapes.of(self.space, self.task, self.budget, self.optimizer)
        path = {name: (choice,) for name, choice in shapes.largest(self.batch_size).items()}
        idle = shapes.weight_bytes({}) - shapes.weight_bytes(path)
        together = min(4 * self.batch_size, len(self.validation))
        return idle + shapes.step(path, self.batch_size, together)

    def state_dict(self) -> dict[str, Any]:
        return {**self.learner.state_dict(), "sampler": self.sampler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state)
        self.sampler.load_state_dict(state.get("sampler", {}))


class _SinglePath(torch.nn.Module):
    """A supernet that runs a newly sampled architecture in every forward pass."""

    def __init__(
        self,
        network: torch.nn.Module,
        space: SupernetSpace,
        sampler: PathSampler,
        streams: Streams,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.network, self.space, self.sampler = network, space, sampler
        self.streams, self.device = streams, device

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        drawn = self.sampler.draw(self.streams("paths"))
        return self.network(x, self.space.one_hot(drawn, self.device))
