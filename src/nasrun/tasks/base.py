"""What is learned: data, loss and metric, and the learner that trains a network on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nasrun.budget import Budget
from nasrun.data.images import Dataset, Part, Split
from nasrun.data.images import Subset as Subset
from nasrun.stage import Metrics

Batch = tuple[Tensor, Tensor]
OptimizerFactory = Callable[[Iterable[Tensor]], torch.optim.Optimizer]


class Forward(Protocol):
    """Images (B, C, H, W) to a tuple of outputs: a network, or a supernet at some mixture."""

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]: ...


class Task(ABC):
    """Data, a loss and a metric of which bigger is better; settings first, data with `begin`."""

    objective: str
    """The name of the metric in `evaluate` that is maximised."""

    inputs: int
    """Channels of an input, known after `begin`."""

    outputs: int
    """Width of an output, known after `begin`."""

    size: int
    """Side of an input in pixels, known after `begin`."""

    @abstractmethod
    def begin(self, dataset: Dataset, budget: Budget) -> None:
        """Attach the data and the device; ValueError if the data cannot be read."""

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

    @abstractmethod
    def evaluate(
        self, forward: Forward, split: Split, batch_size: int, *, augmented: bool = False
    ) -> Metrics:
        """The metrics of a whole split in stored order, without gradients or augmentation.

        The caller has put the network into the mode that it wants to measure. `augmented` takes
        training batches of the split instead, in random order.
        """

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
