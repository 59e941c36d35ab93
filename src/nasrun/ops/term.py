"""Terms: the outputs of operations, whose last linear layer and batch norm are still to be applied.

Nearly every operation of a cell ends with a 1x1 convolution and a batch norm, or with only a batch
norm, and an edge needs only the weighted sum of its operations. So an operation turns a `State`
into a `Term`, and a `Sum` adds terms: one matrix product per term applies linear layer, norm and
weight (`nasrun.ops.normalised`), and no intermediate map is computed or kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from nasrun.ops.alike import normalise
from nasrun.ops.state import LAST, State, lies
from nasrun.ops.statistics import uses_batch


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

    def completed(self) -> Term:
        """Return the term with all following operations applied; their layers may wait."""
        term = self
        while term.then is not None:
            made = term.projected
            term = term.then.term(made if term.norm is None else made.after(term.norm))
        return term

    @property
    def projected(self) -> State:
        """`linear(state)`, which may wait."""
        return self.state if self.linear is None else self.state.after(self.linear)

    def map(self, weight: Tensor | None = None) -> Tensor:
        """Return `norm(linear(state))`, times a scalar `weight` unless it is `None`."""
        z = self.state.map if self.linear is None else self.linear(self.state.map)
        if self.norm is not None:
            return normalise([self.norm], z, None if weight is None else weight[None])
        return z if weight is None else weight * z
