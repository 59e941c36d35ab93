"""Training that diverged to non-finite numbers: no later step repairs that, so it ends.

Each owner of the trained part adds its own key in front, so that the message has keys as typed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.nn import Module


class Diverged(ValueError):
    """`what` diverged with these `losses`; smaller values of the `keys` may prevent it."""

    def __init__(self, what: str, losses: Mapping[str, float], keys: Sequence[str]) -> None:
        self.what, self.losses, self.keys = what, dict(losses), tuple(keys)
        lost = {name: loss for name, loss in losses.items() if not math.isfinite(loss)} or losses
        values = ", ".join(f"{name} {loss:.4g}" for name, loss in lost.items())
        self.happened = f"{what} diverged" + (f" ({values})" if values else "")
        *others, last = self.keys
        self.advice = f"use a smaller {' or '.join(filter(None, [', '.join(others), last]))}"
        super().__init__(f"{self.happened}; {self.advice}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.losses, self.keys)  # a worker process sends it


def finite(measured: Mapping[str, float], *trained: Module) -> bool:
    """Return whether all `measured` numbers, and parameters and buffers of modules, are finite."""
    numbers = (x for module in trained for x in chain(module.parameters(), module.buffers()))
    return all(map(math.isfinite, measured.values())) and all(
        bool(x.isfinite().all()) for x in numbers
    )


@contextmanager
def below(group: str) -> Iterator[None]:
    """Prefix the keys of a `Diverged` that is raised inside with `group`."""
    try:
        yield
    except Diverged as error:
        keys = [f"{group}.{key}" for key in error.keys]
        raise Diverged(error.what, error.losses, keys) from error
