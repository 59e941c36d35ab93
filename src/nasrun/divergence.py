"""Training that has left the finite numbers: no later step mends that, so it ends there.

Whoever owns what trained puts its own key in front, so that the message names keys as typed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.nn import Module


class Diverged(ValueError):
    """`what` diverged, as these losses tell; smaller values of some `keys` may prevent it."""

    def __init__(self, what: str, losses: Mapping[str, float], keys: Sequence[str]) -> None:
        self.what, self.losses, self.keys = what, dict(losses), tuple(keys)
        lost = {name: loss for name, loss in losses.items() if not math.isfinite(loss)} or losses
        told = ", ".join(f"{name} {loss:.4g}" for name, loss in lost.items())
        self.happened = f"{what} diverged" + (f" ({told})" if told else "")
        *others, last = self.keys
        self.advice = f"use a smaller {' or '.join(filter(None, [', '.join(others), last]))}"
        super().__init__(f"{self.happened}; {self.advice}")


def finite(measured: Mapping[str, float], *trained: Module) -> bool:
    """Whether all that was measured is finite, and all parameters and buffers of what trained."""
    numbers = (x for module in trained for x in chain(module.parameters(), module.buffers()))
    return all(map(math.isfinite, measured.values())) and all(
        bool(x.isfinite().all()) for x in numbers
    )


@contextmanager
def below(group: str) -> Iterator[None]:
    """Keys of what diverges inside lie below this one."""
    try:
        yield
    except Diverged as error:
        keys = [f"{group}.{key}" for key in error.keys]
        raise Diverged(error.what, error.losses, keys) from error
