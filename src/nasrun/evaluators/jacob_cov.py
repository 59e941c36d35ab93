"""The score of NASWOT's first version (2006.04647v1): how similar the images' Jacobians are.

It follows the released code of 2101.08134.
"""

from __future__ import annotations

import torch

from nasrun.evaluators.untrained import Formula
from nasrun.supernet.stacked import StackedNetwork
from nasrun.tasks.base import Batch

K = 1e-5


class JacobCov(Formula):
    """- sum_i (log(l_i + k) + 1 / (l_i + k)) over eigenvalues l_i of the Jacobians' correlations.

    An image's Jacobian is the gradient of the sum of its logits by its pixels; k is 1e-5.
    """

    names = ("jacob_cov",)

    def __call__(self, network: StackedNetwork, batch: Batch) -> tuple[float]:
        images = batch[0].detach().clone().requires_grad_()
        logits, *_ = network(images)
        (jacobians,) = torch.autograd.grad(logits.sum(), images, materialize_grads=True)
        correlations = torch.corrcoef(jacobians.flatten(1).cpu().double())
        if not correlations.isfinite().all():  # a Jacobian has no variance
            return (float("nan"),)
        shifted = torch.linalg.eigvalsh(correlations) + K
        return (float(-(shifted.log() + 1 / shifted).sum()),)
