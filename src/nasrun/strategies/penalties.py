"""Terms of the alphas' loss that no image has a part in: what a network costs, priors on alphas."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from nasrun.spaces.relaxation import Dirichlet
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


class DirichletKL(Penalty):
    """scale * sum over decisions of KL(Dirichlet(c) || Dirichlet(1)): DrNAS (2006.10355).

    The anchor is the uniform distribution over mixtures. The released code's default is another
    anchor, the weight decay of alpha, which pulls c to 1 as well.
    """

    def __init__(self, *, scale: float) -> None:
        if not scale > 0:
            raise ValueError(f"scale={scale}: more than 0; penalty=null is none")
        self.scale = scale

    def begin(self, supernet: Supernet, task: Task) -> None:
        if not isinstance(supernet.relaxation, Dirichlet):
            name = type(supernet.relaxation).__name__
            raise ValueError(f"penalty=DirichletKL: needs relaxation=Dirichlet, here is {name}")
        self.supernet, self.relaxation = supernet, supernet.relaxation

    def __call__(self) -> Tensor:
        there = ~self.supernet.missing
        # with c = 1, where there is no choice, every term below is zero
        c = self.relaxation.concentration(self.supernet.alpha).masked_fill(~there, 1.0)
        n = there.sum(dim=-1).to(c.dtype)
        total = c.sum(dim=-1) - (~there).sum(dim=-1)
        pull = (c - 1) * (torch.digamma(c) - torch.digamma(total)[:, None])
        normaliser = torch.lgamma(total) - torch.lgamma(c).sum(dim=-1) - torch.lgamma(n)
        divergence = normaliser + pull.sum(dim=-1)  # (decisions,)
        decided = [self.supernet.space.rows[name] for name in self.supernet.fixed]
        kept = torch.ones_like(divergence)
        kept[decided] = 0.0
        return self.scale * (kept * divergence).sum()

    @torch.no_grad()
    def metrics(self) -> Metrics:
        return {"penalty": float(self())}
