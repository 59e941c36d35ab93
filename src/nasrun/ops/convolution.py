"""A dense convolution whose gradient is right on every CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.ops.state import awaits_launches, lies


class Convolution(nn.Conv2d):
    """`nn.Conv2d`; with a 1x1 kernel and a stride, it first takes the pixels that are read.

    For the weight gradient of such a convolution with channels last and few input channels, oneDNN
    writes past its memory (its issue 6035): with AVX2 and torch 2.14.1, if they are fewer than 8.
    """

    def forward(self, x: Tensor) -> Tensor:
        strided = self.kernel_size == (1, 1) and self.stride != (1, 1)
        if not strided or awaits_launches(x) or not torch.is_grad_enabled():
            return super().forward(x)
        down, across = self.stride
        read = x[:, :, ::down, ::across].contiguous(memory_format=lies(x))
        return F.conv2d(read, self.weight, self.bias)
