"""What a network costs: parameters and multiply-adds."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Cost:
    """`params` and `macs` (multiply-adds of convolutions and linear layers, one image)."""

    params: int
    macs: int


def count(network: nn.Module, inputs: int, size: int) -> Cost:
    """The cost of a network at inference on square images; auxiliary heads are not counted.

    `inputs` is the number of channels, `size` the side in pixels. Nothing is computed: shapes are
    inferred on the meta device.
    """
    from torch.utils.flop_counter import FlopCounterMode

    shape_only = copy.deepcopy(network).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shape_only(torch.empty(1, inputs, size, size, device="meta"))
    return Cost(params(network), counter.get_total_flops() // 2)


def params(network: nn.Module) -> int:
    """The number of parameters, those of an auxiliary head left out."""
    return sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if not name.startswith("auxiliary")
    )
