"""The networks of the space `morph`: a chain of layers with skip connections into them.

A layer is y = ReLU(join(BN(conv(x)), skips)): skip connections enter before the ReLU, so what a
layer returns is never negative. That is why a new layer whose convolution and batch norm are the
identity changes nothing (1603.01670), which the order ReLU, convolution, batch norm would not give.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.networks import ImageClassifier
from nasrun.ops.convolution import Convolution
from nasrun.ops.shared import OfImages
from nasrun.spaces.layout import Layout, Stem
from nasrun.spaces.morph_layers import Chain, ChainLayer, Skip
from nasrun.supernet.mixture import Mixture
from nasrun.supernet.region import Maps, Probability, Region, dropped, drops

STEMS: Mapping[Stem, tuple[int, int]] = {"cifar": (1, 0), "cifar_half": (2, 0), "imagenet": (2, 2)}
"""Stride of the first convolution, and the pools after it; ImageNet's divide the side by eight."""


class MorphNetwork(ImageClassifier):
    """Layers one after the other, global average pooling before the first dense one, a classifier.

    Drop path drops what additive skip connections bring to a map. Names of the modules:
    `layers.3.map` and `layers.3.norm` of layer 3, `layers.3.joins.1` of its skip from layer 1.
    """

    def __init__(self, chain: Chain, *, inputs: int, outputs: int, layout: Layout) -> None:
        super().__init__()
        self.drop_path = 0.0
        stride, self.shrinks = STEMS[layout.stem]
        widths = [inputs, *(chain.width(n) * layout.channels for n in range(1, len(chain.layers)))]
        self.layers = nn.ModuleDict()
        for number, (layer, before) in enumerate(zip(chain.layers, widths, strict=True), 1):
            if layer.kind == "pool":
                self.layers[str(number)] = nn.MaxPool2d(2, ceil_mode=True)
                continue
            joins = {
                str(skip.source): SkipPath(chain, skip, layout.channels)
                for skip in chain.entering(number)
            }
            self.layers[str(number)] = MorphLayer(
                layer, before, layer.width * layout.channels, stride if number == 1 else 1, joins
            )
        self.classifier = nn.Linear(chain.width(len(chain.layers)) * layout.channels, outputs)
        self.read = {str(skip.source) for skip in chain.skips}

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        drop_path = self.drop_path if self.training else 0.0
        kept: dict[str, Tensor] = {}
        for number, layer in self.layers.items():
            if isinstance(layer, MorphLayer):
                x = layer((x, *(kept[source] for source in layer.joins)), None, drop_path)
            else:
                x = layer(x)
            if number == "1":
                for _ in range(self.shrinks):
                    x = pooled(x)
            if number in self.read:
                kept[number] = x
        return (self.classifier(flat(x)),)


class MorphLayer(Region):
    """y = ReLU(z): z begins as BN(conv(x)), or as a linear map of x, and each skip joins it.

    Its maps are x and the outputs of the sources of its skip connections, in the order of `joins`.
    """

    columns: Mapping[int, tuple[int, ...]] = MappingProxyType({})

    def __init__(
        self,
        layer: ChainLayer,
        inputs: int,
        outputs: int,
        stride: int,
        joins: Mapping[str, SkipPath],
    ) -> None:
        super().__init__()
        self.dense = layer.kind == "dense"
        if self.dense:
            self.map: nn.Module = nn.Linear(inputs, outputs)
            self.norm: nn.Module = nn.Identity()
        else:
            kernel = layer.kernel
            self.map = Convolution(inputs, outputs, kernel, stride, kernel // 2, bias=False)
            self.norm = nn.BatchNorm2d(outputs)
        self.joins = nn.ModuleDict(joins)

    def output(self, maps: Maps, mixture: Mixture | None, drop_path: Probability) -> Tensor:
        x, *sources = maps
        z = self.norm(self.map(flat(x) if self.dense else x))
        for join, u in zip(self.joins.values(), sources, strict=True):
            z = join(z, u, drop_path)
        return F.relu(z)


class SkipPath(OfImages):
    """What a skip connection does to z: z + W u for `add`, W [z, u] for `concat`.

    u is the output of the source, pooled to the size of z; W is a 1x1 convolution.
    """

    def __init__(self, chain: Chain, skip: Skip, channels: int) -> None:
        super().__init__()
        own = chain.width(skip.target) * channels
        read = chain.width(skip.source) * channels
        self.concat = skip.kind == "concat"
        self.dense = chain.layer(skip.target).kind == "dense"
        self.pools = 0 if self.dense else chain.pools(skip.source, skip.target)
        inputs = read + own if self.concat else read
        if self.dense:
            self.map: nn.Module = nn.Linear(inputs, own, bias=False)
        else:
            self.map = nn.Conv2d(inputs, own, 1, bias=False)

    def forward(self, z: Tensor, u: Tensor, drop_path: Probability) -> Tensor:
        for _ in range(self.pools):
            u = pooled(u)
        if self.dense:
            u = flat(u)
        if self.concat:
            return self.map(torch.cat([z, u], dim=1))
        brought = self.map(u)
        if drops(drop_path) and u.dim() == 4:
            brought = dropped(brought, drop_path, self.world)
        return z + brought


def pooled(x: Tensor) -> Tensor:
    """Return a map of half the size, odd sides rounded up, so that a single pixel stays one."""
    return F.max_pool2d(x, 2, ceil_mode=True)


def flat(x: Tensor) -> Tensor:
    """Return the mean of each map, (B, C); vectors stay as they are."""
    return x.mean((2, 3)) if x.dim() == 4 else x
