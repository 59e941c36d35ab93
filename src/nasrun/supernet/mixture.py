"""How much every candidate of every decision counts in a forward pass."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """How much every candidate counts in a forward pass.

    `weights` is (decisions, choices), rows in the order of the space's decisions; `active` names
    the columns to run in each row, as plain Python, so that no tensor is asked during a step.
    """

    weights: Tensor
    active: tuple[tuple[int, ...], ...]
