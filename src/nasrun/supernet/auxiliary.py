"""The auxiliary classifier that helps to train a deep network (DARTS, 1806.09055)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AuxiliaryHead(nn.Module):
    """DARTS's auxiliary classifier at two thirds of the depth, used in training only.

    On maps of the published sizes (8x8 for CIFAR, 7x7 for ImageNet) it is the published head;
    smaller maps are pooled adaptively, larger ones are averaged at the end. The ImageNet head has
    no batch norm after the last convolution, as in the released code, so that its weights load.
    """

    def __init__(self, channels: int, outputs: int, imagenet: bool) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(5, stride=2 if imagenet else 3, count_include_pad=False)
        self.least = 7 if imagenet else 8  # side from which the pooled map has 2 pixels or more
        self.small_pool = nn.AdaptiveAvgPool2d(2)
        self.features = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.Identity() if imagenet else nn.BatchNorm2d(768),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        pool = self.pool if min(x.shape[2:]) >= self.least else self.small_pool
        x = self.features(pool(x))
        return self.classifier(x.mean(dim=(2, 3)))
