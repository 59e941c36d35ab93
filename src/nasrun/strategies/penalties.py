"""Terms of the alphas' loss that no image has a part in: what a network costs, priors on alphas."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from nasrun.spaces.supernet import Supernet
from nasrun.stage import Metrics
from nasrun.tasks.base import ImageTask


class Penalty(ABC):
    """A differentiable function of a supernet's alphas, added to the loss that they descend."""

    @abstractmethod
    def begin(self, supernet: Supernet, task: ImageTask) -> None:
        """Take the supernet, its weights on their device; the task has begun."""

    @abstractmethod
    def __call__(self) -> Tensor:
        """The term, a scalar, weighted; it may draw a sample of its own."""

    @abstractmethod
    def metrics(self) -> Metrics:
        """What a round logs of it."""
