"""From a genotype to its validation metrics: by shared weights, by training, or from a table."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch

from nasrun.budget import Budget
from nasrun.genotype import Genotype
from nasrun.schedules import Schedule
from nasrun.spaces.base import Layout, SearchSpace, Stem, batch_statistics
from nasrun.stage import Metrics, Stage
from nasrun.tabular import Table, header
from nasrun.tasks.base import ImageTask, OptimizerFactory


class Evaluator(ABC):
    """`Genotype -> Metrics` on validation data; settings first, data with `begin`."""

    @property
    @abstractmethod
    def warm_up_rounds(self) -> int:
        """How often `warm_up` is to be called before the first evaluation."""

    @abstractmethod
    def begin(self, space: SearchSpace, task: ImageTask, budget: Budget) -> None:
        """Take the data; the task has begun."""

    @abstractmethod
    def warm_up(self, stage: Stage, progress: float) -> Metrics:
        """One round of preparation for the stage, `progress` of which is done."""

    @abstractmethod
    def __call__(self, genotype: Genotype) -> Metrics:
        """Validation metrics of an architecture."""

    @abstractmethod
    def report(self) -> dict[str, Any]:
        """What a search's `result.json` says of where its scores come from."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What the next evaluation depends on."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from such a state."""


class Inherited(Evaluator):
    """Weights of a supernet trained on uniformly drawn single paths (1902.07638, 1904.00420)."""

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
                "at least 1 round, at least 2 images a batch"
            )
        self.rounds = rounds
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip = clip

    @property
    def warm_up_rounds(self) -> int:
        return self.rounds

    def begin(self, space: SearchSpace, task: ImageTask, budget: Budget) -> None:
        self.space, self.task = space, task
        self.train, self.validation = task.split("train"), task.split("validation")
        self.device = budget.torch_device
        network = space.network(inputs=task.inputs, outputs=task.outputs)
        self.path = _SinglePath(network, space, self.device)
        self.learner = task.learner(self.path, optimizer=self.optimizer, clip=self.clip)

    def warm_up(self, stage: Stage, progress: float) -> Metrics:
        order = torch.randperm(len(self.train))
        steps = math.ceil(len(order) / self.batch_size)
        batches = stage.track(self.task.batches(self.train, self.batch_size, order), steps)
        return self.learner.train(batches, self.schedule.at(progress, self.learner.first_lr))

    def __call__(self, genotype: Genotype) -> Metrics:
        mixture = self.space.one_hot(genotype, self.device)
        with batch_statistics(self.path):
            return self.task.evaluate(
                lambda images: self.path.network(images, mixture),
                self.validation,
                4 * self.batch_size,
            )

    def report(self) -> dict[str, Any]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return self.learner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state)


class _SinglePath(torch.nn.Module):
    """A supernet that draws another architecture for every forward pass."""

    def __init__(self, network: torch.nn.Module, space: SearchSpace, device: torch.device) -> None:
        super().__init__()
        self.network, self.space, self.device = network, space, device

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.network(x, self.space.one_hot(self.space.sample(), self.device))


class Trained(Evaluator):
    """Weights trained from scratch on the training part for a few epochs."""

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
    ) -> None:
        if epochs < 1 or batch_size < 2:
            raise ValueError(
                f"epochs={epochs} batch_size={batch_size}: "
                "at least 1 epoch, at least 2 images a batch"
            )
        self.epochs = epochs
        self.batch_size = batch_size
        self.layout = Layout(channels=channels, layers=layers, stem=stem)
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip = clip

    @property
    def warm_up_rounds(self) -> int:
        return 0

    def begin(self, space: SearchSpace, task: ImageTask, budget: Budget) -> None:
        self.space, self.task = space, task
        self.train, self.validation = task.split("train"), task.split("validation")

    def warm_up(self, stage: Stage, progress: float) -> Metrics:
        raise AssertionError("training from scratch needs no warm-up")

    def __call__(self, genotype: Genotype) -> Metrics:
        task = self.task
        network = self.space.network(
            genotype, inputs=task.inputs, outputs=task.outputs, layout=self.layout
        )
        learner = task.learner(network, optimizer=self.optimizer, clip=self.clip)
        for epoch in range(self.epochs):
            order = torch.randperm(len(self.train))
            learner.train(
                task.batches(self.train, self.batch_size, order),
                self.schedule.at(epoch / self.epochs, learner.first_lr),
            )
        return learner.evaluate(self.validation, 4 * self.batch_size)

    def report(self) -> dict[str, Any]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to continue from: every architecture starts from scratch."""


class Tabular(Evaluator):
    """Validation accuracies that stand in a table: nothing is trained.

    A search with it has read the table, so it is no rival of one that has not: its report says so.
    """

    def __init__(self, *, table: str | None, column: str) -> None:
        if table is None:
            raise ValueError("table=null: needs one, space=nasbench201 space.table=FILE.csv")
        self.path, self.column = Path(table), column
        header(self.path, column)

    @property
    def warm_up_rounds(self) -> int:
        return 0

    def begin(self, space: SearchSpace, task: ImageTask, budget: Budget) -> None:
        self.space, self.table = space, Table.read(self.path)

    def warm_up(self, stage: Stage, progress: float) -> Metrics:
        raise AssertionError("a table needs no warm-up")

    def __call__(self, genotype: Genotype) -> Metrics:
        return {"accuracy": self.table.accuracy(self.space.render(genotype), self.column)}

    def report(self) -> dict[str, Any]:
        return {"note": f"scores are read from the table {self.path.name}, column {self.column}"}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to continue from: the table is read anew."""
