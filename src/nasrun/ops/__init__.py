"""The candidate operations of cell spaces, by name: `build("sep_conv_3x3", ...)`.

An operation is a class with the decorator `@op(NAME)`, in a module of this package or in any module
that is imported before a space is built.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import nn

from nasrun.genotype import NONE
from nasrun.ops.operation import Operation, Whole

Factory = Callable[[int, int, bool], nn.Module]
_registry: dict[str, tuple[Factory, str]] = {}
"""Factory and registering module of each operation, by name."""


def op(name: str) -> Callable[[Any], Any]:
    """Register a factory `(channels, stride, affine) -> Module` under the name of a choice."""

    module: str = sys._getframe(1).f_globals["__name__"]  # a partial's module would be functools

    def register(factory: Any) -> Any:
        assert name not in _registry, f"operation {name} is registered twice"
        _registry[name] = factory, module
        return factory

    return register


def known() -> tuple[str, ...]:
    """Return the names of all registered operations."""
    return tuple(_registry)


def modules(names: Iterable[str]) -> tuple[str, ...]:
    """Return the modules that registered these operations, for another process to import."""
    return tuple(dict.fromkeys(_registry[name][1] for name in names if name in _registry))


@cache
def parametric(name: str) -> bool:
    """Return whether an operation has weights; true for an operation that is not registered.

    Batch norms do not count, nor the weights of an identity that halves a map.
    """
    if name == NONE:
        return False
    if name not in _registry:
        return True
    with torch.device("meta"):
        return any(True for _ in build(name, 2, 1, False).parameters())


def build(name: str, channels: int, stride: int, affine: bool) -> Operation:
    """Return the operation `name`: (B, channels, H, W) to (B, channels, H/stride, W/stride)."""
    factory, _ = _registry[name]
    made = factory(channels, stride, affine)
    return made if isinstance(made, Operation) else Whole(made)


for _module in ("conv", "noise", "pool"):
    import_module(f"nasrun.ops.{_module}")
