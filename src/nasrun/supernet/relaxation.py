"""Relaxations: from alphas to mixture weights, so that choices become differentiable.

An `alpha` is (decisions, choices); a choice that a decision does not have is -inf and gets weight
zero. `progress` in (0, 1] is the share of the search that is done at the end of the round.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nasrun.machine import sent

Stream = torch.Generator | None
"""A CPU generator, which all processes of a search share; `None` is torch's global one."""


class Weights(NamedTuple):
    """The weights of all choices: `values` (decisions, choices), differentiable.

    `chosen` has the one column per row that runs; if it is `None`, every choice runs. With
    `adds_undrawn`, the weights of the other choices, which are zero but have a gradient, are added
    to the map of their decision; `None` does as the space's released code.
    """

    values: Tensor
    chosen: tuple[int, ...] | None = None
    adds_undrawn: bool | None = False


class Relaxation(ABC):
    """Turns alphas into weights; a sample of a `single` relaxation runs one choice per decision."""

    single: ClassVar[bool] = False
    mixes: ClassVar[bool] = True
    """Whether evaluation runs all choices, not the likeliest ones alone."""
    samples: ClassVar[bool] = False
    """Whether training draws its weights at random, not those that evaluation mixes."""

    @property
    def draws_per_cell(self) -> bool:
        """Whether every cell draws a sample of its own, not one forward pass."""
        return False

    @abstractmethod
    def sample(self, alpha: Tensor, progress: float, noise: Stream = None) -> Weights:
        """Return the weights of one training forward, drawn from `noise`."""

    @abstractmethod
    def mean(self, alpha: Tensor) -> Weights:
        """Return the weights that evaluation mixes."""


@dataclass(frozen=True, kw_only=True)
class Softmax(Relaxation):
    """w = softmax(alpha): DARTS (1806.09055)."""

    def sample(self, alpha: Tensor, progress: float, noise: Stream = None) -> Weights:
        return self.mean(alpha)

    def mean(self, alpha: Tensor) -> Weights:
        return Weights(torch.softmax(alpha, dim=-1))


@dataclass(frozen=True, kw_only=True)
class Concrete(Relaxation):
    """w = softmax((alpha + Gumbel) / tau): SNAS (1812.09926), soft.

    tau falls linearly from `tau_start` before the first round to `tau_end` in the last round. All
    cells share one sample per forward pass, or each draws its own with `per_cell`, SNAS's
    `--resample_layer`.
    """

    samples = True
    tau_start: float
    tau_end: float
    per_cell: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.tau_end <= self.tau_start:
            raise ValueError(
                f"tau_end={self.tau_end} tau_start={self.tau_start}: use 0 < tau_end <= tau_start"
            )

    @property
    def draws_per_cell(self) -> bool:
        return self.per_cell

    def tau(self, progress: float) -> float:
        """Return the temperature of a round after which the share `progress` is done."""
        return self.tau_start + (self.tau_end - self.tau_start) * progress

    def sample(self, alpha: Tensor, progress: float, noise: Stream = None) -> Weights:
        noisy = alpha + gumbel_like(alpha, noise)
        return Weights(torch.softmax(noisy / self.tau(progress), dim=-1))

    def mean(self, alpha: Tensor) -> Weights:
        return Weights(torch.softmax(alpha, dim=-1))

    def log_sample(self, alpha: Tensor, progress: float, noise: Stream = None) -> Tensor:
        """Return ln Z of a sample, which is finite even if Z underflows."""
        noisy = alpha + gumbel_like(alpha, noise)
        return torch.log_softmax(noisy / self.tau(progress), dim=-1)

    def log_density(self, alpha: Tensor, log_z: Tensor, progress: float) -> Tensor:
        """Return ln p_alpha(Z) of each row, (decisions,), given ln Z (1611.00712).

        ln (n-1)! + (n-1) ln tau + sum_k (alpha_k - (tau+1) ln Z_k)
        - n ln sum_k exp(alpha_k - tau ln Z_k), with n the number of the row's choices.
        """
        tau, there = self.tau(progress), alpha > -math.inf
        alpha, log_z = alpha.masked_fill(~there, 0.0), log_z.masked_fill(~there, 0.0)
        scores = alpha - tau * log_z
        n = there.sum(-1)
        total = torch.logsumexp(scores.masked_fill(~there, -math.inf), dim=-1)
        constant = torch.lgamma(n.to(alpha.dtype)) + (n - 1) * math.log(tau)
        return constant + (scores - log_z).sum(-1) - n * total


@dataclass(frozen=True, kw_only=True)
class OneHot(Relaxation):
    """Z one-hot, drawn from softmax(alpha): DSNAS (2002.09128). Only the drawn operations run.

    The weight of a drawn choice k is 1, with the gradient of ln p_k. So alpha gets
    dL/dZ_k * d ln p_k, a policy gradient whose reward is the edge's own share of the loss. A
    decision whose two largest probabilities differ by at least `margin` is settled: it runs its
    likeliest choice and its alphas get no gradient; `None` settles none. Evaluation runs the
    likeliest choices.
    """

    single = True
    mixes = False
    samples = True
    margin: float | None

    def __post_init__(self) -> None:
        if self.margin is not None and not 0 < self.margin <= 1:
            raise ValueError(
                f"margin={self.margin}: use more than 0 and at most 1, or null for never"
            )

    def sample(self, alpha: Tensor, progress: float, noise: Stream = None) -> Weights:
        logp = torch.log_softmax(alpha, dim=-1)
        p = logp.detach().exp()
        drawn = torch.multinomial(p.cpu(), 1, generator=noise).to(p.device)
        log_drawn = logp.gather(1, drawn)
        weight = (log_drawn - log_drawn.detach()).exp()
        if self.margin is not None:
            first, likeliest = p.max(dim=-1, keepdim=True)
            second = p.scatter(1, likeliest, 0.0).amax(dim=-1, keepdim=True)
            settled = first - second >= self.margin
            drawn = torch.where(settled, likeliest, drawn)
            weight = torch.where(settled, torch.ones_like(weight), weight)
        return _one_hot(drawn, weight, alpha)

    def mean(self, alpha: Tensor) -> Weights:
        likeliest = alpha.argmax(dim=-1, keepdim=True)
        return _one_hot(likeliest, torch.ones_like(likeliest, dtype=alpha.dtype), alpha)


def _one_hot(columns: Tensor, weights: Tensor, alpha: Tensor) -> Weights:
    """Return weights in the shape of alpha with one running column per row, (decisions, 1)."""
    values = torch.zeros_like(alpha).scatter(1, columns, weights)
    return Weights(values, tuple(columns.flatten().tolist()))


@dataclass(frozen=True, kw_only=True)
class HardGumbel(Relaxation):
    """The likeliest choice of a `soft` sample, with the soft sample's gradient: GDAS (1910.04465).

    w = one_hot(argmax z) + z - z' with z' a constant equal to z: only the drawn operation k runs,
    with weight exactly 1, and dL/dalpha is dL/dw_k times row k of z's Jacobian. With `adds_undrawn`
    the map is sum_j w_j + w_k o_k(x) over the others j != k: the same values, but their logits get
    the sum of dL/dmap as gradient, so that they are trained even where k is `none`. `None` does as
    the released code of the space (AutoDL-Projects: only in NAS-Bench-201's cell). Evaluation mixes
    softmax(alpha), so that a masked candidate is missed in proportion to its probability; training
    never uses such a mixture.
    """

    single = True
    samples = True
    soft: Concrete
    adds_undrawn: bool | None = None

    @property
    def draws_per_cell(self) -> bool:
        return self.soft.per_cell

    def sample(self, alpha: Tensor, progress: float, noise: Stream = None) -> Weights:
        soft = self.soft.sample(alpha, progress, noise).values
        drawn = soft.argmax(dim=-1)
        hard = torch.zeros_like(soft).scatter(1, drawn[:, None], 1.0)
        values = hard + (soft - soft.detach())
        return Weights(values, tuple(drawn.tolist()), self.adds_undrawn)

    def mean(self, alpha: Tensor) -> Weights:
        return self.soft.mean(alpha)


@dataclass(frozen=True, kw_only=True)
class Dirichlet(Relaxation):
    """w ~ Dirichlet(c), c = elu(alpha) + 1: DrNAS (2006.10355). Evaluation mixes c / sum c.

    Samples are gammas divided by their sum, so that the gradient is pathwise and a choice that a
    decision does not have stays out of the sum.
    """

    samples = True

    def concentration(self, alpha: Tensor) -> Tensor:
        """Return c > 0, zero for a choice that a decision does not have."""
        return F.elu(alpha) + 1

    def sample(self, alpha: Tensor, progress: float, noise: Stream = None) -> Weights:
        missing = alpha == -math.inf
        concentration = self.concentration(alpha).masked_fill(missing, 1.0)
        if alpha.device.type == "mps":  # which draws no gammas
            concentration = concentration.cpu()
        gammas = torch._standard_gamma(concentration, _there(alpha.device, noise))
        gammas = gammas.to(alpha.device, copy=True)
        gammas.detach().clamp_(min=torch.finfo(gammas.dtype).tiny)  # as `Gamma.rsample` does
        # softmax(ln g) is g / sum g, without dividing by zero where all of a row are tiny
        return Weights(torch.softmax(gammas.log().masked_fill(missing, -math.inf), dim=-1))

    def mean(self, alpha: Tensor) -> Weights:
        concentration = self.concentration(alpha)
        return Weights(concentration / concentration.sum(dim=-1, keepdim=True))


def _there(device: torch.device, noise: Stream) -> Stream:
    """Return a generator on the device, a GPU's seeded by `noise`: nothing waits for its queue."""
    if device.type != "cuda":
        return noise
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=noise)))


def gumbel_like(alpha: Tensor, noise: Stream) -> Tensor:
    """Return standard Gumbel noise; alpha + noise is largest at k with probability softmax_k."""
    uniform = torch.rand(alpha.shape, dtype=alpha.dtype, generator=noise)
    uniform = sent(uniform, alpha.device).clamp(min=torch.finfo(alpha.dtype).tiny)
    return -torch.log(-torch.log(uniform).clamp(max=-torch.finfo(alpha.dtype).eps))
