"""SWAP (2403.04161): how many distinct activation patterns a network's ReLU units have on a batch.

As in the released code, weights are drawn from N(0, 1) and the batch is small. That code averages
over 32 initialisations, we use one. Its optional regularisation, a bell curve over the number of
parameters around a wanted size, is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasrun.evaluators.codes import Codes
from nasrun.evaluators.untrained import Formula
from nasrun.supernet.stacked import StackedNetwork
from nasrun.tasks.base import Batch

BITS = 62
"""Bits per integer that holds a part of a pattern."""


class Swap(Formula):
    """Number of distinct columns of the codes (N, all ReLU units)."""

    names = ("swap",)

    def __call__(self, network: StackedNetwork, batch: Batch) -> tuple[float]:
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight)
        layers: list[Tensor] = []
        with torch.no_grad(), Codes(lambda on: layers.append(words(on).unique(dim=0))):
            network(batch[0])
        return (float(len(torch.cat(layers).unique(dim=0))),)


def words(on: Tensor) -> Tensor:
    """Pack the columns of (N, units), bool, into integers of 62 bits: (units, ceil(N / 62))."""
    parts = []
    for part in on.T.split(BITS, dim=1):
        power = torch.arange(part.shape[1], device=on.device)
        parts.append((part.long() << power).sum(1))
    return torch.stack(parts, dim=1)
