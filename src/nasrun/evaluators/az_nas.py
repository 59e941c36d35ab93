"""AZ-NAS (2403.19232): four training-free numbers, joined by their ranks.

As in the released code for NAS-Bench-201, the images are standard normal noise, weights are drawn
by Kaiming's rule, the features are the outputs of the stem, of every block and of every reduction
between blocks, and a feature of zeros has no entropy, so the numbers that need it are NaN. Ours:
where a stride does not divide a feature map, its gradient is padded with zeros.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.evaluators.counts import macs
from nasrun.evaluators.untrained import Formula
from nasrun.ops.state import State
from nasrun.supernet.stacked import StackedNetwork
from nasrun.tasks.base import Batch


class AzNas(Formula):
    """Four numbers from the channel entropies H_l and Jacobian norms sigma_l of the features.

    expressivity   sum_l H_l
    progressivity  min_l (H_l - H_(l-1))
    trainability   mean_l (2 - sigma_l - 1 / sigma_l)
    macs           multiply-adds of one image
    """

    names = ("expressivity", "progressivity", "trainability", "macs")

    def __call__(self, network: StackedNetwork, batch: Batch) -> tuple[float, float, float, float]:
        images = torch.randn_like(batch[0])  # the same for all, so before weights are drawn
        initialise(network)
        with torch.no_grad():
            first = network.enter(images)
        entropies, norms = [entropy(first[-1].map)], []
        for before, after in steps(network, first):
            entropies.append(entropy(after.detach()))
            norms.append(nearness(before, after))
        gains = [b - a for a, b in pairwise(entropies)]
        return (
            sum(entropies),
            float(np.min(gains)),  # NaN if any is
            sum(norms) / len(norms),
            float(macs(network, images)),
        )


def initialise(network: nn.Module) -> None:
    """Draw weights by Kaiming's normal rule with fan-in (1502.01852); set biases to zero.

    Batch norms are left as they are.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def steps(network: StackedNetwork, states: tuple[State, ...]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pairs of a feature and the next one, which autograd can differentiate by the first."""
    for number, block in enumerate(network.blocks):
        before = states[-1].map.detach().requires_grad_()
        maps = network.read(number, (*states[:-1], State(before)))
        if len(maps) == 1 and maps[0] is not before:  # a reduction between two blocks
            yield before, maps[0]
            before = maps[0].detach().requires_grad_()
            maps = (before,)
        after = block(maps, None, 0.0)
        yield before, after
        states = (*states[1:], State(after.detach()))


def entropy(feature: Tensor) -> float:
    """Entropy of the eigenvalues of the channels' covariance, each divided by their sum."""
    pixels = feature.permute(0, 2, 3, 1).flatten(0, 2)
    pixels = pixels - pixels.mean(0)
    shares = torch.linalg.eigvalsh((pixels.T @ pixels).cpu() / len(pixels)).clamp(min=0)
    shares = shares / shares.sum()
    return float(-(shares * (shares + 1e-8).log()).sum())


def nearness(before: Tensor, after: Tensor) -> float:
    """Return 2 - sigma - 1 / sigma: largest where the Jacobian's spectral norm sigma is 1.

    Random signs g, backpropagated, give J^T g; the mean of (J^T g) g^T over images and pixels
    estimates the Jacobian of a pixel's channels. A step that changes nothing gets minus infinity.
    """
    signs = 2 * torch.bernoulli(torch.full_like(after, 0.5)) - 1
    back = torch.zeros_like(before)
    if after.requires_grad:  # false for a constant map of zeros
        (back,) = torch.autograd.grad(after, before, signs, materialize_grads=True)
    if back.shape == signs.shape and torch.equal(back, signs):
        return -math.inf
    stride = math.ceil(before.shape[2] / after.shape[2])
    (height, width), (h, w) = after.shape[2:], before.shape[2:]
    back = F.pixel_unshuffle(F.pad(back, (0, stride * width - w, 0, stride * height - h)), stride)
    rows = [x.permute(0, 2, 3, 1).flatten(0, 2) for x in (back, signs)]
    sigma = float(torch.linalg.matrix_norm((rows[0].T @ rows[1]).cpu() / len(rows[0]), 2))
    return 2 - sigma - 1 / (sigma + 1e-6)
