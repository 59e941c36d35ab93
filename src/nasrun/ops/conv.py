"""Convolutional operations of DARTS (1806.09055) and NAS-Bench-201 (2001.00326): ReLU first.

No ReLU works in place, since all candidates of a state read the same tensor.
"""

from __future__ import annotations

from functools import partial

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
    """Halve a map without losing pixels: two shifted stride-2 1x1 convolutions side by side."""

    def __init__(self, inputs: int, outputs: int, affine: bool) -> None:
        super().__init__()
        if outputs % 2:
            raise ValueError(f"channels={outputs}: a reduction needs an even number of channels")
        self.relu = nn.ReLU()
        self.even = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, affine=affine)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C', ceil(H/2), ceil(W/2))
        x = self.relu(x)
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


def _depthwise_separable(
    channels: int, stride: int, affine: bool, kernel: int, dilation: int
) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        ),
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
