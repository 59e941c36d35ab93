"""Inverted residual blocks: MobileNetV2 (1801.04381), squeeze and excitation as in V3 (1905.02244).

A narrow block computes only the first channels of its output and leaves the others zero. So blocks
of all widths fit between the same two layers, and a block costs only what it computes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.ops.convolution import Convolution
from nasrun.ops.depthwise import DepthwiseConv

SQUEEZE = 4
"""The squeezed width is a quarter of the expanded one (1905.02244 sec. 5.3)."""


class MBConv(nn.Module):
    """1x1 expansion, k x k depthwise, optional squeeze and excitation, linear 1x1 projection.

    `width` in (0, 1] is the share of the output channels that is computed. The shortcut around the
    block belongs to the layer.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        affine: bool,
        *,
        kernel: int,
        expansion: int,
        width: float = 1.0,
        squeeze: bool = False,
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        computed = max(1, round(outputs * width))
        self.zeros = outputs - computed
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [
                nn.Conv2d(inputs, hidden, 1, bias=False),
                nn.BatchNorm2d(hidden, affine=affine),
                nn.ReLU6(inplace=True),
            ]
        layers += [
            DepthwiseConv(hidden, kernel, stride),
            nn.BatchNorm2d(hidden, affine=affine),
            nn.ReLU6(inplace=True),
        ]
        if squeeze:
            layers.append(SqueezeExcitation(hidden))
        layers += [
            nn.Conv2d(hidden, computed, 1, bias=False),
            nn.BatchNorm2d(computed, affine=affine),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C', H / stride, W / stride)
        y = self.layers(x)
        return F.pad(y, (0, 0, 0, 0, 0, self.zeros)) if self.zeros else y


class SqueezeExcitation(nn.Module):
    """Scales every channel by a gate in [0, 1] computed from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(1, channels // SQUEEZE)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.expand(F.relu(self.reduce(x.mean(dim=(2, 3), keepdim=True))))
        return x * F.hardsigmoid(gate)


class ProjectionShortcut(nn.Sequential):
    """A linear 1x1 convolution, the skip of a layer that changes the shape."""

    def __init__(self, inputs: int, outputs: int, stride: int, affine: bool) -> None:
        super().__init__(
            Convolution(inputs, outputs, 1, stride, bias=False),
            nn.BatchNorm2d(outputs, affine=affine),
        )
