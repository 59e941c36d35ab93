"""A weighted sum of batch-normalised 1x1 convolutions, computed without any of the maps it adds.

For maps z_k (pixels as rows), matrices P_k and scales s_k

    out = sum_k s_k * (z_k P_k^T - mu_k) / sigma_k,

where mu_k = P_k E[z_k] and sigma_k^2 = diag(P_k Cov[z_k] P_k^T) + eps: the statistics of z_k P_k^T
follow from the first two moments of z_k. So each term is one matrix product with s_k P_k / sigma_k,
and its gradient needs z_k alone. Batch norm is that of 1502.03167, its running statistics included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from nasrun.ops.term import State


def normalised_sum(
    terms: Sequence[tuple[State, nn.Conv2d | None, nn.BatchNorm2d]], weights: Tensor | None
) -> Tensor:
    """sum_k weights_k * norm_k(conv_k(state_k)); null weighs all one.

    All maps have one shape, all 1x1 convolutions one, and all norms are in one mode.
    """
    states, convolutions, norms = zip(*terms, strict=True)
    z = [state.pixels for state in states]
    identity = torch.eye(z[0].shape[1], dtype=z[0].dtype, device=z[0].device)
    linear = torch.stack([identity if c is None else c.weight.flatten(1) for c in convolutions])
    batch = uses_batch(norms[0])
    with torch.no_grad():
        if batch:
            moments = [state.moments for state in states]
            mean = torch.stack([first for first, _ in moments])  # (K, C)
            covariance = torch.stack([second for _, second in moments])  # (K, C, C)
            mu = _each(linear, mean)
            variance = ((linear @ covariance) * linear).sum(-1).clamp(min=0)
            for norm, center, spread in zip(norms, mu, variance, strict=True):
                _track(norm, center, spread, len(z[0]))
        else:
            mean, covariance = linear.new_zeros(()), linear.new_zeros(())
            mu = torch.stack([norm.running_mean for norm in norms])
            variance = torch.stack([norm.running_var for norm in norms])
        inverse = (variance + norms[0].eps).rsqrt()
    scale = torch.ones_like(mu) if weights is None else weights[:, None].expand_as(mu)
    shift: Tensor | None = None
    if norms[0].affine:
        shift = (scale * torch.stack([norm.bias for norm in norms])).sum(0)
        scale = scale * torch.stack([norm.weight for norm in norms])
    out = _Sum.apply(scale, shift, linear, mu, inverse, mean, covariance, batch, *z)
    b, _, h, w = states[0].map.shape
    return out.view(b, h, w, -1).permute(0, 3, 1, 2)  # (B, C', H, W), channels last


class _Sum(torch.autograd.Function):
    """`normalised_sum` on matrices; its gradient goes through the statistics of a batch."""

    @staticmethod
    def forward(
        ctx: Any,
        scale: Tensor,
        shift: Tensor | None,
        linear: Tensor,
        mu: Tensor,
        inverse: Tensor,
        mean: Tensor,
        covariance: Tensor,
        batch: bool,
        *z: Tensor,
    ) -> Tensor:
        ctx.batch = batch
        ctx.save_for_backward(scale, linear, mu, inverse, mean, covariance, *z)
        factor = scale * inverse  # (K, C')
        offset = -(factor * mu).sum(0)
        if shift is not None:
            offset += shift
        folded = (factor[:, :, None] * linear).transpose(1, 2)  # (K, C, C')
        out = z[0] @ folded[0]
        for k in range(1, len(z)):
            out.addmm_(z[k], folded[k])
        return out.add_(offset)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = gradients  # (N, C')
        scale, linear, mu, inverse, mean, covariance, *z = ctx.saved_tensors
        total = column_sums(g)
        crossed = torch.stack(
            [crossed_sums(g, each) for each in z]
        )  # (K, C', C): g against every map
        # r = sum over pixels of g times the normalised map, which is the gradient of the scale
        r = ((crossed * linear).sum(-1) - mu * total) * inverse
        factor = scale * inverse
        folded = factor[:, :, None] * linear
        d_linear = factor[:, :, None] * crossed
        d_z: list[Tensor | None] = []
        if not ctx.batch:
            d_z = [g @ matrix for matrix in folded]
        else:
            share = (r * inverse / len(g))[:, :, None]
            d_linear -= factor[:, :, None] * (
                total[:, None] * mean[:, None, :] + len(g) * share * (linear @ covariance)
            )
            back = folded.transpose(1, 2) @ (share * linear)  # (K, C, C)
            offset = _each(back, mean) - (folded * (total / len(g))[:, None]).sum(1)
            for k, each in enumerate(z):
                d_z.append(torch.addmm(offset[k], g, folded[k]).addmm_(each, back[k], alpha=-1))
        d_shift = total if ctx.needs_input_grad[1] else None
        return r, d_shift, d_linear, None, None, None, None, None, *d_z


def column_sums(a: Tensor) -> Tensor:
    """(N, C) to (C,): as a product, three times as fast on a CPU as a sum over the rows."""
    return (a.new_ones(1, len(a)) @ a)[0]


def crossed_sums(a: Tensor, b: Tensor) -> Tensor:
    """a^T b, (N, C) and (N, D) to (C, D): in pieces, since a BLAS does not divide the long side."""
    pieces = math.gcd(len(a), 8)
    a, b = a.view(pieces, -1, a.shape[1]), b.view(pieces, -1, b.shape[1])
    return torch.bmm(a.transpose(1, 2), b).sum(0)


def uses_batch(norm: nn.BatchNorm2d) -> bool:
    """Whether a norm takes its statistics from the batch."""
    return norm.training or norm.running_mean is None


def advance(norm: nn.BatchNorm2d) -> float:
    """Count a batch where running statistics are kept; how much of them is replaced by it."""
    if not (norm.training and norm.track_running_stats):
        return 0.0
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    return 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum


def _track(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    share = advance(norm)
    if share:
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.lerp_(mean, share)
        norm.running_var.lerp_(variance * (count / max(1, count - 1)), share)


def _each(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Matrix k times vector k: (K, M, N) and (K, N) to (K, M)."""
    return (matrices @ vectors[:, :, None]).squeeze(-1)
