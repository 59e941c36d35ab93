"""Terms: the outputs of operations, whose last linear layer and batch norm are still to be applied.

Nearly every operation of a cell ends with a 1x1 convolution and a batch norm, or with only a batch
norm, and an edge needs only the weighted sum of its operations. So an operation turns a `State`
into a `Term`, and a `Sum` adds terms: one matrix product per term applies linear layer, norm and
weight (`nasrun.ops.normalised`), and no intermediate map is computed or kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.ops.shared import Synchronised
from nasrun.ops.statistics import advance, column_sums, crossed_sums, uses_batch

RELU = nn.ReLU()
LAST = torch.channels_last


def lies(x: Tensor) -> torch.memory_format:
    """Return the memory format of a map (B, C, H, W): channels last or first."""
    return LAST if x.is_contiguous(memory_format=LAST) else torch.contiguous_format


class State:
    """A feature map (B, C, H, W), and what several operations compute from it, computed once.

    No operation may change the map, since others read it; but a `spare` map has only one reader,
    and `rectified` may overwrite it.
    """

    def __init__(self, map: Tensor, *, spare: bool = False) -> None:
        self.map = map
        self.spare = spare
        self._made: dict[Any, State] = {}
        self._moments: tuple[Tensor, Tensor] | None = None

    def through(self, module: nn.Module) -> State:
        """Return the output of a module without parameters; equal modules share it.

        Modules are equal if they have the same class and equal public attributes.
        """
        settings = (item for item in vars(module).items() if not item[0].startswith("_"))
        key = type(module), tuple(settings)
        if key not in self._made:
            self._made[key] = State(module(self.map))
        return self._made[key]

    @property
    def rectified(self) -> State:
        """max(map, 0); a spare map is overwritten if no gradient needs it."""
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


class Following(Protocol):
    """An operation that is applied to the map of another one."""

    def term(self, state: State) -> Term: ...


@dataclass(frozen=True)
class Term:
    """`norm(linear(state))`, where `linear`, a 1x1 convolution, and `norm` are optional.

    With `then`, that operation is applied to the result.
    """

    state: State
    linear: nn.Conv2d | None = None
    norm: nn.BatchNorm2d | None = None
    then: Following | None = None

    @property
    def folds(self) -> bool:
        """Return whether norm and linear layer are folded into one matrix, if that is faster.

        They are not folded with running statistics, for which this is not measured; if the linear
        layer narrows the map, since the moments then cost more; for a norm alone, unless several
        operations share the moments of its map; in reduced precision, which is too coarse for a
        variance from second moments; on a GPU, where small products run one after the other; and
        with channels first in memory: the map would be copied, and that layout is chosen where
        statistics have to be more precise (`nasrun.strategies.levels.Unrolled`).
        """
        if self.norm is None or not uses_batch(self.norm):
            return False
        if self.linear is None:
            pays = not self.state.spare
        else:
            pays = self.linear.in_channels <= self.linear.out_channels
        z = self.state.map
        exact = z.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
        by_shape = z.device.type == "meta"
        return pays and exact and (by_shape or (z.device.type == "cpu" and lies(z) is LAST))

    def joins(self, other: Term) -> bool:
        """Return whether this is a plain map that fits into a sum with the folded term `other`."""
        assert other.norm is not None
        shape = self.state.map.shape
        bare = self.linear is None and self.norm is None
        return bare and shape == other.state.map.shape and shape[1] == other.norm.num_features

    def map(self, weight: Tensor | None = None) -> Tensor:
        """Return `norm(linear(state))`, times a scalar `weight` unless it is `None`."""
        z = self.state.map if self.linear is None else self.linear(self.state.map)
        if self.norm is not None:
            return _batch_norm(self.norm, z, weight)
        return z if weight is None else weight * z


def _batch_norm(norm: nn.BatchNorm2d, x: Tensor, weight: Tensor | None) -> Tensor:
    """Return `weight * norm(x)`, with the weight folded into the norm's scale and shift."""
    if weight is None:
        return norm(x)
    # repeated, not expanded: batch norm reads a scale without its strides (torch 2.15)
    scale = weight.repeat(norm.num_features) if norm.weight is None else weight * norm.weight
    shift = None if norm.bias is None else weight * norm.bias
    if isinstance(norm, Synchronised) and norm.divided:
        return norm.scaled(x, scale, shift)
    tracked = not norm.training or norm.track_running_stats
    return F.batch_norm(
        x,
        norm.running_mean if tracked else None,
        norm.running_var if tracked else None,
        scale,
        shift,
        uses_batch(norm),
        advance(norm),
        norm.eps,
    )
