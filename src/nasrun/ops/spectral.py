"""Spectral normalisation (1802.05957) that can be switched off without changing state names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

FIRST_ITERATIONS = 15  # torch.nn.utils.parametrizations.spectral_norm


class SpectralNorm(nn.Module):
    """weight / sigma(weight), with one power iteration for sigma per training forward pass.

    A pass without gradients, or in evaluation mode, does not change the buffers. If it is not
    `enabled`, it returns the weight unchanged but has the same parameters and buffers, so that
    weights can move between networks that differ in this switch. Initialise weights before: what is
    assigned to a normalised weight later is lost.
    """

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, enabled: bool = True) -> None:
        super().__init__()
        self.enabled = enabled
        matrix = weight.detach().flatten(1)
        self.register_buffer("_u", F.normalize(matrix.new_empty(matrix.shape[0]).normal_(), dim=0))
        self.register_buffer("_v", F.normalize(matrix.new_empty(matrix.shape[1]).normal_(), dim=0))
        if not matrix.is_meta:  # shapes alone are asked for, and each iteration takes ms there
            self._iterate(matrix, FIRST_ITERATIONS)

    def forward(self, weight: Tensor) -> Tensor:
        if not self.enabled:
            return weight
        matrix = weight.flatten(1)
        if self.training and torch.is_grad_enabled():
            self._iterate(matrix.detach(), 1)
        # copies: another forward pass may change the buffers before this one's backward pass
        sigma = self._u.clone() @ (matrix @ self._v.clone())
        return weight / sigma

    @torch.no_grad()
    def _iterate(self, matrix: Tensor, times: int) -> None:
        for _ in range(times):
            self._u.copy_(F.normalize(matrix @ self._v, dim=0))
            self._v.copy_(F.normalize(matrix.T @ self._u, dim=0))


def normalise(module: nn.Module, enabled: bool = True) -> nn.Module:
    """Add spectral norm to every convolution and linear layer of a module, and return it."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            norm = SpectralNorm(layer.weight, enabled)
            parametrize.register_parametrization(layer, "weight", norm)
    return module
