"""The weights of all candidates in a forward pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """The weights of all candidates in a forward pass.

    `weights` is (decisions, choices), rows in the order of the space's decisions; `active` lists
    the columns to run per row, as Python integers, so that a step reads no tensor. `rest`
    (decisions,) is added to the output of a decision's candidates: zeros that carry a gradient
    (`nasrun.supernet.relaxation.HardGumbel`); `None` adds nothing.
    """

    weights: Tensor
    active: tuple[tuple[int, ...], ...]
    rest: Tensor | None = None

    def with_rest(self, map: Tensor, rows: Iterable[int]) -> Tensor:
        """Return the output `map` of the decisions in `rows`, with their rest added."""
        if self.rest is None:
            return map
        return map + torch.stack([self.rest[row] for row in rows]).sum()
