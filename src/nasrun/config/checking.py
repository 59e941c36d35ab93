"""Whether a node can be built: its targets, their keywords and the types of their values."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Literal, Union

from nasrun.config.explaining import first_line
from nasrun.config.words import did_you_mean

TRUSTED = ("nasrun.", "torch.optim.")


def check_targets(node: Any, trusted: Sequence[str], key: str = "") -> None:
    """Every `_target_` is admitted, exists, and takes the keywords and types that are given.

    Numbers are finite.
    """
    if isinstance(node, Mapping):
        for name, child in node.items():
            check_targets(child, trusted, f"{key}.{name}" if key else str(name))
        if "_target_" in node:
            _check_call(node, trusted, key)
    elif isinstance(node, list):
        for index, child in enumerate(node):
            check_targets(child, trusted, f"{key}[{index}]")
    elif isinstance(node, float) and not math.isfinite(node):
        raise ValueError(f"{key}={node}: expected a finite number")


def _check_call(node: Mapping[str, Any], trusted: Sequence[str], key: str) -> None:
    target = node["_target_"]
    admitted = (*TRUSTED, *(f"{name.rstrip('.')}." for name in trusted))
    if not isinstance(target, str) or not target.startswith(admitted):
        package = str(target).split(".")[0]
        raise ValueError(
            f"{key}._target_={target}: not trusted; code outside nasrun needs trust=[{package}]"
        )
    call = _locate(target, key)
    parameters = inspect.signature(call).parameters
    try:
        hints = typing.get_type_hints(call.__init__ if inspect.isclass(call) else call)
    except NameError:  # names that only a type checker imports: the types go unchecked
        hints = {}
    given = {name: value for name, value in node.items() if not name.startswith("_")}
    for name, value in given.items():
        if name not in parameters:
            raise ValueError(
                f"{key}.{name}={_shown(value)}: {target} has no such keyword"
                f"{did_you_mean(name, parameters)}"
            )
        if name in hints and not _fits(value, hints[name]):
            raise ValueError(f"{key}.{name}={_shown(value)}: expected {_named(hints[name])}")
    if node.get("_partial_"):
        _check_partial(call, given, key)
        return
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in given:
            raise ValueError(f"{key}.{name}: {target} needs it, and it is not given")


def _check_partial(call: Any, given: Mapping[str, Any], key: str) -> None:
    """A partial passes silently until it is called: so an optimizer is made once, on nothing."""
    if not call.__module__.startswith("torch.optim"):
        return
    import torch

    try:
        partial(call, **given)([torch.zeros(1, requires_grad=True)])
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{key}: {first_line(error)}") from error


def _locate(target: str, key: str) -> Any:
    module_name, _, name = target.rpartition(".")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise ValueError(f"{key}._target_={target}: there is no module {error.name}") from error
    if not hasattr(module, name):
        hint = did_you_mean(name, dir(module))
        raise ValueError(f"{key}._target_={target}: {module_name} has no {name}{hint}")
    return getattr(module, name)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a YAML value can be meant for a parameter of this type; unsure is yes."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if isinstance(value, Mapping) and "_target_" in value:
        return _makes(value, hint)
    if origin is Literal:
        return value in arguments
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    if origin is tuple and isinstance(value, list):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return all(_fits(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if origin is Sequence:
        return isinstance(value, list) and all(_fits(item, *arguments) for item in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_fits(x, arguments[1]) for x in value.values())
    module = hint.__module__ if inspect.isclass(hint) else ""
    # a list or an object is needed, and this is neither
    return origin is not tuple and not module.startswith(("nasrun.", "torch"))


def _makes(node: Mapping[str, Any], hint: Any) -> bool:
    """Whether the object that a node describes can be of this type."""
    made = _locate(node["_target_"], "")
    ours = inspect.isclass(hint) and hint.__module__.startswith("nasrun.")
    if ours and inspect.isclass(made) and not node.get("_partial_"):
        return issubclass(made, hint)
    return (
        hint not in (bool, int, float, str, type(None)) and typing.get_origin(hint) is not Literal
    )


def _named(hint: Any) -> str:
    """A type in a user's words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_named, arguments))
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"a list of {_named(arguments[0])}"
        return f"a list of {len(arguments)} {_named(arguments[0])}"
    if origin is Sequence:
        return f"a list of {_named(*arguments)}"
    if origin is Mapping:
        return f"keys, each with {_named(arguments[1])}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return "null" if hint is type(None) else names.get(hint, getattr(hint, "__name__", str(hint)))


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("_target_", "{...}"))
    return "null" if value is None else str(value)
