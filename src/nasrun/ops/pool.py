"""Pooling operations of cell spaces: without batch norm, which a space may add."""

from __future__ import annotations

from torch import nn

from nasrun.ops import op


@op("max_pool_3x3")
def max_pool_3x3(channels: int, stride: int, affine: bool) -> nn.Module:
    """The largest of 3 x 3 pixels."""
    return nn.MaxPool2d(3, stride, padding=1)


@op("avg_pool_3x3")
def avg_pool_3x3(channels: int, stride: int, affine: bool) -> nn.Module:
    """The mean of 3 x 3 pixels, padding not counted."""
    return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
