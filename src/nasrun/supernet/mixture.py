"""How much every candidate of every decision counts in a forward pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """How much every candidate counts in a forward pass.

    `weights` is (decisions, choices), rows in the order of the space's decisions; `active` names
    the columns to run in each row, as plain Python, so that no tensor is asked during a step.
    `rest` (decisions,) is added to what a decision's candidates give: nothing but a gradient
    (`nasrun.supernet.relaxation.HardGumbel`); null adds none.
    """

    weights: Tensor
    active: tuple[tuple[int, ...], ...]
    rest: Tensor | None = None

    def with_rest(self, map: Tensor, rows: Iterable[int]) -> Tensor:
        """The sum of what these decisions give, the rest of all of them included."""
        if self.rest is None:
            return map
        return map + torch.stack([self.rest[row] for row in rows]).sum()
