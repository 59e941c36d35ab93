"""A sum of batch-normalised 1x1 convolutions that never computes the single maps.

For maps z_k (pixels as rows), matrices P_k and scales s_k

    out = sum_k s_k * (z_k P_k^T - mu_k) / sigma_k,

where mu_k = P_k E[z_k] and sigma_k^2 = diag(P_k Cov[z_k] P_k^T) + eps: the batch statistics of
z_k P_k^T follow from the first two moments of z_k. So each term is one matrix product with
s_k P_k / sigma_k, and its gradient needs only z_k. Batch norm is that of 1502.03167, including its
running statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nasrun.ops.shared import united, united_count, world_of
from nasrun.ops.statistics import column_sums, crossed_sums, track
from nasrun.ops.term import Term
from nasrun.world import World


def normalised(terms: Sequence[Term], weights: Tensor | None = None, *, add: bool) -> list[Tensor]:
    """Return the map of every term, times its weight; with `add` only their sum.

    `weights` has one number per term; `None` is all ones. All maps have the same shape, all norms
    the same width. Norms use the batch; the first terms have a norm, later ones may be plain maps.
    """
    states = [term.state for term in terms]
    norms = [term.norm for term in terms if term.norm is not None]
    first, normed, bare = norms[0], len(norms), len(terms) - len(norms)
    assert all(term.norm is None and term.linear is None for term in terms[normed:])
    z = [state.pixels for state in states]
    identity = torch.eye(z[0].shape[1], dtype=z[0].dtype, device=z[0].device)
    layers = [term.linear for term in terms]
    linear = torch.stack([identity if x is None else x.weight.flatten(1) for x in layers])
    with torch.no_grad():
        moments = [state.moments for state in states[:normed]]
        world = world_of(first)
        mean, covariance = united(world, *map(torch.stack, zip(*moments, strict=True)))
        pixels = united_count(world, len(z[0]))
        matrices = linear[:normed]
        mu = _each(matrices, mean)  # (K, C')
        variance = ((matrices @ covariance) * matrices).sum(-1).clamp_(min=0)
        track(norms, mu, variance, pixels)
        inverse = _longer((variance + first.eps).rsqrt_(), bare, 1.0)
        mu, mean, covariance = (_longer(each, bare, 0.0) for each in (mu, mean, covariance))
    scale = torch.ones_like(mu) if weights is None else weights[:, None].expand_as(mu)
    shift: Tensor | None = None
    if first.affine:
        shift = scale * _longer(_stacked(norms, "bias"), bare, 0.0)
        scale = scale * _longer(_stacked(norms, "weight"), bare, 1.0)
    kind = (add, normed, pixels, world)
    made = _Normalised.apply(scale, shift, linear, mu, inverse, mean, covariance, *kind, *z)
    b, _, h, w = states[0].map.shape
    return [y.view(b, h, w, -1).permute(0, 3, 1, 2) for y in made]  # (B, C', H, W), channels last


class _Normalised(torch.autograd.Function):
    """`normalised` on matrices; its gradient includes the batch statistics."""

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
        add: bool,
        normed: int,
        pixels: int,
        world: World,
        *z: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.add, ctx.normed, ctx.pixels, ctx.world = add, normed, pixels, world
        ctx.save_for_backward(scale, linear, mu, inverse, mean, covariance, *z)
        factor = scale * inverse  # (K, C')
        offset = -factor * mu if shift is None else shift - factor * mu
        folded = (factor[:, :, None] * linear).transpose(1, 2)  # (K, C, C')
        if not add:
            return tuple((x @ p).add_(c) for x, p, c in zip(z, folded, offset, strict=True))
        out = z[0] @ folded[0]
        for x, p in zip(z[1:], folded[1:], strict=True):
            out.addmm_(x, p)
        return (out.add_(offset.sum(0)),)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scale, linear, mu, inverse, mean, covariance, *z = ctx.saved_tensors
        each = [gradient.contiguous() for gradient in gradients]  # (N, C')
        total = torch.stack([column_sums(g) for g in each])
        if ctx.add:
            each = each * len(z)
        crossed = torch.stack([crossed_sums(g, x) for g, x in zip(each, z, strict=True)])
        # r = sum over pixels of g times the normalised map, which is the gradient of the scale
        r = ((crossed * linear).sum(-1) - mu * total) * inverse  # (K, C')
        factor = scale * inverse
        folded = factor[:, :, None] * linear
        d_shift = total.expand_as(r) if ctx.needs_input_grad[1] else None
        pixels = ctx.pixels
        share = (r * inverse / pixels)[:, :, None]
        d_linear: Tensor | None = None
        if ctx.needs_input_grad[2]:
            centred = total[:, :, None] * mean[:, None, :] + pixels * share * (linear @ covariance)
            d_linear = factor[:, :, None] * (crossed - centred)
        # a map moves the statistics of the whole batch, also those that other processes use
        r_of_all, total = ctx.world.total(r, total.expand_as(r))
        share = (r_of_all * inverse / pixels)[:, :, None]
        back = folded.transpose(1, 2) @ (share * linear)  # (K, C, C)
        offset = _each(back, mean) - _each(folded.transpose(1, 2), total / pixels)
        d_z: list[Tensor | None] = [None] * len(z)
        for k, (g, x, p) in enumerate(zip(each, z, folded, strict=True)):
            if ctx.needs_input_grad[len(ctx.needs_input_grad) - len(z) + k]:
                if k < ctx.normed:
                    d_z[k] = torch.addmm(offset[k], g, p).addmm_(x, back[k], alpha=-1)
                else:  # a plain map times its scale
                    d_z[k] = g * factor[k]
        return r, d_shift, d_linear, *[None] * 8, *d_z


def _longer(rows: Tensor, count: int, value: float) -> Tensor:
    """Return the rows with `count` rows full of `value` appended."""
    if count == 0:
        return rows
    return torch.cat([rows, rows.new_full((count, *rows.shape[1:]), value)])


def _stacked(norms: Sequence[nn.BatchNorm2d], name: str) -> Tensor:
    return torch.stack([getattr(norm, name) for norm in norms])  # (K, C)


def _each(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Multiply matrix k by vector k: (K, M, N) and (K, N) to (K, M)."""
    return (matrices @ vectors[:, :, None]).squeeze(-1)
