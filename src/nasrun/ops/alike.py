"""Layers of one kind run together, on maps side by side.

On a GPU, a step of many small operations waits for their launches. So where a state gathers
(`nasrun.ops.state`), a layer only notes which map it will read (`Later`). When maps are needed, all
noted layers of one kind make one call: their maps lie side by side in the channels, K convolutions
are a grouped one, and K batch norms are one, whose statistics are per channel anyway.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.ops.shared import Synchronised, scaled
from nasrun.ops.statistics import advance, uses_batch

RELU = nn.ReLU()
RUNNING = ("running_mean", "running_var")


class Later:
    """A map (B, C, H, W) that waits: the output of a `layer` for the map `source`.

    Once computed, it is at a `position` of maps `abreast`.
    """

    def __init__(self, source: Map, layer: nn.Module) -> None:
        self.source = source
        self.layer = layer
        self.abreast: Abreast | None = None
        self.position = 0

    @property
    def map(self) -> Tensor:
        """The map itself, which is computed now if it still waits."""
        settle([self])
        assert self.abreast is not None
        return self.abreast.part(self.position, 1)


Map = Tensor | Later


class Abreast:
    """The maps of `count` layers side by side, (B, count * C, H, W)."""

    def __init__(self, whole: Tensor, count: int) -> None:
        self.whole = whole
        self.count = count
        self._parts: dict[int, Sequence[Tensor]] = {1: (whole,)}

    def part(self, position: int, size: int) -> Tensor:
        """Return `size` maps from this position, a multiple of `size`."""
        number = self.count // size
        if number not in self._parts:
            self._parts[number] = self.whole.chunk(number, dim=1)
        return self._parts[number][position // size]


def settle(maps: Sequence[Map], known: dict[Hashable, Tensor] | None = None) -> None:
    """Compute all of the maps that still wait, layers of one kind in one call.

    `known` is that of `side_by_side`.
    """
    waiting = [m for m in dict.fromkeys(maps) if isinstance(m, Later) and m.abreast is None]
    if not waiting:
        return
    known = {} if known is None else known
    settle([_origin(m.source) for m in waiting], known)
    groups: dict[Hashable, list[Later]] = {}
    for m in waiting:
        groups.setdefault((kind(m.layer), shape(_origin(m.source))), []).append(m)
    for group in groups.values():
        alike = [group[position] for position in lined_up([m.source for m in group])]
        x = side_by_side([m.source for m in alike], known)
        abreast = Abreast(run([m.layer for m in alike], x), len(alike))
        for position, m in enumerate(alike):
            m.abreast, m.position = abreast, position


def side_by_side(maps: Sequence[Map], known: dict[Hashable, Tensor] | None = None) -> Tensor:
    """Return maps of one shape in one tensor, (B, K * C, H, W).

    All of them are computed, or all are still to be rectified, which is done here. `known` has what
    was returned before.
    """
    if all(m is not _origin(m) for m in maps):
        return torch.relu(side_by_side([_origin(m) for m in maps], known))
    key = tuple(map(id, maps))
    if known is not None and key in known:
        return known[key]
    pieces: list[Tensor] = []
    start = 0
    while start < len(maps):
        piece, count = _piece(maps[start:])
        pieces.append(piece)
        start += count
    made = joined(pieces, dim=1)
    if known is not None:
        known[key] = made
    return made


def lined_up(maps: Sequence[Map]) -> list[int]:
    """Return the positions of maps, in an order in which those abreast follow each other."""
    first: dict[int, int] = {}
    keys = []
    for number, m in enumerate(map(_origin, maps)):
        abreast, position = _place(m)
        keys.append((first.setdefault(id(m if abreast is None else abreast), number), position))
    return sorted(range(len(maps)), key=keys.__getitem__)


def shape(m: Map) -> torch.Size:
    """Return the shape of a map that does not wait any more."""
    if isinstance(m, Tensor):
        return m.shape
    assert m.abreast is not None
    b, c, h, w = m.abreast.whole.shape
    return torch.Size((b, c // m.abreast.count, h, w))


def kind(layer: nn.Module) -> Hashable:
    """Return what layers that run together have in common; a layer of no kind runs alone."""
    if isinstance(layer, nn.Conv2d) and layer.bias is None and layer.padding_mode == "zeros":
        sizes = layer.in_channels, layer.out_channels, layer.kernel_size, layer.groups
        return type(layer), sizes, layer.stride, layer.padding, layer.dilation
    if isinstance(layer, nn.BatchNorm2d) and layer.momentum is not None:
        how = layer.affine, layer.eps, layer.momentum, layer.training, layer.track_running_stats
        return type(layer), layer.num_features, how
    return id(layer)


def run(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Return the outputs of layers of one kind, side by side, for maps that lie side by side."""
    if isinstance(layers[0], nn.BatchNorm2d):
        return normalise(cast("Sequence[nn.BatchNorm2d]", layers), x)
    if len(layers) == 1:
        return layers[0](x)
    convolutions = cast("Sequence[nn.Conv2d]", layers)
    first, weight = convolutions[0], joined([layer.weight for layer in convolutions])
    groups = len(layers) * first.groups
    return F.conv2d(x, weight, None, first.stride, first.padding, first.dilation, groups)


def normalise(norms: Sequence[nn.BatchNorm2d], x: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return batch norms of one kind for maps side by side, each times its weight, (K,), if any.

    Weights are folded into scale and shift.
    """
    first = norms[0]
    if len(norms) == 1 and weights is None and not first.training:
        return first(x)  # an export sees its buffers
    scale = shift = None
    if first.affine:
        scale, shift = joined([n.weight for n in norms]), joined([n.bias for n in norms])
    if weights is not None:
        # repeated, not expanded: batch norm reads a scale without its strides (torch 2.15)
        each = weights.repeat_interleave(first.num_features)
        scale = each if scale is None else each * scale
        shift = None if shift is None else each * shift
    if isinstance(first, Synchronised) and first.divided:
        return scaled(norms, x, scale, shift)
    running: list[Tensor] = []
    if not first.training or first.track_running_stats:
        running = [joined([getattr(norm, name) for norm in norms]) for name in RUNNING]
    share = advance(norms)
    # `data`: autograd saves what a norm reads, and is not to see that the next pass changes it
    mean, variance = [each.data for each in running] or (None, None)
    y = F.batch_norm(x, mean, variance, scale, shift, uses_batch(first), share, first.eps)
    if share and len(norms) > 1:
        own = [getattr(norm, name) for name in RUNNING for norm in norms]
        torch._foreach_copy_(own, [part for each in running for part in each.chunk(len(norms))])
    return y


def joined(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return `torch.cat` of tensors; its gradient is one split, not a slice for each."""
    if len(tensors) == 1:
        return tensors[0]
    if not any(tensor.requires_grad for tensor in tensors):
        return torch.cat(list(tensors), dim)
    return _Joined.apply(dim, *tensors)


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dim: int, *tensors: Tensor) -> Tensor:
        ctx.dim, ctx.sizes = dim, [tensor.shape[dim] for tensor in tensors]
        return torch.cat(tensors, dim)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *gradients[0].split(ctx.sizes, ctx.dim)


def _origin(m: Map) -> Map:
    """Return the map that `m` rectifies if it still waits, else `m`."""
    return m.source if isinstance(m, Later) and m.abreast is None and m.layer is RELU else m


def _place(m: Map) -> tuple[Abreast | None, int]:
    """Return the maps among which a map lies abreast, and its position there."""
    return (m.abreast, m.position) if isinstance(m, Later) else (None, 0)


def _piece(maps: Sequence[Map]) -> tuple[Tensor, int]:
    """Return as many of the first maps as are a part of those abreast, and their number."""
    first = maps[0]
    abreast, start = _place(first)
    if isinstance(first, Tensor) or abreast is None:
        return (first if isinstance(first, Tensor) else first.map), 1
    count = 1
    while count < len(maps) and _place(maps[count]) == (abreast, start + count):
        count += 1
    if abreast.count % count or start % count:
        count = 1
    return abreast.part(start, count), count
