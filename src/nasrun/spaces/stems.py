"""Stems turn images into the two inputs of the first cell."""

from __future__ import annotations

from torch import Tensor, nn

from nasrun.spaces.layout import Stem


class NetworkStem(nn.Module):
    """Maps images to two inputs of `widths` channels; `halves_last` halves the second map again."""

    halves_last: bool
    widths: tuple[int, int]


class CifarStem(NetworkStem):
    """A 3x3 convolution to three times the channels; both inputs are its output."""

    halves_last = False

    def __init__(self, inputs: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 3 * channels, 3, stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(3 * channels)
        self.widths = (3 * channels, 3 * channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.bn(self.conv(x))
        return x, x


class ImageNetStem(NetworkStem):
    """Three stride-2 convolutions; the inputs have a quarter and an eighth of the image's side."""

    halves_last = True

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.quarter = nn.Sequential(
            nn.Conv2d(inputs, channels // 2, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(channels // 2),
            nn.ReLU(),
            nn.Conv2d(channels // 2, channels, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.eighth = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.widths = (channels, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        quarter = self.quarter(x)
        return quarter, self.eighth(quarter)


def stem(name: Stem, inputs: int, channels: int) -> NetworkStem:
    """Return the stem of a layout, for images of `inputs` channels."""
    if name == "imagenet":
        return ImageNetStem(inputs, channels)
    return CifarStem(inputs, channels, stride=2 if name == "cifar_half" else 1)
