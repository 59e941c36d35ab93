"""NASWOT (2006.04647): how much an untrained network's ReLU activations differ between images.

Every ReLU that runs counts. The released code intends to count only those that its backward pass
reaches, but it reaches all: an edge without an operation multiplies by zero there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nasrun.evaluators.codes import Codes, agreements
from nasrun.evaluators.untrained import Formula
from nasrun.supernet.stacked import StackedNetwork
from nasrun.tasks.base import Batch


class Naswot(Formula):
    """log |det K| with K_ij = N_A - hamming(c_i, c_j) for the codes c of all N_A ReLU units.

    K is the sum of its parts by layers. Two images with the same code make K singular; the score is
    then minus infinity.
    """

    names = ("naswot",)

    def __call__(self, network: StackedNetwork, batch: Batch) -> tuple[float]:
        images, _ = batch
        kernel = torch.zeros(len(images), len(images), dtype=torch.float64)

        with torch.no_grad(), Codes(lambda on: kernel.add_(agreements(on))):
            network(images)
        return (log_determinant(kernel),)


def log_determinant(kernel: Tensor) -> float:
    """Return log |det K| of a positive semidefinite matrix, minus infinity if it is singular."""
    eigenvalues = torch.linalg.eigvalsh(kernel)
    smallest = len(kernel) * torch.finfo(kernel.dtype).eps * eigenvalues[-1]
    return float(eigenvalues.log().sum()) if eigenvalues[0] > smallest else -math.inf
