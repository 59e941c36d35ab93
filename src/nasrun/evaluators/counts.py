"""Controls: the size and depth of a network. A useful score ranks better than these."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from nasrun.costs.cost import count, params
from nasrun.evaluators.untrained import Formula
from nasrun.supernet.stacked import StackedNetwork
from nasrun.tasks.base import Batch

LAYERS = (torch.ops.aten.convolution, torch.ops.aten.addmm)
CONSTANT = (torch.ops.aten.zeros_like, torch.ops.aten.new_zeros)


class Params(Formula):
    """Number of parameters."""

    names = ("params",)
    amount = "params"

    def __call__(self, network: StackedNetwork, batch: Batch) -> tuple[float]:
        return (float(params(network)),)


class Macs(Formula):
    """Multiply-adds of convolutions and linear layers for one image."""

    names = ("macs",)
    amount = "macs"

    def __call__(self, network: StackedNetwork, batch: Batch) -> tuple[float]:
        return (float(macs(network, batch[0])),)


class Depth(Formula):
    """Largest number of convolutions and linear layers on a path from images to logits."""

    names = ("depth",)

    def __call__(self, network: StackedNetwork, batch: Batch) -> tuple[float]:
        shape_only = copy.deepcopy(network).to("meta").eval()
        images = torch.empty_like(batch[0][:1], device="meta")
        with torch.no_grad(), Longest() as longest:
            (logits,) = shape_only(images)
        return (float(longest.layers[logits]),)


def macs(network: StackedNetwork, images: Tensor) -> int:
    """Return the multiply-adds for one of the images."""
    return count(network, images.shape[1], images.shape[-1]).macs


class Longest(TorchDispatchMode):
    """A context that maps each tensor to the largest number of layers on a path to it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        longest = max((self.layers.get(tensor, 0) for tensor in read), default=0)
        if function.overloadpacket in CONSTANT:
            longest = 0
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self.layers[leaf] = longest + (function.overloadpacket in LAYERS)
        return made
