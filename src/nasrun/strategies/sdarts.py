"""SmoothDARTS (2002.05283): weights that do well in a neighbourhood of the architecture.

A supernet whose loss is flat around its mixture weights loses less when it is discretised. So the
weights descend the loss at perturbed mixture weights p + delta with |delta| <= eps, where delta is
random (RS) or maximises the loss (ADV). Alphas descend the validation loss at p, as in DARTS.

Where we differ from the released code: eps grows with the share of the search that is done at the
end of a round, so that it reaches `eps_end` in the last round, not only after it. Decided edges are
not perturbed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nasrun.machine import sent
from nasrun.strategies.descent import Search
from nasrun.strategies.levels import Level, Losses
from nasrun.supernet.relaxation import Stream
from nasrun.supernet.supernet import Supernet
from nasrun.world import ALONE, World

Loss = Callable[[Tensor], Tensor]


class Neighbour(ABC):
    """Finds mixture weights near given ones."""

    @abstractmethod
    def near(
        self, loss: Loss, supernet: Supernet, p: Tensor, eps: float, world: World = ALONE
    ) -> Tensor:
        """Return distributions (decisions, choices) from moving entries of `p` by at most `eps`.

        `loss(weights)` is the loss of the training batch, which `world` shares, at these mixture
        weights.
        """


@dataclass(frozen=True, kw_only=True)
class Smoothed(Level):
    """alpha <- descend L_val(w, p);  w <- descend L_train(w, p + delta), p = softmax(alpha).

    |delta| <= eps, which grows linearly from `eps_start` before the first round to `eps_end` in the
    last round of the search, and stays there while a selector tunes.
    """

    smooths = True
    neighbour: Neighbour
    eps_start: float
    eps_end: float

    def __post_init__(self) -> None:
        if not 0 <= self.eps_start <= self.eps_end <= 1:
            raise ValueError(
                f"eps_start={self.eps_start} eps_end={self.eps_end}: "
                "use 0 <= eps_start <= eps_end <= 1"
            )

    def eps(self, progress: float) -> float:
        """Return the radius in a round after which the share `progress` of the search is done."""
        return self.eps_start + (self.eps_end - self.eps_start) * progress

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        supernet = search.supernet
        val_loss = search.alphas_loss(val)
        search.update(alphas=val_loss)
        with torch.no_grad():
            p = supernet.relaxation.mean(supernet.logits).values

        def loss(weights: Tensor) -> Tensor:
            return search.loss(train, supernet.mixture(weights=weights))

        eps = self.eps(supernet.progress)
        train_loss = loss(self.neighbour.near(loss, supernet, p, eps, search.world))
        search.update(weights=train_loss)
        return {"train_loss": train_loss.detach(), "alpha_loss": val_loss.detach()}


@dataclass(frozen=True, kw_only=True)
class RandomNoise(Neighbour):
    """p + U(-eps, eps) in every entry, normalised again: SDARTS-RS."""

    def near(
        self, loss: Loss, supernet: Supernet, p: Tensor, eps: float, world: World = ALONE
    ) -> Tensor:
        return distributions(p + _uniform(p, eps, supernet.noise), supernet.missing)


@dataclass(frozen=True, kw_only=True)
class Adversarial(Neighbour):
    """Projected gradient ascent of the training loss from a random start: SDARTS-ADV.

    It takes `steps` steps of 2 eps / steps along the sign of the gradient, in evaluation mode with
    running statistics. If the loss is lower afterwards than at p, p is returned.
    """

    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}: use at least 1")

    def near(
        self, loss: Loss, supernet: Supernet, p: Tensor, eps: float, world: World = ALONE
    ) -> Tensor:
        missing, training = supernet.missing, supernet.training
        supernet.eval()
        try:
            with torch.no_grad():
                before = loss(p)
            q = distributions(p + _uniform(p, eps, supernet.noise), missing)
            for _ in range(self.steps):
                q.requires_grad_()
                own = torch.autograd.grad(loss(q), [q], materialize_grads=True)
                (gradient,) = world.averaged(own)
                moved = q.detach() + 2 * eps / self.steps * gradient.sign()
                q = distributions(p + (moved - p).clamp(-eps, eps), missing)
            with torch.no_grad():
                after, before = world.averaged([loss(q), before])
        finally:
            supernet.train(training)
        return torch.where(after < before, p, q)


def distributions(values: Tensor, missing: Tensor) -> Tensor:
    """Clamp rows to [0, 1] and normalise them; if a row is all zeros, its largest entry becomes 1.

    The largest entry is that before clamping. `missing` entries stay zero.
    """
    values = values.masked_fill(missing, -math.inf)
    cut = values.clamp(0, 1)
    empty = cut.sum(-1, keepdim=True) == 0
    largest = torch.zeros_like(cut).scatter(-1, values.argmax(-1, keepdim=True), 1.0)
    cut = torch.where(empty, largest, cut)
    return cut / cut.sum(-1, keepdim=True)


def _uniform(p: Tensor, eps: float, noise: Stream) -> Tensor:
    drawn = sent(torch.rand(p.shape, dtype=p.dtype, generator=noise), p.device)
    return eps * (2 * drawn - 1)
