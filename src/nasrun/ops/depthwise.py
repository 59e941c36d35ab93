"""Depthwise convolutions whose gradients are fast on a CPU.

torch's gradient of a depthwise filter is slow there (2.14 and 2.15): three to twenty times slower
for a dilated filter than for a dense one, ten times slower for a 5 x 5 filter than for a 3 x 3 one,
and more than forty times slower if the map is smaller than the filter, for which oneDNN has no fast
kernel. The convolution itself is slow, too, if a filter's outer weights always meet padding. Each
function here computes the same numbers by operations that are fast.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.ops.state import lies


class DepthwiseConv(nn.Conv2d):
    """One k x k filter per channel; the map's size is kept or divided by the stride; no bias.

    On a CPU, only those weights are used that reach from one pixel of the map to another, and
    `_Depthwise` computes the gradients at stride 1. With stride 2 and dilation 2, only pixels of
    even rows and columns are read, so it is a dense convolution of those. A step on the meta
    device does the same, for the prediction of memory; without gradients, it counts all weights.
    """

    def __init__(self, channels: int, kernel: int, stride: int, dilation: int = 1) -> None:
        if kernel % 2 == 0 or dilation not in (1, 2):
            raise ValueError(
                f"kernel={kernel} dilation={dilation}: use an odd kernel and a dilation of 1 or 2"
            )
        padding = dilation * (kernel // 2)
        super().__init__(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H/stride, W/stride)
        graded = torch.is_grad_enabled()
        if x.device.type != "cpu" and not (x.is_meta and graded):
            return super().forward(x)
        (stride, _), (dilation, _) = self.stride, self.dilation
        weight = _reaching(self.weight, max(x.shape[2:]), dilation)
        if not graded:
            return _depthwise(x, weight, stride, dilation)
        if stride == 1:
            return _Depthwise.apply(x, weight, dilation)
        if dilation == 1:
            return _dense(x, weight, stride)
        even = x[:, :, ::2, ::2].contiguous(memory_format=lies(x))
        return _dense(even, weight, 1)


def _reaching(weight: Tensor, side: int, dilation: int) -> Tensor:
    """Return the middle of the filters, without the weights that always meet padding."""
    beyond = weight.shape[-1] // 2 - (side - 1) // dilation
    return weight[:, :, beyond:-beyond, beyond:-beyond] if beyond > 0 else weight


def _depthwise(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(x, weight, None, stride, padding, dilation, len(weight))


def _dense(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return the convolution with a dense filter, padded before it if the map is too small."""
    margin = weight.shape[-1] // 2
    if min(x.shape[2:]) >= weight.shape[-1] + -margin % stride:
        return _depthwise(x, weight, stride, 1)
    return F.conv2d(F.pad(x, (margin,) * 4), weight, None, stride, groups=len(weight))


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution of stride 1 and dilation 1 or 2 that keeps the map's size.

    The gradient of the input is the convolution with the flipped filter. For the gradient of a
    dilated filter, the pixels of even and odd rows and columns, which never interact, become
    separate maps in the batch, so that the filter is dense.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.dilation = dilation
        ctx.save_for_backward(x, weight)
        return _depthwise(x, weight, 1, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = gradients
        x, weight = (saved.to(dy.dtype) for saved in ctx.saved_tensors)  # autocast: dy is bf16
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = _depthwise(dy, weight.flip(2, 3), 1, ctx.dilation)
        if ctx.needs_input_grad[1]:
            if ctx.dilation == 2:
                dy, x = _parities(dy), _parities(x)
            dw = _filter_gradient(dy, x, weight.shape[-1])
        return dx, dw, None


COLUMNS = 3
"""The most columns of a filter for which oneDNN's gradient is fast with every layout."""
WIDE = 8
"""The least side of maps for which wider filters are split into parts of so many columns."""


def _filter_gradient(dy: Tensor, x: Tensor, kernel: int) -> Tensor:
    """Return the gradient of a dense k x k filter, (C, 1, k, k), from that of the output, `dy`."""
    margin = kernel // 2
    if min(x.shape[2:]) < kernel:
        return _columns(dy, F.pad(x, (margin,) * 4), (kernel, kernel), (0, 0))
    if kernel <= COLUMNS or x.shape[-1] < WIDE:
        return _columns(dy, x, (kernel, kernel), (margin, margin))
    x, width = F.pad(x, (margin, margin)), dy.shape[-1] + COLUMNS - 1
    starts = range(0, kernel - 1, COLUMNS - 1)  # the last column of one part is in the next, too
    parts = [
        _columns(dy, x[..., start : start + width], (kernel, COLUMNS), (margin, 0))
        for start in starts
    ]
    return torch.cat([parts[0], *(part[..., 1:] for part in parts[1:])], dim=3)


def _columns(dy: Tensor, x: Tensor, size: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    channels = x.shape[1]
    like = x.new_empty(channels, 1, *size)
    return torch.ops.aten.convolution_backward(
        *(dy, x, like, None, [1, 1], list(padding), [1, 1], False, [0, 0], channels),
        [False, True, False],
    )[1]


def _parities(x: Tensor) -> Tensor:
    """Split even and odd rows and columns: (B, C, H, W) -> (4B, C, H/2, W/2)."""
    height, width = x.shape[2:]
    x = F.pad(x, (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else x
    x = x.permute(0, 2, 3, 1).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
    return x.permute(2, 4, 0, 1, 3, 5).flatten(0, 2).permute(0, 3, 1, 2)  # channels last
