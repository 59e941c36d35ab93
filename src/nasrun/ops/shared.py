"""Layers on a slice of a batch that compute as if on the whole: random numbers and batch norms.

`nn.SyncBatchNorm` needs a GPU, and has no place for the weights by which a supernet mixes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nasrun.ops.statistics import track, uses_batch
from nasrun.world import ALONE, World


class OfImages(nn.Module):
    """A module that draws random numbers for every image of the batch, which `world` shares."""

    world: World = ALONE


class Synchronised(nn.BatchNorm2d):
    """Batch norm by the statistics of the whole batch, of which `world` has slices.

    Outside of training, as when each process measures batches of its own, it is a batch norm.
    """

    world: World = ALONE

    @property
    def divided(self) -> bool:
        """Return whether the batch is divided and its statistics are used."""
        return self.world.part is not None and uses_batch(self)

    def forward(self, x: Tensor) -> Tensor:
        return scaled([self], x, self.weight, self.bias) if self.divided else super().forward(x)


@torch.compiler.disable
def scaled(
    norms: Sequence[nn.BatchNorm2d], x: Tensor, scale: Tensor | None, shift: Tensor | None
) -> Tensor:
    """Return the normalised map, times `scale` (K * C,) plus `shift` (K * C,).

    It has the channels of the K norms side by side; they share their settings and their world.
    """
    world, eps = world_of(norms[0]), norms[0].eps
    with torch.no_grad():
        mean, variance = united(world, *_moments(x))
        pixels = united_count(world, x.numel() // x.shape[1])
        track(norms, mean.view(len(norms), -1), variance.view(len(norms), -1), pixels)
    return _Scaled.apply(x, scale, shift, mean, variance, eps, pixels, world)


def world_of(norm: nn.BatchNorm2d) -> World:
    """Return the processes over whose images a norm's statistics are taken."""
    return norm.world if isinstance(norm, Synchronised) and norm.divided else ALONE


def united(world: World, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean (..., C) and variance of the whole batch from those of this slice.

    The variance may be a covariance (..., C, C). Deviations of the slices' means are added, which
    is precise (Chan et al., 1979); sums of squares would not be.
    """
    if (shares := world.shares(mean)) is None:
        return mean, variance
    both = world.stacked(torch.cat([mean.flatten(), variance.flatten()]))
    means, variances = both.split([mean.numel(), variance.numel()], dim=1)
    means, variances = means.view(-1, *mean.shape), variances.view(-1, *variance.shape)
    whole = _averaged(means, shares)
    apart = means - whole
    covaries = variance.dim() > mean.dim()
    square = apart[..., None] * apart[..., None, :] if covaries else apart.square()
    return whole, _averaged(variances + square, shares)


def _averaged(slices: Tensor, shares: Tensor) -> Tensor:
    """Return the average of the slices' values (P, ...) by their shares (P,).

    A matrix product would lose digits: autocast computes it in bf16.
    """
    return (slices * shares.view(-1, *[1] * (slices.dim() - 1))).sum(0)


def united_count(world: World, count: int) -> int:
    """Return the number of pixels in the whole batch from that in this slice."""
    part = world.part
    return count if part is None else count // (part.stop - part.start) * part.whole


class _Scaled(torch.autograd.Function):
    """A normalised map; its gradient includes the statistics of the whole batch."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        pixels: int,
        world: World,
    ) -> Tensor:
        ctx.save_for_backward(x, scale, mean, variance)
        ctx.eps, ctx.pixels, ctx.world = eps, pixels, world
        return F.batch_norm(x, mean, variance, scale, shift, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, mean, variance = ctx.saved_tensors
        inverse = (variance + ctx.eps).rsqrt()
        # on CUDA, it needs the saved statistics, and a scale for the gradients of both sums
        ones = torch.ones_like(mean) if scale is None else scale
        settings = (mean, variance, mean, inverse, False, ctx.eps, (True, True, True))
        back, d_scale, d_shift = torch.ops.aten.native_batch_norm_backward(
            gradient, x, ones, *settings
        )
        of_shift, of_scale = (sums / ctx.pixels for sums in ctx.world.total(d_shift, d_scale))
        factor = inverse if scale is None else inverse * scale
        slope = factor * inverse * of_scale
        # the statistics move with x: minus factor * (of_shift + (x - mean) * inverse * of_scale)
        back = torch.addcmul(back, x, _wide(-slope)).add_(_wide(slope * mean - factor * of_shift))
        needed = ctx.needs_input_grad
        return (
            back.to(x.dtype),
            d_scale if needed[1] else None,
            d_shift if needed[2] else None,
            *[None] * 5,
        )


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance (C,) of a map by the kernel of batch norm, which is the fastest."""
    eps = 1e-12
    wide = x.float() if x.device.type == "cpu" and x.dtype is torch.bfloat16 else x
    _, mean, inverse = torch.native_batch_norm(wide, None, None, None, None, True, 0.0, eps)
    return mean, (inverse.pow(-2) - eps).clamp_(min=0)


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None]  # (C,) to broadcast over a map
