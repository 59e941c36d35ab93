"""Pooling operations of cell spaces, without batch norm, which a space may add.

For the gradient of a pool, torch (2.15) keeps the whole input, although only its shape is needed,
and the positions of maxima as int64. On a CPU, ours keep no input, and positions as int16.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.ops import op
from nasrun.ops.operation import Operation
from nasrun.ops.state import State
from nasrun.ops.term import Term


class Pooling(Operation):
    """A pool, which all edges from a state share, and a `norm`, which each edge has for itself."""

    def __init__(self, pool: nn.Module, norm: nn.BatchNorm2d | None = None) -> None:
        super().__init__()
        self.pool = pool
        self.bn = norm

    def term(self, state: State) -> Term:
        return Term(state.through(self.pool), norm=self.bn)


class MaxPool(nn.MaxPool2d):
    """The largest of 3 x 3 pixels; padding is never the largest."""

    def __init__(self, stride: int) -> None:
        super().__init__(3, stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H/stride, W/stride)
        return _Maxima.apply(x, self.stride) if _frugal(x) else super().forward(x)


class AvgPool(nn.AvgPool2d):
    """The mean of 3 x 3 pixels; padding does not count."""

    def __init__(self, stride: int) -> None:
        super().__init__(3, stride, padding=1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H/stride, W/stride)
        return _Means.apply(x, self.stride) if _frugal(x) else super().forward(x)


@op("max_pool_3x3")
def max_pool_3x3(channels: int, stride: int, affine: bool) -> Operation:
    """Return max pooling over 3 x 3 pixels."""
    return Pooling(MaxPool(stride))


@op("avg_pool_3x3")
def avg_pool_3x3(channels: int, stride: int, affine: bool) -> Operation:
    """Return average pooling over 3 x 3 pixels; padding does not count."""
    return Pooling(AvgPool(stride))


def _frugal(x: Tensor) -> bool:
    return torch.is_grad_enabled() and x.device.type in ("cpu", "meta")


def _note(ctx: Any, x: Tensor, stride: int) -> None:
    """Store what the backward pass needs to know about the input."""
    ctx.shape, ctx.strides, ctx.stride = x.shape, x.stride(), stride


def _like(ctx: Any, dy: Tensor) -> Tensor:
    """Return an uninitialised tensor with the shape and memory layout of the input."""
    return torch.empty_strided(ctx.shape, ctx.strides, dtype=dy.dtype, device=dy.device)


class _Maxima(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int) -> Tensor:
        y, places = F.max_pool2d(x, 3, stride, padding=1, return_indices=True)
        _note(ctx, x, stride)
        ctx.save_for_backward(places.to(torch.int16 if x[0, 0].numel() <= 2**15 else torch.int32))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,), (places,), step = gradients, ctx.saved_tensors, [ctx.stride] * 2
        dx = torch.ops.aten.max_pool2d_with_indices_backward(
            dy, _like(ctx, dy), [3, 3], step, [1, 1], [1, 1], False, places.long()
        )
        return dx, None


class _Means(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int) -> Tensor:
        _note(ctx, x, stride)
        return F.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,), step = gradients, [ctx.stride] * 2
        dx = torch.ops.aten.avg_pool2d_backward(
            dy, _like(ctx, dy), [3, 3], step, [1, 1], False, False, None
        )
        return dx, None
