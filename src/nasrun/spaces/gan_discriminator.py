"""Two discriminators: AutoGAN's fixed one, and one of searched blocks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.genotype import Genotype
from nasrun.spaces.gan_operation import PreActivation, chosen_in, summed

DOWNSAMPLINGS = (
    *("avg_pool_input", "max_pool_input", "avg_pool", "max_pool"),
    *("conv_3x3", "conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
)
BLOCK = ("c0", "c1", "c2", "c3", "c4", "c5", "c6", "downsample", "down0", "down1")
BLOCK_EDGES = (
    *("x n0", "x n1", "x n2", "n0 n1", "n0 n2", "n1 left", "n2 right"),
    *("y out", "left y", "right y"),
)


class FixedDiscriminator(nn.Module):
    """AutoGAN's: residual blocks, the first ones halving the map, ReLU, sum over pixels, linear."""

    def __init__(self, images: int, *, channels: int, blocks: int, halvings: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(
                    channels if block else images,
                    channels,
                    first=block == 0,
                    halve=block < halvings,
                )
                for block in range(blocks)
            )
        )
        self.linear = nn.Linear(channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, 1)
        return self.linear(torch.relu(self.blocks(x)).sum((2, 3)))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions plus a shortcut, which is a 1x1 convolution if the shape changes."""

    def __init__(self, inputs: int, channels: int, *, first: bool, halve: bool) -> None:
        super().__init__()
        self.first, self.halve = first, halve
        self.conv0 = nn.Conv2d(inputs, channels, 3, padding=1)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, channels, 1) if halve or first else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(torch.relu(self.conv0(x if self.first else torch.relu(x))))
        if self.shortcut is not None:
            x = self.shortcut(x)
        return F.avg_pool2d(h, 2) + F.avg_pool2d(x, 2) if self.halve else h + x


class SearchedDiscriminator(nn.ModuleDict):
    """Blocks of seven operations and two downsamplings, ReLU, sum over pixels, linear."""

    def __init__(
        self, genotype: Genotype, images: int, *, channels: int, blocks: int, released_sum: bool
    ) -> None:
        super().__init__()
        for block in range(1, blocks + 1):
            chosen = chosen_in(genotype, f"discriminator/block{block}")
            inputs = images if block == 1 else channels
            self[f"block{block}"] = DiscriminatorBlock(
                inputs, channels, chosen, first=block == 1, released_sum=released_sum
            )
        self["linear"] = nn.Linear(channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, 1)
        *blocks, linear = self.values()
        for block in blocks:
            x = block(x)
        return linear(torch.relu(x).sum((2, 3)))


class DiscriminatorBlock(nn.ModuleDict):
    """Two branches next to a node n0; each is a sum, then an operation on it unless it is `none`.

    A branch is halved at its end, or by `..._input` at its start: then both terms of the sum are.
    Without branches, the output is n0, or the input if n0 is missing, too, halved by average
    pooling. A map of one pixel is not halved.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        chosen: Mapping[str, str],
        *,
        first: bool,
        released_sum: bool,
    ) -> None:
        super().__init__()
        self.released_sum = released_sum
        for key in ("c0", "c1", "c2"):  # in the first block they see pixels
            self[key] = PreActivation(chosen[key], inputs, channels, active=not first)
        for key in ("c3", "c4", "c5", "c6"):
            self[key] = PreActivation(chosen[key], channels, channels)
        for key in ("down0", "down1"):
            self[key] = Downsampling(chosen[key], channels)
        self.halve = chosen["downsample"] == "halve"

    def forward(self, x: Tensor) -> Tensor:
        n0, halve = self["c0"](x), self.halve and x.shape[-1] > 1
        n1, n2 = self["c1"](x), self["c2"](x)
        left = self._branch(n1, n0, "c3", "c5", "down0" if halve else None)
        right = self._branch(n2, n0, "c4", "c6", "down1" if halve else None)
        beside = x if n0 is None else n0
        if self.released_sum:  # a branch exists only by its own first operation
            left, right = left if n1 is not None else None, right if n2 is not None else None
            return next(found for found in (left, right, beside) if found is not None)
        out = summed(left, right)
        if out is not None:
            return out
        return F.avg_pool2d(beside, 2, ceil_mode=True) if halve else beside

    def _branch(
        self, n: Tensor | None, n0: Tensor | None, across: str, along: str, down: str | None
    ) -> Tensor | None:
        early: nn.Module = nn.Identity()
        late: nn.Module = nn.Identity()
        if down is not None:
            halving = self[down]
            assert isinstance(halving, Downsampling)
            early, late = (halving, late) if halving.at_input else (early, halving)
        total = summed(early(n), early(self[across](n0)))
        further = self[along](total)
        return late(total if further is None else further)


class Downsampling(nn.Module):
    """Halves the size by a pool, or by ReLU and a convolution of stride 2."""

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        self.name, self.at_input = name, name.endswith("_input")
        if "conv" in name:
            self.operation = PreActivation(name, channels, channels, stride=2)

    def forward(self, x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        if self.name.startswith("avg"):
            return F.avg_pool2d(x, 2, ceil_mode=True)  # as convolutions of stride 2 round
        if self.name.startswith("max"):
            return F.max_pool2d(x, 2, ceil_mode=True)
        return self.operation(x)
