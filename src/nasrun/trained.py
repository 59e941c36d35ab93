"""The training state of a network by name, so that parts of it can move to another network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

Tensors = dict[str, Tensor]
"""Tensors by their names in a network's state."""


@dataclass
class Trained:
    """The training state of a network.

    `network` has parameters and buffers, `averages` has slowly moving copies of some of them (an
    EMA, target networks), `moments` has the optimizers' state of every parameter. `memory` has what
    belongs to the network as a whole: counters and a replay buffer.
    """

    network: Tensors
    averages: dict[str, Tensors] = field(default_factory=dict)
    moments: dict[str, Tensors] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)


def state_of(module: nn.Module, under: str = "") -> Tensors:
    """Return a copy of the module's state on the CPU; `under` precedes every name."""
    return {under + name: value.cpu().clone() for name, value in module.state_dict().items()}
