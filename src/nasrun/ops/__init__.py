"""The candidate operations of cell spaces, by name: `build("sep_conv_3x3", ...)`.

An operation is a class with the decorator `@op(NAME)` in a module of this package, or in any
module that is imported before a space is built.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import nn

Factory = Callable[[int, int, bool], nn.Module]
_registry: dict[str, Factory] = {}


def op(name: str) -> Callable[[Any], Any]:
    """Register a factory `(channels, stride, affine) -> Module` under the name of a choice."""

    def register(factory: Any) -> Any:
        assert name not in _registry, f"operation {name} is registered twice"
        _registry[name] = factory
        return factory

    return register


def known() -> tuple[str, ...]:
    """The names of all registered operations."""
    return tuple(_registry)


def build(name: str, channels: int, stride: int, affine: bool) -> nn.Module:
    """The operation of that name: (B, channels, H, W) to (B, channels, H/stride, W/stride)."""
    return _registry[name](channels, stride, affine)


for _module in ("conv", "noise", "pool"):
    import_module(f"nasrun.ops.{_module}")
