"""Convolutional operations of DARTS (1806.09055) and NAS-Bench-201 (2001.00326): ReLU first."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.ops import op
from nasrun.ops.convolution import Convolution
from nasrun.ops.operation import Operation
from nasrun.ops.state import State, lies
from nasrun.ops.term import Term


class ReLUConvBN(Operation):
    """ReLU, k x k convolution, batch norm; with 1x1 it equalises the inputs of a DARTS cell."""

    def __init__(
        self, inputs: int, outputs: int, affine: bool, *, kernel: int = 1, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv = Convolution(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, affine=affine)
        self.pointwise = kernel == stride == 1

    def term(self, state: State) -> Term:
        rectified = state.rectified
        if self.pointwise:
            return Term(rectified, self.conv, self.bn)
        return Term(rectified.after(self.conv, spare=True), norm=self.bn)


def normal_conv(channels: int, stride: int, affine: bool, *, kernel: int) -> Operation:
    """Return ReLU, full k x k convolution, batch norm."""
    return ReLUConvBN(channels, channels, affine, kernel=kernel, stride=stride)


class FactorizedReduce(Operation):
    """Halve a map without losing pixels: two shifted stride-2 1x1 convolutions, concatenated.

    With an odd number of channels, the first convolution has one more; with a single channel there
    is no second one. With gradients, all reductions of a state share the pixels that they read;
    without, convolutions are strided, so that costs can be read from shapes (`nasrun.costs.cost`).
    """

    def __init__(self, inputs: int, outputs: int, affine: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.even = nn.Conv2d(inputs, outputs - half, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(inputs, half, 1, stride=2, bias=False) if half else None
        self.bn = nn.BatchNorm2d(outputs, affine=affine)

    def term(self, state: State) -> Term:  # (B, C, H, W) -> (B, C', ceil(H/2), ceil(W/2))
        x = state.rectified
        halves = [_strided(x, self.even, EVEN)]
        if self.odd is not None:
            halves.append(_strided(x, self.odd, ODD))
        return Term(State(torch.cat(halves, dim=1), spare=True), norm=self.bn)


class Parity(nn.Module):
    """The pixels of even or of odd rows and columns, equally many even if the map's size is odd."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, ceil(H/2), ceil(W/2))
        return self.shifted(x)[:, :, ::2, ::2].contiguous(memory_format=lies(x))

    def shifted(self, x: Tensor) -> Tensor:
        """Return the map from its first pixel, padded with zeros if its size is odd."""
        if self.first == 0:
            return x
        height, width = x.shape[2:]
        return F.pad(x[:, :, 1:, 1:], (0, width % 2, 0, height % 2))


EVEN, ODD = Parity(0), Parity(1)


def _strided(state: State, conv: nn.Conv2d, parity: Parity) -> Tensor:
    """Return the 1x1 convolution with stride 2 that reads the pixels of this parity."""
    if torch.is_grad_enabled():
        return F.conv2d(state.through(parity).map, conv.weight)
    return conv(parity.shifted(state.map))


class SeparableConv(Operation):
    """Twice (ReLU, depthwise k x k, pointwise, BN); only the first one has the stride."""

    def __init__(self, channels: int, stride: int, affine: bool, *, kernel: int) -> None:
        super().__init__()
        self.first = DepthwiseSeparable(channels, stride, affine, kernel=kernel)
        self.second = DepthwiseSeparable(channels, 1, affine, kernel=kernel)

    def term(self, state: State) -> Term:
        return replace(self.first.term(state), then=self.second)


class DepthwiseSeparable(Operation):
    """ReLU, depthwise k x k convolution, pointwise convolution, BN."""

    def __init__(
        self, channels: int, stride: int, affine: bool, *, kernel: int, dilation: int = 1
    ) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv(channels, kernel, stride, dilation)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels, affine=affine)

    def term(self, state: State) -> Term:
        return Term(state.rectified.after(self.depthwise), self.pointwise, self.bn)


class DepthwiseConv(nn.Conv2d):
    """One k x k filter per channel; the map's size is kept or divided by the stride; no bias.

    On a CPU, torch's gradients are slow (2.15): those of a dilated filter three to twenty times as
    slow as of a dense one, that of a 5 x 5 filter ten times as slow as of a 3 x 3 filter. With
    stride 1, `_Depthwise` computes them instead; with stride 2 and dilation 2, only pixels of even
    rows and columns are read, so it is a dense convolution of those.
    """

    def __init__(self, channels: int, kernel: int, stride: int, dilation: int) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H/stride, W/stride)
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(x)
        if self.stride == (1, 1):
            return _Depthwise.apply(x, self.weight, self.dilation[0])
        if self.dilation == (1, 1):
            return super().forward(x)
        even = x[:, :, ::2, ::2].contiguous(memory_format=lies(x))
        return F.conv2d(even, self.weight, padding=self.kernel_size[0] // 2, groups=self.groups)


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
        return _depthwise(x, weight, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = gradients
        x, weight = (saved.to(dy.dtype) for saved in ctx.saved_tensors)  # autocast: dy is bf16
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = _depthwise(dy, weight.flip(2, 3), ctx.dilation)
        if ctx.needs_input_grad[1]:
            if ctx.dilation == 2:
                dy, x = _parities(dy), _parities(x)
            dw = _filter_gradient(dy, x, weight.shape[-1])
        return dx, dw, None


def _depthwise(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(x, weight, padding=padding, dilation=dilation, groups=len(weight))


WIDE = 8
"""Maps of at least this side compute the gradient of a 5 x 5 filter in two halves."""


def _filter_gradient(dy: Tensor, x: Tensor, kernel: int) -> Tensor:
    """Return the gradient of a dense k x k filter, (C, 1, k, k), from that of the output, `dy`."""
    margin = kernel // 2
    if kernel <= 3 or x.shape[-1] < WIDE:
        return _columns(dy, x, kernel, (margin, margin))
    x = F.pad(x, (margin, margin))
    left, width = margin + 1, dy.shape[-1] + margin
    first = _columns(dy, x[..., :width], left, (margin, 0))
    second = _columns(dy, x[..., -width:], left, (margin, 0))  # the middle column again
    return torch.cat([first, second[..., 1:]], dim=3)


def _columns(dy: Tensor, x: Tensor, columns: int, padding: tuple[int, int]) -> Tensor:
    channels, rows = x.shape[1], 2 * padding[0] + 1
    like = x.new_empty(channels, 1, rows, columns)
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


class Identity(Operation):
    """The identity."""

    def term(self, state: State) -> Term:
        return Term(state)


@op("skip_connect")
def skip_connect(channels: int, stride: int, affine: bool) -> Operation:
    """Return the identity, or a factorised reduction if the map is halved."""
    return Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)


op("sep_conv_3x3")(partial(SeparableConv, kernel=3))
op("sep_conv_5x5")(partial(SeparableConv, kernel=5))
op("dil_conv_3x3")(partial(DepthwiseSeparable, kernel=3, dilation=2))
op("dil_conv_5x5")(partial(DepthwiseSeparable, kernel=5, dilation=2))
op("nor_conv_1x1")(partial(normal_conv, kernel=1))
op("nor_conv_3x3")(partial(normal_conv, kernel=3))
