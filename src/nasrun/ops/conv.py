"""Convolutional operations of DARTS (1806.09055) and NAS-Bench-201 (2001.00326): ReLU first."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.ops import op
from nasrun.ops.convolution import Convolution
from nasrun.ops.depthwise import DepthwiseConv
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
