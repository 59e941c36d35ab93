"""From alphas to mixture weights: what makes a choice differentiable.

An `alpha` is (decisions, choices); a choice that a decision does not have is -inf and gets weight
zero. `progress` in (0, 1] is the share of the search that the running round completes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


class Relaxation(ABC):
    """How alphas weigh the candidates of a training forward."""

    @abstractmethod
    def sample(self, alpha: Tensor, progress: float) -> Tensor:
        """Differentiable weights, (decisions, choices), rows summing to one."""

    def mean(self, alpha: Tensor) -> Tensor:
        """The probabilities of the choices, (decisions, choices): what evaluation mixes."""
        return torch.softmax(alpha, dim=-1)


@dataclass(frozen=True, kw_only=True)
class Softmax(Relaxation):
    """w = softmax(alpha): DARTS (1806.09055)."""

    def sample(self, alpha: Tensor, progress: float) -> Tensor:
        return self.mean(alpha)


@dataclass(frozen=True, kw_only=True)
class Concrete(Relaxation):
    """w = softmax((alpha + Gumbel) / tau): SNAS (1812.09926), soft, one sample a forward.

    tau falls linearly from `tau_start`, which no round uses, to `tau_end` in the last round.
    """

    tau_start: float
    tau_end: float

    def __post_init__(self) -> None:
        if not 0 < self.tau_end <= self.tau_start:
            raise ValueError(
                f"tau_end={self.tau_end} tau_start={self.tau_start}: 0 < tau_end <= tau_start"
            )

    def tau(self, progress: float) -> float:
        """The temperature of a round that completes this share of the search."""
        return self.tau_start + (self.tau_end - self.tau_start) * progress

    def sample(self, alpha: Tensor, progress: float) -> Tensor:
        uniform = torch.rand_like(alpha).clamp(min=torch.finfo(alpha.dtype).tiny)
        gumbel = -torch.log(-torch.log(uniform).clamp(max=-torch.finfo(alpha.dtype).eps))
        return torch.softmax((alpha + gumbel) / self.tau(progress), dim=-1)
