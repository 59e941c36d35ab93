"""What a network has learned, everything by name, so that parts of it can move to another one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Tensors = dict[str, Tensor]
"""Tensors by the name that they have in a network's state."""


@dataclass
class Trained:
    """A network's training so far.

    `network` has parameters and buffers, `averages` slowly following copies of some of them (an
    EMA, target networks), `moments` the optimizers' state of every parameter. `memory` is what
    belongs to the network as a whole: counters and what it has seen.
    """

    network: Tensors
    averages: dict[str, Tensors] = field(default_factory=dict)
    moments: dict[str, Tensors] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
