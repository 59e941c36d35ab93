"""ZiCo (2301.11300): the mean of the gradients of a few batches relative to their deviation.

The released code differs: it never zeroes gradients, so its second batch's gradient is the sum of
both. As in that code, the deviation is that of the gradients; the paper's is that of their absolute
values.
"""

from __future__ import annotations

import torch

from nasrun.evaluators.untrained import Formula, gradients
from nasrun.supernet.stacked import StackedNetwork
from nasrun.tasks.base import Batch


class Zico(Formula):
    """sum_l log(sum_w mean |g_w| / std g_w) over the gradients of `batches` batches.

    The batches are equal parts of the batch that all formulas see (our reading). The inner sum runs
    over the weights whose gradient varies; a layer without such weights is left out.
    """

    names = ("zico",)

    def __init__(self, *, batches: int) -> None:
        if batches < 2:
            raise ValueError(f"batches={batches}: use 2 or more; one batch has no deviation")
        self.batches = batches
        self.least = 2 * batches

    def __call__(self, network: StackedNetwork, batch: Batch) -> tuple[float]:
        images, labels = batch
        size = len(images) // self.batches
        parts = [slice(n * size, (n + 1) * size) for n in range(self.batches)]
        found = [gradients(network, (images[part], labels[part])) for part in parts]
        total = 0.0
        for layer in zip(*found, strict=True):
            each = torch.stack(layer)
            deviation = each.std(0, correction=0)
            varies = deviation > 0
            if varies.any():
                ratios = each.abs().mean(0)[varies] / deviation[varies]
                total += float(ratios.sum().log())
        return (total,)
