"""Noise as a candidate operation: it misleads a search in S4 of R-DARTS (1909.09656)."""

from __future__ import annotations

import torch
from torch import Tensor

from nasrun.ops import op
from nasrun.ops.operation import Operation
from nasrun.ops.shared import OfImages
from nasrun.ops.state import State
from nasrun.ops.term import Term


@op("noise")
class Noise(Operation, OfImages):
    """Standard normal numbers in the shape of the strided input, independent of its values.

    Every forward pass samples new numbers, in evaluation, too.
    """

    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.stride = stride
        self._seed: int | None = None

    def repeat(self, seed: int | None) -> None:
        """Draw the same numbers of `seed` each time, or new global ones if it is `None`."""
        self._seed = seed

    def term(self, state: State) -> Term:
        return Term(State(self._drawn(state.map)))

    def _drawn(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, ceil(H/s), ceil(W/s))
        generator: torch.Generator | None = None
        if self._seed is not None and x.device.type != "meta":
            generator = torch.Generator(x.device).manual_seed(self._seed)
        shape = x[0, :, :: self.stride, :: self.stride].permute(1, 2, 0).shape

        def draw(count: int) -> Tensor:
            # filled contiguously, then permuted to channels last: ten times as fast (torch 2.15)
            return torch.randn(count, *shape, generator=generator, device=x.device, dtype=x.dtype)

        return self.world.each(draw, len(x)).permute(0, 3, 1, 2)
