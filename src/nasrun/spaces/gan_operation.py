"""What generators and discriminators are made of: an operation on an edge that may be absent.

The answer of an operation is `None` where there is nothing: a sum leaves it out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasrun.genotype import NONE, Genotype

OPERATIONS = (
    *("none", "skip_connect", "conv_1x1", "conv_3x3", "conv_5x5"),
    *("dil_conv_3x3", "dil_conv_5x5"),
)


class PreActivation(nn.Module):
    """ReLU and a convolution, nothing but a skip, or nothing at all: then the answer is None."""

    def __init__(
        self, name: str, inputs: int, channels: int, stride: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.name, self.active = name, active
        if "conv" in name:
            kernel, dilation = int(name[-1]), 2 if name.startswith("dil") else 1
            padding = dilation * (kernel // 2)
            self.conv = nn.Conv2d(inputs, channels, kernel, stride, padding, dilation)

    def forward(self, x: Tensor | None) -> Tensor | None:
        if x is None or self.name == NONE:
            return None
        if self.name == "skip_connect":
            return x
        return self.conv(torch.relu(x) if self.active else x)


def chosen_in(genotype: Genotype, group: str) -> dict[str, str]:
    """The decisions of a group by their last word."""
    named = [(name.rpartition("/"), choice) for name, choice in genotype.items()]
    return {key: choice for (where, _, key), choice in named if where == group}


def summed(*terms: Tensor | None) -> Tensor | None:
    """The sum of the tensors that are there, None without any."""
    there = [term for term in terms if term is not None]
    return sum(there[1:], start=there[0]) if there else None
