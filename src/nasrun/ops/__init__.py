"""The candidate operations of cell spaces, by name: `build("sep_conv_3x3", ...)`.

An operation is a class with the decorator `@op(NAME)` in a module of this package, or in any
module that is imported before a space is built.
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
"""By name: the factory, and the module that registered it."""


def op(name: str) -> Callable[[Any], Any]:
    """Register a factory `(channels, stride, affine) -> Module` under the name of a choice."""

    module: str = sys._getframe(1).f_globals["__name__"]  # a partial's own is functools

    def register(factory: Any) -> Any:
        assert name not in _registry, f"operation {name} is registered twice"
        _registry[name] = factory, module
        return factory

    return register


def known() -> tuple[str, ...]:
    """The names of all registered operations."""
    return tuple(_registry)


def modules(names: Iterable[str]) -> tuple[str, ...]:
    """The modules that registered these: another process imports them to know as much."""
    return tuple(dict.fromkeys(_registry[name][1] for name in names if name in _registry))


@cache
def parametric(name: str) -> bool:
    """Whether an operation has weights of its own; one that is not registered here counts as such.

    Batch norms do not count, nor what an identity needs where it halves a map.
    """
    if name == NONE:
        return False
    if name not in _registry:
        return True
    with torch.device("meta"):
        return any(True for _ in build(name, 2, 1, False).parameters())


def build(name: str, channels: int, stride: int, affine: bool) -> Operation:
    """The operation of that name: (B, channels, H, W) to (B, channels, H/stride, W/stride)."""
    factory, _ = _registry[name]
    made = factory(channels, stride, affine)
    return made if isinstance(made, Operation) else Whole(made)


for _module in ("conv", "noise", "pool"):
    import_module(f"nasrun.ops.{_module}")
