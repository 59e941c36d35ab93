"""The statistics of batch norm: sums over pixels and running statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def column_sums(a: Tensor) -> Tensor:
    """Sum the rows, (N, C) to (C,), as a product: three times as fast on a CPU as `sum`."""
    return (a.new_ones(1, len(a)) @ a)[0]


def crossed_sums(a: Tensor, b: Tensor) -> Tensor:
    """Return a^T b, (N, C) and (N, D) to (C, D), in pieces, since BLAS does not split N."""
    pieces = math.gcd(len(a), 8)
    a, b = a.view(pieces, -1, a.shape[1]), b.view(pieces, -1, b.shape[1])
    return torch.bmm(a.transpose(1, 2), b).sum(0)


def uses_batch(norm: nn.BatchNorm2d) -> bool:
    """Return whether a norm takes its statistics from the batch."""
    return norm.training or norm.running_mean is None


def advance(norms: Sequence[nn.BatchNorm2d]) -> float:
    """Count a batch in norms of one kind; return its weight in their running statistics."""
    first = norms[0]
    if not (first.training and first.track_running_stats):
        return 0.0
    counts: list[Any] = [norm.num_batches_tracked for norm in norms]
    torch._foreach_add_(counts, 1)
    return 1 / float(counts[0]) if first.momentum is None else first.momentum


def track(norms: Sequence[nn.BatchNorm2d], mean: Tensor, variance: Tensor, count: int) -> None:
    """Update the running statistics of all norms by those of a batch, (K, C), of `count` pixels.

    Autograd does not see the update, as with batch norm's own kernel: another forward pass that
    still waits for its backward pass (MiLeNAS keeps two) has saved them, but does not read them.
    """
    if share := advance(norms):
        unbiased = variance * (count / max(1, count - 1))
        for name, values in (("running_mean", mean), ("running_var", unbiased)):
            running = [getattr(norm, name).data for norm in norms]
            torch._foreach_lerp_(running, list(values), share)
