"""SNIP (1810.02340) as a score of networks (2101.08134): the sensitivity of the loss to weights."""

from __future__ import annotations

import torch

from nasrun.evaluators.untrained import Formula, gradients, weights
from nasrun.supernet.stacked import StackedNetwork
from nasrun.tasks.base import Batch


class Snip(Formula):
    """sum_w |w dL / dw|, where L is the cross entropy."""

    names = ("snip",)

    def __call__(self, network: StackedNetwork, batch: Batch) -> tuple[float]:
        pairs = zip(weights(network), gradients(network, batch), strict=True)
        return (float(torch.stack([(w.detach() * g).abs().sum() for w, g in pairs]).sum()),)
