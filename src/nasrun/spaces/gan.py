"""Generators and discriminators for PBT-NAS (2307.15621): AdversarialNAS's cells, extended.

`hard=false` searches the generator's cells (21 decisions with three cells); the latent vector's
projections and AutoGAN's discriminator (1908.03835) are fixed. `hard=true` searches these too (72).

Where we differ from the released code: a discriminator block adds up both of its branches as drawn
(there the sum is overwritten by the left one), what crosses over makes a branch whose own first
operation is `none` (there it is dropped), and a block without branches halves the map (there it
does not); `released_sum=true` does all three as released. In both modes the rest of a block is as
released: without c5 or c6 the sum before it stays, and a pool at the input halves both terms of the
sum. And a cell's own output is not changed in place by what is added to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.genotype import NONE, Decision, Genotype
from nasrun.networks import Adversaries
from nasrun.ops.spectral import normalise
from nasrun.spaces.modular import ModularSpace

UPSAMPLINGS = ("nearest", "bilinear", "conv_transpose")
OPERATIONS = (
    *("none", "skip_connect", "conv_1x1", "conv_3x3", "conv_5x5"),
    *("dil_conv_3x3", "dil_conv_5x5"),
)
DOWNSAMPLINGS = (
    *("avg_pool_input", "max_pool_input", "avg_pool", "max_pool"),
    *("conv_3x3", "conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
)
LINEARS = tuple(
    f"{part}_{width}" for part in ("whole", "own") for width in ("bottom", "half", "full")
)
DROPOUTS = ("0", "0.1", "0.2")
MOST_BLOCKS = 100
"""Ours: what makes a discriminator too long to be built."""
SKIP_MODES = ("nearest", "bilinear", "nearest")
"""How a cell resizes what earlier cells give it: fixed (the released code)."""
CELL = ("up0", "up1", "c0", "c1", "c2", "c3", "c4")
BLOCK = ("c0", "c1", "c2", "c3", "c4", "c5", "c6", "downsample", "down0", "down1")
CELL_EDGES = ("x n0", "x n1", "n0 n2", "n1 n2", "n0 n3", "n1 n3", "n2 n3")
BLOCK_EDGES = (
    *("x n0", "x n1", "x n2", "n0 n1", "n0 n2", "n1 left", "n2 right"),
    *("y out", "left y", "right y"),
)


@dataclass(frozen=True, kw_only=True)
class GanSpace(ModularSpace):
    """`num_cells` cells of `channels` channels that each double the size, from `bottom` pixels on.

    The latent vector of `latent` numbers is divided among the first `projections` cells.
    The discriminator has `blocks` blocks of `discriminator_channels`, of which, where it is not
    searched, the first `halvings` halve the size.
    """

    num_cells: int
    bottom: int
    channels: int
    latent: int
    projections: int
    operations: tuple[str, ...]
    hard: bool
    blocks: int
    halvings: int
    discriminator_channels: int
    released_sum: bool
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    name = "gan"
    makes = Adversaries

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", tuple(self.operations))
        unknown = sorted(set(self.operations) - set(OPERATIONS))
        if unknown or not self.convolutions:
            raise ValueError(
                f"operations={list(self.operations)}: some of {', '.join(OPERATIONS)}, "
                "a convolution among them"
            )
        if not 1 <= self.num_cells <= len(SKIP_MODES):
            raise ValueError(f"num_cells={self.num_cells}: from 1 to {len(SKIP_MODES)}")
        if not 1 <= self.projections <= self.num_cells:
            raise ValueError(
                f"projections={self.projections}: from 1 to num_cells={self.num_cells}"
            )
        if self.blocks > MOST_BLOCKS:
            raise ValueError(f"blocks={self.blocks}: too many; use at most {MOST_BLOCKS}")
        if self.latent < 1 or self.latent % self.projections:
            raise ValueError(
                f"latent={self.latent}: a multiple of projections={self.projections}, above 0"
            )
        if self.released_sum and not self.hard:
            raise ValueError("released_sum=true: has no effect without hard=true; leave it out")
        if self.bottom < 2 or self.bottom % 2:
            raise ValueError(f"bottom={self.bottom}: an even number of pixels from 2 on")
        if not 0 <= self.halvings <= self.blocks or self.size % 2**self.halvings:
            raise ValueError(
                f"halvings={self.halvings}: from 0 to blocks={self.blocks}, and {self.size} pixels "
                "must be divisible by two so often"
            )
        for key in ("channels", "discriminator_channels", "blocks"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}={getattr(self, key)}: at least 1")
        object.__setattr__(self, "decisions", self.narrowed(self._decisions()))

    @property
    def size(self) -> int:
        """The side of an image in pixels."""
        return self.bottom * 2**self.num_cells

    @property
    def convolutions(self) -> tuple[str, ...]:
        """The operations that may change the number of channels."""
        return tuple(name for name in self.operations if "conv" in name)

    def _decisions(self) -> list[Decision]:
        found = []
        for cell in range(1, self.num_cells + 1):
            if self.hard and cell <= self.projections:
                name = f"generator/projection{cell}"
                if cell > 1:
                    found.append(Decision(f"{name}/enabled", ("off", "on")))
                found.append(Decision(f"{name}/linear", LINEARS))
                found.append(Decision(f"{name}/resize", ("nearest", "bilinear")))
                found.append(Decision(f"{name}/dropout", DROPOUTS))
            for key in CELL:
                options = UPSAMPLINGS if key.startswith("up") else self.operations
                found.append(Decision(f"generator/cell{cell}/{key}", options))
        for block in range(1, self.blocks + 1) if self.hard else ():
            for key in BLOCK:
                options = self.operations
                if block == 1 and key in ("c0", "c1", "c2"):
                    options = self.convolutions
                elif key == "downsample":
                    options = ("keep", "halve")
                elif key.startswith("down"):
                    options = DOWNSAMPLINGS
                found.append(Decision(f"discriminator/block{block}/{key}", options))
        return found

    @property
    def owned(self) -> Mapping[str, tuple[str, ...]]:
        weightless = ("enabled", "resize", "dropout", "downsample")
        return {
            name: () if name.endswith(weightless) else (name.replace("/", "."),)
            for name in self.names
        }

    def network(self, genotype: Genotype, *, inputs: int, outputs: int) -> Gan:
        assert inputs == outputs, "what is generated is what is judged"
        return Gan(self, self.check(genotype), images=inputs)

    def restrict(self, choices: Mapping[str, tuple[str, ...]]) -> GanSpace:
        return replace(self, choices={**self.choices, **choices})

    def cells(self, genotype: Genotype) -> dict[str, list[tuple[str, str, str]]]:
        return {group: self._edges(genotype, group) for group in self.groups}

    def _edges(self, genotype: Genotype, group: str) -> list[tuple[str, str, str]]:
        named = [decision.name for decision in self.decisions if decision.group == group]
        edges = [f"p{place} p{place + 1}" for place in range(len(named))]
        if "/cell" in group:
            edges = list(CELL_EDGES)
        elif "/block" in group:
            edges = list(BLOCK_EDGES)
        drawn = []
        for edge, name in zip(edges, named, strict=True):
            source, target = edge.split()
            choice = genotype[name]
            if choice == NONE and target in ("left", "right"):
                choice = "skip_connect"  # the sum before it stays as it is
            if choice != NONE:
                drawn.append((source, target, choice))
        return drawn


class Gan(Adversaries):
    """A generator of images and a discriminator that tells them from real ones."""

    def __init__(self, space: GanSpace, genotype: Genotype, *, images: int) -> None:
        super().__init__()
        self.latent, self.size = space.latent, space.size
        self.generator = Generator(space, genotype, images)
        searched = SearchedDiscriminator if space.hard else FixedDiscriminator
        self.discriminator = searched(space, genotype, images)
        self.apply(_initialise)
        normalise(self.discriminator)

    def forward(self, z: Tensor) -> Tensor:  # (B, latent) -> (B, C, H, W) in -1 .. 1
        return self.generator(z)


def _initialise(module: nn.Module) -> None:
    """Before spectral norm is put on, or the normalised weights would be set and lost."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class Generator(nn.ModuleDict):
    """Cells on growing maps, each fed by the one before and a projection of the latent vector."""

    def __init__(self, space: GanSpace, genotype: Genotype, images: int) -> None:
        super().__init__()
        self.parts, self.num_cells = space.projections, space.num_cells
        for cell in range(1, space.num_cells + 1):
            if cell <= space.projections:
                chosen = _group(genotype, f"generator/projection{cell}")
                self[f"projection{cell}"] = Projection(space, cell, chosen)
            chosen = _group(genotype, f"generator/cell{cell}")
            self[f"cell{cell}"] = GeneratorCell(space.channels, cell, chosen)
        self["head"] = nn.Sequential(
            nn.BatchNorm2d(space.channels),
            nn.ReLU(),
            nn.Conv2d(space.channels, images, 3, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:  # (B, latent) -> (B, C, H, W)
        own = z.chunk(self.parts, dim=1)
        x, skips = self["projection1"](z, own[0]), list[Tensor]()
        for cell in range(1, self.num_cells + 1):
            if 1 < cell <= self.parts:
                projected = self[f"projection{cell}"](z, own[cell - 1])
                x = x if projected is None else x + projected
            x, skip = self[f"cell{cell}"](x, skips)
            skips.append(skip)
        return self["head"](x).tanh()


class Projection(nn.Module):
    """A linear map of the latent vector, or of a cell's own part of it, to a feature map."""

    def __init__(self, space: GanSpace, cell: int, chosen: Mapping[str, str]) -> None:
        super().__init__()
        target = space.bottom * 2 ** (cell - 1)
        part, width = chosen.get("linear", "own_full").split("_")
        self.whole = part == "whole"
        self.side = {"bottom": space.bottom, "half": target // 2, "full": target}[width]
        self.target, self.channels = target, space.channels
        self.enabled = chosen.get("enabled", "on") == "on"
        self.mode = chosen.get("resize", "nearest")
        self.dropout = float(chosen.get("dropout", "0"))
        latent = space.latent if self.whole else space.latent // space.projections
        self.linear = nn.Linear(latent, space.channels * self.side**2)

    def forward(self, z: Tensor, own: Tensor) -> Tensor | None:
        if not self.enabled:
            return None
        x = self.linear(z if self.whole else own).view(-1, self.channels, self.side, self.side)
        if self.side != self.target:
            x = F.interpolate(x, size=self.target, mode=self.mode)
        return F.dropout(x, self.dropout, self.training)


class GeneratorCell(nn.ModuleDict):
    """Two upsamplings and five operations between four nodes; no norm inside.

    Without an operation into a node the nodes before it take its place.
    """

    def __init__(self, channels: int, cell: int, chosen: Mapping[str, str]) -> None:
        super().__init__()
        for key in CELL:
            if key.startswith("up"):
                self[key] = _upsampling(chosen[key], channels)
            else:
                self[key] = Operation(chosen[key], channels, channels)
        self["skips"] = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(cell - 1))
        self.mode = SKIP_MODES[cell - 1]

    def forward(self, x: Tensor, skips: list[Tensor]) -> tuple[Tensor, Tensor]:
        n0, n1 = self["up0"](x), self["up1"](x)
        own = _sum(self["c0"](n0), self["c1"](n1))
        skip = n0 + n1 if own is None else own
        n2 = skip
        for position, earlier in enumerate(skips):
            resized = F.interpolate(earlier, size=n2.shape[-2:], mode=self.mode)
            n2 = n2 + self["skips"][position](resized)  # type: ignore[index]
        n3 = _sum(self["c2"](n0), self["c3"](n1), self["c4"](n2))
        return n2 if n3 is None else n3, skip


class Operation(nn.Module):
    """ReLU and a convolution, nothing but a skip, or nothing at all: then the answer is None."""

    def __init__(
        self, name: str, inputs: int, channels: int, stride: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.name, self.active = name, active
        if "conv" in name:
            kernel, dilation = int(name[-1]), 2 if name.startswith("dil") else 1
            padding = dilation * (kernel // 2)
            self.conv = nn.Conv2d(inputs, channels, kernel, stride, padding, dilation)

    def forward(self, x: Tensor | None) -> Tensor | None:
        if x is None or self.name == NONE:
            return None
        if self.name == "skip_connect":
            return x
        return self.conv(torch.relu(x) if self.active else x)


class ConvTranspose(nn.Module):
    """ReLU, a depthwise 3x3 transposed convolution of stride 2, a pointwise one; no bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.ConvTranspose2d(
            channels, channels, 3, 2, padding=1, output_padding=1, groups=channels, bias=False
        )
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(torch.relu(x)))


class Resize(nn.Module):
    """Interpolation to twice the size, ReLU, a pointwise convolution."""

    def __init__(self, channels: int, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(torch.relu(F.interpolate(x, scale_factor=2, mode=self.mode)))


def _upsampling(name: str, channels: int) -> nn.Module:
    return ConvTranspose(channels) if name == "conv_transpose" else Resize(channels, name)


class FixedDiscriminator(nn.Module):
    """AutoGAN's: residual blocks, the first ones halving, ReLU, sum over the map, linear."""

    def __init__(self, space: GanSpace, genotype: Genotype, images: int) -> None:
        super().__init__()
        channels = space.discriminator_channels
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(
                    channels if block else images,
                    channels,
                    first=block == 0,
                    halve=block < space.halvings,
                )
                for block in range(space.blocks)
            )
        )
        self.linear = nn.Linear(channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, 1)
        return self.linear(torch.relu(self.blocks(x)).sum((2, 3)))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a pointwise one where the shape changes."""

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
    """Blocks of seven operations and two downsamplings, ReLU, sum over the map, linear."""

    def __init__(self, space: GanSpace, genotype: Genotype, images: int) -> None:
        super().__init__()
        channels = space.discriminator_channels
        for block in range(1, space.blocks + 1):
            chosen = _group(genotype, f"discriminator/block{block}")
            inputs = images if block == 1 else channels
            module = DiscriminatorBlock(inputs, channels, chosen, first=block == 1)
            module.released_sum = space.released_sum
            self[f"block{block}"] = module
        self["linear"] = nn.Linear(channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, 1)
        *blocks, linear = self.values()
        for block in blocks:
            x = block(x)
        return linear(torch.relu(x).sum((2, 3)))


class DiscriminatorBlock(nn.ModuleDict):
    """Two branches beside a node n0, each a sum and, unless it is `none`, an operation on the sum.

    A branch is halved at its end, or by `..._input` where it begins: then both terms of the sum
    are. Without any branch n0 is the output, or the input where that is missing too, halved by
    average. A map of one pixel is halved no more.
    """

    released_sum: bool

    def __init__(
        self, inputs: int, channels: int, chosen: Mapping[str, str], *, first: bool
    ) -> None:
        super().__init__()
        for key in ("c0", "c1", "c2"):  # of the first block they see pixels
            self[key] = Operation(chosen[key], inputs, channels, active=not first)
        for key in ("c3", "c4", "c5", "c6"):
            self[key] = Operation(chosen[key], channels, channels)
        for key in ("down0", "down1"):
            self[key] = Downsampling(chosen[key], channels)
        self.halve = chosen["downsample"] == "halve"

    def forward(self, x: Tensor) -> Tensor:
        n0, halve = self["c0"](x), self.halve and x.shape[-1] > 1
        n1, n2 = self["c1"](x), self["c2"](x)
        left = self._branch(n1, n0, "c3", "c5", "down0" if halve else None)
        right = self._branch(n2, n0, "c4", "c6", "down1" if halve else None)
        beside = x if n0 is None else n0
        if self.released_sum:  # a branch is there by its own first operation only
            left, right = left if n1 is not None else None, right if n2 is not None else None
            return next(found for found in (left, right, beside) if found is not None)
        out = _sum(left, right)
        if out is not None:
            return out
        return F.avg_pool2d(beside, 2) if halve else beside

    def _branch(
        self, n: Tensor | None, n0: Tensor | None, across: str, along: str, down: str | None
    ) -> Tensor | None:
        early: nn.Module = nn.Identity()
        late: nn.Module = nn.Identity()
        if down is not None:
            halving = self[down]
            assert isinstance(halving, Downsampling)
            early, late = (halving, late) if halving.at_input else (early, halving)
        summed = _sum(early(n), early(self[across](n0)))
        further = self[along](summed)
        return late(summed if further is None else further)


class Downsampling(nn.Module):
    """Half the size: a pool, or ReLU and a convolution of stride 2."""

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        self.name, self.at_input = name, name.endswith("_input")
        if "conv" in name:
            self.operation = Operation(name, channels, channels, stride=2)

    def forward(self, x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        if self.name.startswith("avg"):
            return F.avg_pool2d(x, 2)
        if self.name.startswith("max"):
            return F.max_pool2d(x, 2)
        return self.operation(x)


def _group(genotype: Genotype, group: str) -> dict[str, str]:
    """The decisions of a group by their last word."""
    named = [(name.rpartition("/"), choice) for name, choice in genotype.items()]
    return {key: choice for (where, _, key), choice in named if where == group}


def _sum(*terms: Tensor | None) -> Tensor | None:
    """The sum of the tensors that are there, None without any."""
    there = [term for term in terms if term is not None]
    return sum(there[1:], start=there[0]) if there else None
