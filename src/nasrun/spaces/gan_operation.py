"""The operations of generators and discriminators, on edges that may be absent.

An absent edge's output is `None`, and sums leave it out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasrun.genotype import NONE, Genotype
from nasrun.ops.convolution import Convolution

OPERATIONS = (
    *("none", "skip_connect", "conv_1x1", "conv_3x3", "conv_5x5"),
    *("dil_conv_3x3", "dil_conv_5x5"),
)


class PreActivation(nn.Module):
    """ReLU and a convolution, a skip connection, or `none`, whose output is `None`."""

    def __init__(
        self, name: str, inputs: int, channels: int, stride: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.name, self.active = name, active
        if "conv" in name:
            kernel, dilation = int(name[-1]), 2 if name.startswith("dil") else 1
            padding = dilation * (kernel // 2)
            self.conv = Convolution(inputs, channels, kernel, stride, padding, dilation)

    def forward(self, x: Tensor | None) -> Tensor | None:
        if x is None or self.name == NONE:
            return None
        if self.name == "skip_connect":
            return x
        return self.conv(torch.relu(x) if self.active else x)


def chosen_in(genotype: Genotype, group: str) -> dict[str, str]:
    """Return the choices of a group by the last part of the decisions' names."""
    named = [(name.rpartition("/"), choice) for name, choice in genotype.items()]
    return {key: choice for (where, _, key), choice in named if where == group}


def summed(*terms: Tensor | None) -> Tensor | None:
    """Return the sum of the terms that are not `None`, or `None` if there are none."""
    there = [term for term in terms if term is not None]
    return sum(there[1:], start=there[0]) if there else None
