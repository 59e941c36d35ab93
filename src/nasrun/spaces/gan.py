"""Generators and discriminators for PBT-NAS (2307.15621): AdversarialNAS's cells, extended.

`hard=false` searches the generator's cells (21 decisions with three cells); the latent vector's
projections and AutoGAN's discriminator (1908.03835) are fixed. `hard=true` searches these too (72).

Where we differ from the released code: a discriminator block adds both of its branches (there the
left one overwrites the sum); a branch whose own first operation is `none`
still exists by the edge that crosses over (there it is dropped); a block without branches halves
the map (there it does not). `released_sum=true` does all three as released. In both modes the rest
of a block is as released: if c5 or c6 is `none`, the sum before it is the branch, and a pool at the
input halves both terms of the sum. A cell's own output is not changed in place by what is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from nasrun.genotype import NONE, Decision, Genotype
from nasrun.networks import Adversaries
from nasrun.ops.spectral import normalise
from nasrun.spaces.gan_discriminator import (
    BLOCK,
    BLOCK_EDGES,
    DOWNSAMPLINGS,
    FixedDiscriminator,
    SearchedDiscriminator,
)
from nasrun.spaces.gan_generator import (
    CELL,
    CELL_EDGES,
    DROPOUTS,
    LINEARS,
    SKIP_MODES,
    UPSAMPLINGS,
    Generator,
)
from nasrun.spaces.gan_operation import OPERATIONS
from nasrun.spaces.modular import ModularSpace

MOST_BLOCKS = 100
"""Largest number of discriminator blocks (ours)."""


@dataclass(frozen=True, kw_only=True)
class GanSpace(ModularSpace):
    """`num_cells` cells of `channels` channels; each doubles the size, starting at `bottom` pixels.

    The latent vector of `latent` numbers is divided among the first `projections` cells. The
    discriminator has `blocks` blocks of `discriminator_channels` channels; if it is not searched,
    the first `halvings` blocks halve the size.
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
                f"operations={list(self.operations)}: use some of {', '.join(OPERATIONS)}, "
                "a convolution among them"
            )
        if len(set(self.operations)) < len(self.operations):
            raise ValueError(f"operations={list(self.operations)}: give each once")
        for key in ("channels", "discriminator_channels", "blocks"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}={getattr(self, key)}: use at least 1")
        if not 1 <= self.num_cells <= len(SKIP_MODES):
            raise ValueError(f"num_cells={self.num_cells}: use 1 to {len(SKIP_MODES)}")
        if not 1 <= self.projections <= self.num_cells:
            raise ValueError(f"projections={self.projections}: use 1 to num_cells={self.num_cells}")
        if self.blocks > MOST_BLOCKS:
            raise ValueError(f"blocks={self.blocks}: too many; use at most {MOST_BLOCKS}")
        if self.latent < 1 or self.latent % self.projections:
            raise ValueError(
                f"latent={self.latent}: use a multiple of projections={self.projections}, above 0"
            )
        if self.released_sum and not self.hard:
            raise ValueError("released_sum=true: has no effect without hard=true; use false")
        if self.bottom < 2 or self.bottom % 2:
            raise ValueError(f"bottom={self.bottom}: use an even number of pixels, at least 2")
        if not 0 <= self.halvings <= self.blocks or self.size % 2**self.halvings:
            raise ValueError(
                f"halvings={self.halvings}: use 0 to blocks={self.blocks}, so that {self.size} "
                "pixels can be halved that often"
            )
        object.__setattr__(self, "decisions", self.narrowed(self._decisions()))

    @property
    def size(self) -> int:
        """Side of an image in pixels."""
        return self.bottom * 2**self.num_cells

    @property
    def convolutions(self) -> tuple[str, ...]:
        """Operations that can change the number of channels."""
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
        assert inputs == outputs, "the discriminator reads the images that the generator makes"
        return Gan(self, self.check(genotype), images=inputs)

    def discriminator(self, genotype: Genotype, images: int) -> nn.Module:
        """Return the searched or the fixed discriminator."""
        channels, blocks = self.discriminator_channels, self.blocks
        if not self.hard:
            return FixedDiscriminator(
                images, channels=channels, blocks=blocks, halvings=self.halvings
            )
        return SearchedDiscriminator(
            genotype,
            images,
            channels=channels,
            blocks=blocks,
            released_sum=self.released_sum,
        )

    def cells(self, genotype: Genotype) -> dict[str, list[tuple[str, str, str]]]:
        return {group: self._edges(genotype, group) for group in self.groups}

    def _edges(self, genotype: Genotype, group: str) -> list[tuple[str, str, str]]:
        named = [decision.name for decision in self.decisions if decision.group == group]
        edges = [f"p{place} p{place + 1}" for place in range(len(named))]
        if "/cell" in group:
            edges = list(CELL_EDGES)
        elif "/block" in group:
            edges = list(BLOCK_EDGES)
        drawn: list[tuple[str, str, str]] = []
        for edge, name in zip(edges, named, strict=True):
            source, target = edge.split()
            choice = genotype[name]
            entered = any(end == source for _, end, _ in drawn)
            if choice == NONE and target in ("left", "right") and entered:
                choice = "skip_connect"  # the sum before it is the branch
            if choice != NONE:
                drawn.append((source, target, choice))
        return drawn


class Gan(Adversaries):
    """A generator of images, and a discriminator of generated and real images."""

    def __init__(self, space: GanSpace, genotype: Genotype, *, images: int) -> None:
        super().__init__()
        self.latent, self.size = space.latent, space.size
        self.generator = Generator(
            genotype,
            images,
            num_cells=space.num_cells,
            channels=space.channels,
            bottom=space.bottom,
            latent=space.latent,
            projections=space.projections,
        )
        self.discriminator = space.discriminator(genotype, images)
        self.apply(_initialise)
        normalise(self.discriminator)

    def forward(self, z: Tensor) -> Tensor:  # (B, latent) -> (B, C, H, W) in -1 .. 1
        return self.generator(z)


def _initialise(module: nn.Module) -> None:
    """Initialise a module; call before spectral norm, which would overwrite the weights."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
