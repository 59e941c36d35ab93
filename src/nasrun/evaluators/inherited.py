"""Scores by the weights of a supernet that all architectures share."""

from __future__ import annotations

import math
from typing import Any

import torch

from nasrun.context import Context
from nasrun.costs.memory import Shapes
from nasrun.divergence import Diverged, finite
from nasrun.evaluators.base import Evaluator
from nasrun.genotype import Genotype
from nasrun.schedules import Schedule
from nasrun.score import Score
from nasrun.spaces.supernet import SupernetSpace, batch_statistics
from nasrun.stage import Metrics, Stage
from nasrun.tasks.base import ImageTask, OptimizerFactory


class Inherited(Evaluator):
    """Weights of a supernet trained on uniformly drawn single paths (1902.07638, 1904.00420)."""

    scores = SupernetSpace

    def __init__(
        self,
        *,
        rounds: int,
        batch_size: int,
        optimizer: OptimizerFactory,
        schedule: Schedule,
        clip: float | None,
    ) -> None:
        if rounds < 1 or batch_size < 2:
            raise ValueError(
                f"rounds={rounds} batch_size={batch_size}: "
                "use at least 1 round and at least 2 images per batch"
            )
        self.rounds = rounds
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip = clip

    @property
    def warm_up_rounds(self) -> int:
        return self.rounds

    def begin(self, context: Context[SupernetSpace, ImageTask]) -> None:
        space, task, budget = context.space, context.task, context.budget
        self.space, self.task = space, task
        self.train, self.validation = task.split("train"), task.split("validation")
        self.device, self.budget = budget.torch_device, budget
        network = space.network(inputs=task.inputs, outputs=task.outputs)
        self.path = _SinglePath(network, space, self.device)
        self.learner = task.learner(self.path, optimizer=self.optimizer, clip=self.clip)

    def warm_up(self, stage: Stage, progress: float) -> Metrics:
        order = torch.randperm(len(self.train))
        steps = math.ceil(len(order) / self.batch_size)
        batches = stage.track(self.task.batches(self.train, self.batch_size, order), steps)
        losses = self.learner.train(batches, self.schedule.at(progress, self.learner.first_lr))
        if not finite(losses, self.path):
            raise Diverged("the warm-up", losses, ("optimizer.lr", "clip"))
        return losses

    def __call__(self, genotype: Genotype) -> Score:
        mixture = self.space.one_hot(genotype, self.device)
        with batch_statistics(self.path):
            metrics = self.task.evaluate(
                lambda images: self.path.network(images, mixture),
                self.validation,
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
        return self.learner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state)


class _SinglePath(torch.nn.Module):
    """A supernet that draws another architecture for every forward pass."""

    def __init__(
        self, network: torch.nn.Module, space: SupernetSpace, device: torch.device
    ) -> None:
        super().__init__()
        self.network, self.space, self.device = network, space, device

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.network(x, self.space.one_hot(self.space.sample(), self.device))
