"""The gradient norm of an untrained network, summed over its layers (2101.08134)."""

from __future__ import annotations

import torch

from nasrun.evaluators.untrained import Formula, gradients
from nasrun.supernet.stacked import StackedNetwork
from nasrun.tasks.base import Batch


class GradNorm(Formula):
    """sum_l ||dL / dw_l||: Euclidean norm per layer's weights w_l; L is the cross entropy."""

    names = ("grad_norm",)

    def __call__(self, network: StackedNetwork, batch: Batch) -> tuple[float]:
        norms = [gradient.norm() for gradient in gradients(network, batch)]
        return (float(torch.stack(norms).sum()),)
