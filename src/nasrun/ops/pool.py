"""Pooling operations of cell spaces: without batch norm, which a space may add."""

from __future__ import annotations

from torch import nn

from nasrun.ops import op
from nasrun.ops.term import Operation, State, Term


class Pool(Operation):
    """A pool, all edges that leave a state sharing it; with `norm`, which each has for itself."""

    def __init__(self, pool: nn.Module, norm: nn.BatchNorm2d | None = None) -> None:
        super().__init__()
        self.pool = pool
        self.bn = norm

    def term(self, state: State) -> Term:
        return Term(state.through(self.pool), norm=self.bn)


@op("max_pool_3x3")
def max_pool_3x3(channels: int, stride: int, affine: bool) -> Operation:
    """The largest of 3 x 3 pixels."""
    return Pool(nn.MaxPool2d(3, stride, padding=1))


@op("avg_pool_3x3")
def avg_pool_3x3(channels: int, stride: int, affine: bool) -> Operation:
    """The mean of 3 x 3 pixels, padding not counted."""
    return Pool(nn.AvgPool2d(3, stride, padding=1, count_include_pad=False))
