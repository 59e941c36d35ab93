"""SynFlow (2006.05467) as a score of networks (2101.08134): the products of all paths' weights.

As in the released code of 2101.08134, it runs in double precision and without batch norm. Ours: the
upper bound of ReLU6 is removed, since its gradient beyond the bound is zero.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from nasrun.evaluators.untrained import Formula, weights
from nasrun.supernet.stacked import StackedNetwork
from nasrun.tasks.base import Batch


class Synflow(Formula):
    """sum_w |w dR / dw|, where R sums the outputs for an image of ones with all parameters |w|."""

    names = ("synflow",)

    def __call__(self, network: StackedNetwork, batch: Batch) -> tuple[float]:
        images, _ = batch
        if images.device.type != "cuda":  # MPS has no doubles
            network, images = network.cpu(), images.cpu()
        linear(network)
        ones = torch.ones_like(images[:1].double())
        flow = torch.autograd.grad(network(ones)[0].sum(), weights(network), materialize_grads=True)
        pairs = zip(weights(network), flow, strict=True)
        return (float(torch.stack([(w.detach() * g).abs().sum() for w, g in pairs]).sum()),)


@torch.no_grad()
def linear(network: nn.Module) -> None:
    """Make a new network linear for positive inputs: absolute weights, identity batch norms."""
    network.double().eval()
    for parameter in network.parameters():
        parameter.abs_()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0  # running mean and variance are 0 and 1
        if isinstance(module, nn.ReLU6):
            module.max_val = math.inf
