"""A check, from shapes, that this machine can hold the weights of a network before it is built."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from nasrun.machine import installed_bytes


def refuse_weights(build: Callable[[], nn.Module], what: str, instead: str) -> None:
    """Raise ValueError if the weights of the network need more memory than this machine has.

    For the message, `what` has the keys of its size with their values, `instead` what to use.
    """
    there = installed_bytes()
    try:
        with torch.device("meta"):
            network = build()
        need = sum(weight.numel() * weight.element_size() for weight in network.parameters())
    except RuntimeError as error:  # torch counts in 64 bits
        raise ValueError(f"{what}: no machine can hold the weights; use {instead}") from error
    if need > there:
        raise ValueError(
            f"{what}: the weights alone take {need / 2**30:,.0f} GiB, and this machine has "
            f"{there / 2**30:.0f}; use {instead}"
        )
