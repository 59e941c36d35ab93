"""Terms of the alphas' loss that no image has a part in: what a network costs, priors on alphas."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from nasrun.limits import Limits
from nasrun.spaces.supernet import Supernet
from nasrun.stage import Metrics
from nasrun.tasks.base import Task


class Penalty(ABC):
    """A differentiable function of a supernet's alphas, added to the loss that they descend."""

    @abstractmethod
    def begin(self, supernet: Supernet, task: Task) -> None:
        """Take the supernet, its weights on their device; the task has begun."""

    @abstractmethod
    def __call__(self) -> Tensor:
        """The term, a scalar, weighted; it may draw a sample of its own."""

    @abstractmethod
    def metrics(self) -> Metrics:
        """What a round logs of it."""


class Within(Penalty):
    """weight * sum_i max(0, E[cost_i] / limit_i - 1): what the limits on the found network ask for.

    E is over independent choices with probabilities softmax(alpha), and over which edges are kept
    where a derived network drops some: each as likely as the other.
    """

    def __init__(self, limits: Limits, weight: float) -> None:
        self.limits = limits
        self.weight = weight

    def begin(self, supernet: Supernet, task: Task) -> None:
        self.supernet = supernet
        space, device = supernet.space, supernet.alpha.device
        kept = {
            name: min(1.0, limit.count / len(limit.decisions))
            for limit in space.limits
            for name in limit.decisions
        }
        self.costs: dict[str, tuple[float, Tensor]] = {}
        for key, most in self.limits.maxima.items():
            amounts = self.limits.amounts[key]
            table = torch.zeros(len(space.decisions), space.width)
            for row, decision in enumerate(space.decisions):
                for column, choice in enumerate(decision.choices):
                    cost = amounts.each[decision.name][choice]
                    table[row, column] = kept.get(decision.name, 1.0) * cost / most
            self.costs[key] = amounts.base / most, table.to(device)

    def __call__(self) -> Tensor:
        excess = [torch.relu(share - 1.0) for share in self._shares().values()]
        return self.weight * torch.stack(excess).sum()

    def metrics(self) -> Metrics:
        with torch.no_grad():
            shares = self._shares()
        return {
            f"expected_{key.removeprefix('max_')}": float(share) * self.limits.maxima[key]
            for key, share in shares.items()
        }

    def _shares(self) -> dict[str, Tensor]:
        """The expected costs as shares of their limits."""
        missing = self.supernet.missing
        p = torch.softmax(self.supernet.alpha.masked_fill(missing, -torch.inf), dim=1)
        return {key: base + (p * table).sum() for key, (base, table) in self.costs.items()}
