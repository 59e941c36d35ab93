"""What is learned: data, loss and metric, and the learner that trains a network on them.

Two kinds: an `ImageTask` hands out batches and losses, so that a strategy or a recipe owns the
training; a `PopulationTask` hands out learners that train themselves, for as long as an interval
lasts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from nasrun.budget import Budget
from nasrun.data.facts import Facts
from nasrun.data.images import Data, Dataset
from nasrun.data.splits import Part, Split
from nasrun.data.splits import Subset as Subset
from nasrun.networks import ImageClassifier, Network
from nasrun.stage import Metrics
from nasrun.trained import Trained

Batch = tuple[Tensor, Tensor]
OptimizerFactory = Callable[[Iterable[Tensor]], torch.optim.Optimizer]

FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
"""Optimizers of which torch has a kernel for a whole step."""


def optimizer_of(factory: OptimizerFactory, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The factory's optimizer; on CUDA fused, unless the factory's settings say how it steps."""
    parameters = list(parameters)
    if isinstance(factory, partial) and factory.func in FUSED:
        free = not {"fused", "foreach", "capturable", "differentiable"} & set(factory.keywords)
        if free and all(parameter.is_cuda for parameter in parameters):
            factory = partial(factory, fused=True)
    return factory(parameters)


class Forward(Protocol):
    """Images (B, C, H, W) to a tuple of outputs: a network, or a supernet at some mixture."""

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]: ...


Forwards = Callable[[Tensor], Iterable[tuple[Tensor, ...]]]
"""Images to what each of several networks, or one supernet at several mixtures, makes of them."""

Track = Callable[[Iterable[Any], int], Iterable[Any]]
"""Things and how many they are to the same things, the progress shown."""


class Task(ABC):
    """Data, a loss and a metric of which bigger is better; settings first, data with `begin`."""

    words: ClassVar[str]
    """What the task is, in a user's words."""

    learns_from: ClassVar[type[Data]]
    """The kind of data that `begin` takes."""

    trains: ClassVar[type[Network]]
    """The kind of network that learns it."""

    objective: str
    """The name of the metric in `evaluate` that is maximised."""

    inputs: int
    """Channels of an input, known after `begin`."""

    outputs: int
    """Width of an output, known after `begin`."""

    @abstractmethod
    def begin(self, dataset: Any, budget: Budget) -> None:
        """Attach data of that kind and the device; ValueError if the data cannot be read."""


class ImageTask(Task):
    """A task on batches of labelled images: whoever trains a network on it owns the loop."""

    words = "a task on labelled images: task=classification"
    learns_from = Dataset
    trains = ImageClassifier

    dataset: Dataset
    """The images, known after `begin`."""

    facts: Facts
    """What a network needs to know of them, known after `begin`."""

    size: int
    """Side of an input in pixels, known after `begin`."""

    @abstractmethod
    def split(self, *parts: Part) -> Split:
        """The named parts of the data, concatenated, on the device."""

    @abstractmethod
    def subset(self, split: Split, count: int) -> Split:
        """A fixed stratified part of so many images; ValueError if there are not as many."""

    @abstractmethod
    def batches(self, split: Split, batch_size: int, order: Tensor) -> Iterable[Batch]:
        """Training batches in the given order (indices into the split), augmented."""

    @abstractmethod
    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        """The training loss of a fresh forward pass, a scalar."""

    def evaluate(
        self, forward: Forward, split: Split, batch_size: int, *, augmented: bool = False
    ) -> Metrics:
        """The metrics of a whole split in stored order, without gradients or augmentation.

        The caller has put the network into the mode that it wants to measure. `augmented` takes
        training batches of the split instead, in random order.
        """
        (metrics,) = self.compare(lambda x: [forward(x)], split, batch_size, augmented=augmented)
        return metrics

    @abstractmethod
    def compare(
        self,
        forwards: Forwards,
        split: Split,
        batch_size: int,
        *,
        augmented: bool = False,
        track: Track | None = None,
    ) -> list[Metrics]:
        """`evaluate` of several at once, batch by batch."""

    @abstractmethod
    def learner(
        self, network: nn.Module, *, optimizer: OptimizerFactory, clip: float | None
    ) -> Learner:
        """What trains this network on this task; `clip` is the largest norm of a gradient."""


class Learner(ABC):
    """A network with its optimizers."""

    network: nn.Module

    @abstractmethod
    def train(self, batches: Iterable[Batch], lr: float) -> Metrics:
        """One pass over the batches at this learning rate; the means of the losses."""

    @abstractmethod
    def evaluate(self, split: Split, batch_size: int) -> Metrics:
        """The task's metrics of the network in evaluation mode."""

    @property
    @abstractmethod
    def first_lr(self) -> float:
        """The learning rate that the optimizer was configured with."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Weights and optimizer state."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from such a state."""


class MemberLearner(ABC):
    """A network that trains itself on its task; random numbers are torch's global ones."""

    network: nn.Module

    @abstractmethod
    def train_interval(self) -> Metrics:
        """One interval of training, as long as the task's settings say; the means of its losses."""

    @abstractmethod
    def evaluate(self) -> Metrics:
        """What selection may know: the task's objective among others, nothing of the test."""

    @abstractmethod
    def test(self) -> Metrics:
        """What is reported at the end: measured afresh, on what selection has not seen."""

    @abstractmethod
    def show(self, path: Path) -> list[str]:
        """Draw what the network does into files whose names begin as the path; their names."""

    @abstractmethod
    def trained(self) -> Trained:
        """All that the next interval depends on but the random state."""

    @abstractmethod
    def load(self, trained: Trained) -> None:
        """Continue from such a state; every name and shape must fit."""


class PopulationTask(Task):
    """A task whose learners train themselves, many side by side, in processes of their own.

    A begun task is sent to those processes, so it holds no large tensors.
    """

    words = (
        "a task whose members train themselves: task=gan, rl, rl_pixels, or classification with a "
        "file conf/task/members/STRATEGY.yaml"
    )
    score: ClassVar[str] = "validation_score"
    """What selection calls the objective."""

    @abstractmethod
    def check(self, network: nn.Module) -> None:
        """ValueError if networks of this kind cannot learn the task."""

    @abstractmethod
    def learner(self, network: nn.Module) -> MemberLearner:
        """What trains this network from its present weights."""

    @abstractmethod
    def needs(self, network: nn.Module, members: int, intervals: int) -> str:
        """What a population of such networks will cost, in a user's words; empty if little."""
