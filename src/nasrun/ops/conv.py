"""Convolutional operations of the DARTS space (1806.09055): ReLU, convolution, batch norm.

No ReLU works in place, since all candidates of a state read the same tensor.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.ops import op


class ReLUConvBN(nn.Sequential):
    """ReLU, 1x1 convolution, batch norm: what makes a cell's inputs equally wide."""

    def __init__(self, inputs: int, outputs: int, affine: bool) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs, affine=affine),
        )


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
