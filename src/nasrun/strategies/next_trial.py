"""The choice of the next network as an engine's job, so that another network trains meanwhile."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

from nasrun.budget import Budget
from nasrun.costs.memory import network_bytes
from nasrun.genotype import Genotype
from nasrun.spaces.morph import MorphSpace
from nasrun.stage import Metrics
from nasrun.strategies.growth import Grown, Growth, Tried
from nasrun.strategies.members import Order, TrainMember
from nasrun.tasks.base import ImageMembersTask


@dataclass(frozen=True)
class Question:
    """What is known when a network is chosen; networks have at most `largest` parameters."""

    seed: int
    tried: tuple[Tried, ...]
    largest: int | None


@dataclass(frozen=True)
class Answer:
    """The chosen network, if any; `refused` ones needed too much memory, so `largest` is lower."""

    grown: Grown | None
    largest: int | None
    refused: int


@dataclass(frozen=True)
class Choose:
    """Lets a growth choose until the network's training fits into the memory of the budget."""

    growth: Growth
    space: MorphSpace
    task: ImageMembersTask
    budget: Budget

    def __call__(self, question: Question) -> Answer:
        generator = torch.Generator().manual_seed(question.seed)
        largest, refused = question.largest, 0
        while True:
            space = self.space if largest is None else replace(self.space, largest=largest)
            grown = self.growth.next(question.tried, space, generator)
            if grown is None or self.step_bytes(grown.genotype) <= self.budget.room:
                return Answer(grown, largest, refused)
            largest, refused = space.size(grown.genotype) - 1, refused + 1

    def step_bytes(self, genotype: Genotype) -> int:
        """Return the bytes that training and measuring a network needs, by shapes."""
        task = self.task
        return network_bytes(
            self.space,
            genotype,
            None,
            task.images,
            budget=self.budget,
            batch_size=task.batch_size,
            test_batch=2 * task.batch_size,
            optimizer=task.optimizer,
        )


@dataclass(frozen=True)
class TrainOrChoose:
    """The engine's job: train an interval of a network, or choose the next network."""

    train: TrainMember
    choose: Choose

    def __call__(self, order: Order | Question) -> tuple[Metrics | Answer, float]:
        """Return the result, and the seconds that it took."""
        started = time.perf_counter()
        result = self.choose(order) if isinstance(order, Question) else self.train(order)
        return result, time.perf_counter() - started
