"""Spectral normalisation (1802.05957) that can be switched off and keeps its place in the state."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

FIRST_ITERATIONS = 15  # torch.nn.utils.parametrizations.spectral_norm


class SpectralNorm(nn.Module):
    """weight / sigma(weight); sigma by one power iteration with every forward pass that trains.

    A pass without gradients leaves the buffers alone, as one in evaluation mode does.
    Switched off it passes the weight on, with the same parameters and buffers: so weights can move
    between networks that differ in the switch. Give it initialised weights: what is assigned to a
    normalised weight afterwards is lost.
    """

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, enabled: bool = True) -> None:
        super().__init__()
        self.enabled = enabled
        matrix = weight.detach().flatten(1)
        self.register_buffer("_u", F.normalize(matrix.new_empty(matrix.shape[0]).normal_(), dim=0))
        self.register_buffer("_v", F.normalize(matrix.new_empty(matrix.shape[1]).normal_(), dim=0))
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
    """The module with spectral norm on every convolution and linear layer in it."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            norm = SpectralNorm(layer.weight, enabled)
            parametrize.register_parametrization(layer, "weight", norm)
    return module
