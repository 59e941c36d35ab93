"""A feature map, and what several operations compute from it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nasrun.ops.alike import RELU, Later, Map
from nasrun.ops.statistics import column_sums, crossed_sums

LAST = torch.channels_last


def lies(x: Tensor) -> torch.memory_format:
    """Return the memory format of a map (B, C, H, W): channels last or first."""
    return LAST if x.is_contiguous(memory_format=LAST) else torch.contiguous_format


def awaits_launches(x: Tensor) -> bool:
    """Return whether the device of a tensor waits for launches, not for arithmetic: a GPU."""
    return x.device.type not in ("cpu", "meta")


class State:
    """A feature map (B, C, H, W), and what several operations compute from it, computed once.

    No operation may change the map, since others read it; but a `spare` map has only one reader,
    and `rectified` may overwrite it. If it `gathers`, as on a GPU, the layers that are applied to
    it wait for others of their kind (`nasrun.ops.alike`).
    """

    def __init__(self, map: Map, *, spare: bool = False, gathers: bool = False) -> None:
        self.given = map
        self.spare = spare
        self.gathers = gathers and (isinstance(map, Later) or awaits_launches(map))
        self._made: dict[Any, State] = {}
        self._moments: tuple[Tensor, Tensor] | None = None

    @property
    def map(self) -> Tensor:
        """The map; if it waits, it is computed now."""
        return self.given.map if isinstance(self.given, Later) else self.given

    def after(self, layer: nn.Module, *, spare: bool = False) -> State:
        """Return the output of a layer; with `spare`, only one operation reads it."""
        if self.gathers:
            return State(Later(self.given, layer), spare=spare, gathers=True)
        return State(layer(self.map), spare=spare)

    def through(self, module: nn.Module) -> State:
        """Return the output of a module without parameters; equal modules share it.

        Modules are equal if they have the same class and equal public attributes.
        """
        settings = (item for item in vars(module).items() if not item[0].startswith("_"))
        key = type(module), tuple(settings)
        if key not in self._made:
            self._made[key] = State(module(self.map), gathers=self.gathers)
        return self._made[key]

    @property
    def rectified(self) -> State:
        """max(map, 0); a spare map is overwritten if no gradient needs it."""
        if isinstance(self.given, Later):
            return self.after(RELU)
        if self.spare and not torch.is_grad_enabled():
            return State(self.map.relu_())
        return self.through(RELU)

    @property
    def pixels(self) -> Tensor:
        """The map as a matrix, (B * H * W, C), without a copy if channels are last in memory."""
        return self.map.permute(0, 2, 3, 1).reshape(-1, self.map.shape[1])

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (C,) and covariance (C, C) over all pixels, not differentiable."""
        if self._moments is None:
            with torch.no_grad():
                z = self.pixels
                mean = column_sums(z) / len(z)
                self._moments = mean, crossed_sums(z, z) / len(z) - torch.outer(mean, mean)
        return self._moments
