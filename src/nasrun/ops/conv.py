"""Convolutional operations of DARTS (1806.09055) and NAS-Bench-201 (2001.00326): ReLU first.

No ReLU works in place, since all candidates of a state read the same tensor.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.ops import op


class ReLUConvBN(nn.Sequential):
    """ReLU, k x k convolution, batch norm; 1x1 is what makes a DARTS cell's inputs equally wide."""

    def __init__(
        self, inputs: int, outputs: int, affine: bool, *, kernel: int = 1, stride: int = 1
    ) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs, affine=affine),
        )


def normal_conv(channels: int, stride: int, affine: bool, *, kernel: int) -> nn.Module:
    """ReLU, full k x k convolution, batch norm."""
    return ReLUConvBN(channels, channels, affine, kernel=kernel, stride=stride)


class FactorizedReduce(nn.Module):
    """Halve a map without losing pixels: two shifted stride-2 1x1 convolutions side by side.

    Of an odd number of channels the first has one more; a single one has no second convolution.
    """

    def __init__(self, inputs: int, outputs: int, affine: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.relu = nn.ReLU()
        self.even = nn.Conv2d(inputs, outputs - half, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(inputs, half, 1, stride=2, bias=False) if half else None
        self.bn = nn.BatchNorm2d(outputs, affine=affine)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C', ceil(H/2), ceil(W/2))
        x = self.relu(x)
        if self.odd is None:
            return self.bn(self.even(x))
        height, width = x.shape[2:]
        # An odd map has one more even row than odd ones: the shifted half is padded by one.
        shifted = F.pad(x[:, :, 1:, 1:], (0, width % 2, 0, height % 2))
        return self.bn(torch.cat([self.even(x), self.odd(shifted)], dim=1))


class SeparableConv(nn.Sequential):
    """Two times (ReLU, depthwise k x k, pointwise, BN); the stride is the first one's."""

    def __init__(self, channels: int, stride: int, affine: bool, *, kernel: int) -> None:
        super().__init__(
            *_depthwise_separable(channels, stride, affine, kernel, dilation=1),
            *_depthwise_separable(channels, 1, affine, kernel, dilation=1),
        )


class DilatedConv(nn.Sequential):
    """ReLU, depthwise k x k with dilation 2, pointwise, BN: once."""

    def __init__(self, channels: int, stride: int, affine: bool, *, kernel: int) -> None:
        super().__init__(*_depthwise_separable(channels, stride, affine, kernel, dilation=2))


class DepthwiseConv(nn.Conv2d):
    """One k x k filter a channel, the map's size kept or divided by the stride; no bias.

    The CPU's backward pass of a dilated depthwise convolution is three to twenty times slower than
    that of a dense one (torch 2.15), so dilation 2 is computed without: `_Dilated` where the
    stride is 1; with stride 2 only pixels of even rows and columns are read at all.
    """

    def __init__(self, channels: int, kernel: int, stride: int, dilation: int) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H/stride, W/stride)
        if self.dilation != (2, 2) or x.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(x)
        if self.stride == (1, 1):
            return _Dilated.apply(x, self.weight)
        even = x[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last)
        return F.conv2d(even, self.weight, padding=self.kernel_size[0] // 2, groups=self.groups)


class _Dilated(torch.autograd.Function):
    """A depthwise convolution of stride 1 and dilation 2 whose backward pass runs dense ones.

    The gradient of the input is the convolution with the turned filter. For that of the filter,
    pixels of even and odd rows and columns, which never meet, stand side by side in the batch.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _dilated(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (dy,) = gradients
        x, weight = (saved.to(dy.dtype) for saved in ctx.saved_tensors)  # autocast: dy is bf16
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = _dilated(dy, weight.flip(2, 3))
        if ctx.needs_input_grad[1]:
            padding = weight.shape[-1] // 2
            dw = torch.ops.aten.convolution_backward(
                *(_parities(dy), _parities(x), weight, None),
                *([1, 1], [padding, padding], [1, 1], False, [0, 0], len(weight)),
                [False, True, False],
            )[1]
        return dx, dw


def _dilated(x: Tensor, weight: Tensor) -> Tensor:
    padding = 2 * (weight.shape[-1] // 2)
    return F.conv2d(x, weight, padding=padding, dilation=2, groups=len(weight))


def _parities(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (4B, C, H/2, W/2): the pixels of even and odd rows and columns apart."""
    height, width = x.shape[2:]
    x = F.pad(x, (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else x
    x = x.permute(0, 2, 3, 1).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
    return x.permute(2, 4, 0, 1, 3, 5).flatten(0, 2).permute(0, 3, 1, 2)  # channels last


def _depthwise_separable(
    channels: int, stride: int, affine: bool, kernel: int, dilation: int
) -> list[nn.Module]:
    return [
        nn.ReLU(),
        DepthwiseConv(channels, kernel, stride, dilation),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    ]


@op("skip_connect")
def skip_connect(channels: int, stride: int, affine: bool) -> nn.Module:
    """The identity, or a factorised reduction where the map is halved."""
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)


op("sep_conv_3x3")(partial(SeparableConv, kernel=3))
op("sep_conv_5x5")(partial(SeparableConv, kernel=5))
op("dil_conv_3x3")(partial(DilatedConv, kernel=3))
op("dil_conv_5x5")(partial(DilatedConv, kernel=5))
op("nor_conv_1x1")(partial(normal_conv, kernel=1))
op("nor_conv_3x3")(partial(normal_conv, kernel=3))
