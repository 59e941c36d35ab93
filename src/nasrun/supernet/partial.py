"""Partial channel connections: PC-DARTS (1907.05737).

An edge's candidates see the first of K parts of its channels. The other channels bypass them, with
max pooling over 2 x 2 pixels where the map is halved. Then the channels are shuffled, so that the
next edge's candidates see channels of the other parts, too. So a mixture needs about 1 / K of the
memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasrun.ops.operation import Sum
from nasrun.ops.state import State
from nasrun.ops.term import Term
from nasrun.spaces.layout import Layout
from nasrun.supernet.edge import Edge
from nasrun.supernet.mixture import Mixture
from nasrun.supernet.region import Probability


def bypassed(edge: Edge, stride: int, layout: Layout) -> nn.Module:
    """Return the edge, with a bypass for the channels that a partial layout keeps from it."""
    return edge if layout.partial == 1 else PartialEdge(edge, stride, layout.partial)


class PartialEdge(nn.Module):
    """An edge on one of `parts` parts of the channels, (B, C, H, W) to (B, C, H / s, W / s).

    The bypass has the weight of its edge: the sum of the candidates' weights, `none` included. If
    no candidate of an edge runs, its bypass does not run either. Drop path drops the output of the
    candidates only.
    """

    def __init__(self, edge: Edge, stride: int, parts: int) -> None:
        super().__init__()
        self.edge = edge
        self.parts = parts
        self.seen, self.rest = ChannelPart(0, 1, parts), ChannelPart(1, parts, parts)
        # ceil: a strided convolution keeps the last row of an odd map, too
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True) if stride == 2 else nn.Identity()

    def forward(self, state: State, mixture: Mixture | None, drop_path: Probability) -> Sum | None:
        mixed = self.edge(state.through(self.seen), mixture, drop_path)
        if mixed is None:
            return None
        rest = self.pool(state.through(self.rest).map)
        if mixture is not None:
            rest = mixture.weights[self.edge.row].sum() * rest
        parts = torch.cat([mixed.map(), rest], dim=1).unflatten(1, (self.parts, -1))
        dealt = parts.transpose(1, 2).flatten(1, 2)  # (B, K, C / K, H, W) to (B, C, H, W)
        return Sum((Term(State(dealt)),))


class ChannelPart(nn.Module):
    """The channels of the parts `first` .. `last` - 1 of `parts`."""

    def __init__(self, first: int, last: int, parts: int) -> None:
        super().__init__()
        self.first, self.last, self.parts = first, last, parts

    def forward(self, x: Tensor) -> Tensor:
        each = x.shape[1] // self.parts
        part = x[:, self.first * each : self.last * each]
        return part.contiguous(memory_format=torch.channels_last)
