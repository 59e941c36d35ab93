"""Base classes of tasks: data, loss and metric, and learners that train networks on them.

There are two kinds: an `ImageTask` provides batches and losses, so that a strategy or a recipe has
the training loop; a `PopulationTask` provides learners that train themselves for an interval.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from nasrun.budget import Budget
from nasrun.data.base import Data, Dataset
from nasrun.data.facts import Facts
from nasrun.data.splits import Part, Split
from nasrun.data.splits import Subset as Subset
from nasrun.networks import ImageClassifier, Network
from nasrun.stage import Metrics
from nasrun.tasks.confusion import Confusion
from nasrun.trained import Trained
from nasrun.world import Slice

Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W) and labels (B,)."""


class Sliced(NamedTuple):
    """This process's slice of a training batch; without a `part`, it is a whole batch."""

    images: Tensor
    labels: Tensor
    part: Slice | None = None


OptimizerFactory = Callable[[Iterable[Tensor]], torch.optim.Optimizer]

FUSED = (torch.optim.Adam, torch.optim.AdamW)
"""Optimizers that run with one kernel per step.

The fused SGD is not among them: it fails if a parameter gets its first gradient when others already
have momenta (torch 2.14), as candidates outside of the first sampled paths and new layers do.
"""


def optimizer_of(factory: OptimizerFactory, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """Return the factory's optimizer, fused on CUDA unless its settings say how it steps."""
    parameters = list(parameters)
    if isinstance(factory, partial) and factory.func in FUSED:
        free = not {"fused", "foreach", "capturable", "differentiable"} & set(factory.keywords)
        if free and all(parameter.is_cuda for parameter in parameters):
            factory = partial(factory, fused=True)
    return factory(parameters)


class Forward(Protocol):
    """Maps images (B, C, H, W) to a tuple of outputs: a network, or a supernet with a mixture."""

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]: ...


Forwards = Callable[[Tensor], Iterable[tuple[Tensor, ...]]]
"""Maps images to the outputs of several networks, or of a supernet with several mixtures."""

Track = Callable[[Iterable[Any], int], Iterable[Any]]
"""Takes items and their number, and returns the same items while it shows the progress."""


class Task(ABC):
    """Data, a loss and a metric to maximise; settings in the constructor, data with `begin`."""

    words: ClassVar[str]
    """Description of the task, for messages."""

    learns_from: ClassVar[type[Data]]
    """Class of the data that `begin` takes."""

    trains: ClassVar[type[Network]]
    """Class of the networks that it trains."""

    objective: str
    """Name of the metric in `evaluate` that is maximised."""

    inputs: int
    """Channels of an input, known after `begin`."""

    outputs: int
    """Width of an output, known after `begin`."""

    @abstractmethod
    def begin(self, dataset: Any, budget: Budget) -> None:
        """Receive the data and the budget; ValueError if the data cannot be read."""


class ImageTask(Task):
    """A task on batches of labelled images; the caller owns the training loop."""

    words = "a task on labelled images: task=classification"
    learns_from = Dataset
    trains = ImageClassifier

    dataset: Dataset
    """The images, known after `begin`."""

    budget: Budget
    """The budget, known after `begin`."""

    facts: Facts
    """Facts about the images, known after `begin`."""

    size: int
    """Side of an input in pixels, known after `begin`."""

    @abstractmethod
    def split(self, *parts: Part) -> Split:
        """Return the named parts of the data, concatenated, on the device."""

    @abstractmethod
    def subset(self, split: Split, count: int) -> Split:
        """Return a fixed stratified part of `count` images; ValueError if there are fewer."""

    @abstractmethod
    def batches(
        self,
        split: Split,
        batch_size: int,
        order: Tensor,
        generator: torch.Generator | None = None,
    ) -> Iterable[Sliced]:
        """Return augmented training batches in the given order (indices into the split).

        Each is this process's slice of a batch of `batch_size` images. `generator` draws the
        augmentation, on the CPU; `None` uses torch's global one.
        """

    @abstractmethod
    def loss(self, forward: Forward, batch: Sliced | Batch) -> Tensor:
        """Return the training loss of a new forward pass, a scalar.

        Its mean over all processes is the loss of the whole batch, and so is its gradient's.
        """

    def evaluate(
        self,
        forward: Forward,
        split: Split,
        batch_size: int,
        *,
        augmented: torch.Generator | None = None,
    ) -> Metrics:
        """Return the metrics on a whole split in stored order, without gradients or augmentation.

        The caller sets the network's mode. With a generator, `augmented`, training batches of the
        split are used instead, in random order.
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
        augmented: torch.Generator | None = None,
        track: Track | None = None,
    ) -> list[Metrics]:
        """Return what `evaluate` returns for several networks at once, batch by batch."""

    @abstractmethod
    def examine(self, forward: Forward, split: Split, batch_size: int) -> tuple[Metrics, Confusion]:
        """Return what `evaluate` returns and the answers by class, from one pass over the split."""

    @abstractmethod
    def learner(
        self, network: nn.Module, *, optimizer: OptimizerFactory, clip: float | None
    ) -> Learner:
        """Return a learner for this network; `clip` is the largest norm of a gradient."""


class Learner(ABC):
    """A network with its optimizers."""

    network: nn.Module

    @abstractmethod
    def train(self, batches: Iterable[Sliced | Batch], lr: float) -> Metrics:
        """Train one pass over the batches with this learning rate, and return the mean losses."""

    @abstractmethod
    def evaluate(self, split: Split, batch_size: int) -> Metrics:
        """Return the task's metrics of the network in evaluation mode."""

    @property
    @abstractmethod
    def delivered(self) -> nn.Module:
        """The network that is evaluated and kept: the trained one, or an average of it."""

    @property
    @abstractmethod
    def first_lr(self) -> float:
        """Learning rate that the optimizer was configured with."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return weights and optimizer state."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""


class MemberLearner(ABC):
    """A network that trains itself on its task, with torch's global random numbers."""

    network: nn.Module

    @abstractmethod
    def train_interval(self) -> Metrics:
        """Train one interval, whose length is a setting of the task, and return the mean losses."""

    @abstractmethod
    def evaluate(self) -> Metrics:
        """Return the metrics for selection, with the task's objective and without the test part."""

    @abstractmethod
    def test(self) -> Metrics:
        """Return the metrics that are reported at the end, on data that selection has not used."""

    @abstractmethod
    def show(self, path: Path) -> list[str]:
        """Draw pictures into files whose names begin with `path`, and return their names."""

    @abstractmethod
    def trained(self) -> Trained:
        """Return everything that the next interval depends on, except random numbers."""

    @abstractmethod
    def load(self, trained: Trained) -> None:
        """Continue from a training state; every name and shape must match."""


class PopulationTask(Task):
    """A task whose learners train themselves, many side by side, in separate processes.

    A begun task is sent to those processes, so it holds no large tensors.
    """

    words = (
        "a task whose members train themselves: task=gan, rl, rl_pixels, or classification with a "
        "file conf/task/members/STRATEGY.yaml"
    )
    score: ClassVar[str] = "validation_score"
    """Name of the objective as a score."""
    tested: ClassVar[str]
    """Name of the number that a test is judged by, among those of `MemberLearner.test`."""
    lowers_test: ClassVar[bool] = False
    """Whether a smaller number of that name is better."""

    @abstractmethod
    def check(self, network: nn.Module) -> None:
        """Raise ValueError if a network of this kind cannot learn the task."""

    @abstractmethod
    def learner(self, network: nn.Module) -> MemberLearner:
        """Return a learner that trains this network from its current weights."""

    @abstractmethod
    def needs(self, network: nn.Module, members: int, intervals: int) -> str:
        """Return the end of the message "needs ..." about an expensive population, else ""."""


class ImageMembersTask(PopulationTask):
    """A population's task on labelled images: a member is trained as on `images`, in batches."""

    words = (
        "a task whose members train themselves on images: classification with a file "
        "conf/task/members/STRATEGY.yaml"
    )
    images: ImageTask
    batch_size: int
    optimizer: OptimizerFactory
