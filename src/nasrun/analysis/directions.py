"""Directions in the space of weights: random ones around a solution, and that to another solution.

Random directions are filter-normalised (Li et al., 1712.09913): every filter has the norm of the
solution's filter. As in Li et al.'s code, biases and batch norms do not move.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasrun.analysis.solutions import Opened

Direction = dict[str, Tensor]
"""A step for each parameter, by name; one that does not move is not in it."""


def normalised(network: nn.Module, seed: int) -> Direction:
    """Return a random direction whose filters have the norms of the network's filters.

    A filter is a row of a weight: the weights of one output. Vectors (biases, batch norms) stay.
    """
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            w = parameter.detach()
            d = torch.randn(w.shape, generator=generator).to(w)
            axes = tuple(range(1, w.dim()))
            scale = w.square().sum(axes, keepdim=True).sqrt()
            found[name] = d * scale / (d.square().sum(axes, keepdim=True).sqrt() + 1e-10)
    return found


def between(first: Opened, second: Opened) -> Direction:
    """Return the step from one solution to another; every parameter moves."""
    ends = second.weights()
    return {name: ends[name] - w for name, w in first.weights().items()}


def mix(network: nn.Module, first: Direction, second: Direction, share: float) -> None:
    """Set running statistics to those between two solutions; variances stay positive."""
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point():
            between = torch.lerp(first[name], second[name], share)
            buffer.copy_(between.clamp(min=0) if name.endswith("running_var") else between)
