"""The layout of a network: its size and its extras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

Stem = Literal["cifar", "cifar_half", "imagenet"]
MOST_CHANNELS = 2**16
"""At this number, a 1x1 convolution already has 16 GiB of weights."""
MOST_LAYERS = 1000
"""Largest number of layers (ours)."""
LAYOUT = ("channels", "layers", "stem")
"""Settings of a layout that determine a network's costs."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The size of a network and its extras.

    `channels` is that of the first cell, `layers` the number of cells, `None` if a genotype has its
    own depth. Stems: `cifar` keeps the resolution, `cifar_half` halves it, `imagenet` divides it by
    eight. `affine` gives batch norms a learned scale and shift, `pool_norm` puts a batch norm after
    every pooling operation. An edge's candidates see one of `partial` parts of its channels; the
    others bypass them.
    """

    channels: int
    layers: int | None
    stem: Stem = "cifar"
    auxiliary: bool = False
    affine: bool = True
    pool_norm: bool = False
    partial: int = 1

    def __post_init__(self) -> None:
        if self.stem not in get_args(Stem):
            raise ValueError(f"stem={self.stem}: use one of {', '.join(get_args(Stem))}")
        if self.channels > MOST_CHANNELS:
            raise ValueError(f"channels={self.channels}: too many; use at most {MOST_CHANNELS}")
        if self.layers is not None and self.layers > MOST_LAYERS:
            raise ValueError(f"layers={self.layers}: too many; use at most {MOST_LAYERS}")
        if self.channels < 2 or self.channels % 2:
            raise ValueError(f"channels={self.channels}: use an even number of at least 2")
        if self.partial < 1 or self.channels % self.partial:
            raise ValueError(
                f"partial={self.partial} channels={self.channels}: use a divisor of the channels"
            )
        if self.layers is not None and self.layers < 3:
            raise ValueError(f"layers={self.layers}: use at least 3, so that each cell type occurs")

    @property
    def depth(self) -> int:
        """The number of layers; ValueError if none is given."""
        if self.layers is None:
            raise ValueError(
                "layers=null: a genotype of this space has no depth of its own; use a number"
            )
        return self.layers

    @property
    def thirds(self) -> tuple[int, int]:
        """The indices at one and two thirds of the depth, where spaces of cells halve the map."""
        return self.depth // 3, 2 * self.depth // 3


def layout_of(layout: Layout) -> dict[str, Any]:
    """Return the settings of a layout that determine a network's costs."""
    return {key: getattr(layout, key) for key in LAYOUT}
