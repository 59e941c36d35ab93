"""From checked nodes to the objects that they describe: the only place where a target is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

from nasrun.config.checking import check
from nasrun.config.kinds import Call


def build(node: Mapping[str, Any], key: str, trusted: Sequence[str] = ()) -> Any:
    """Return the object that a plain, resolved node describes, after checking all of it."""
    return build_all({key: node}, trusted)[key]


def build_all(nodes: Mapping[str, Any], trusted: Sequence[str] = ()) -> dict[str, Any]:
    """Return the objects that several nodes describe; none is made before all are checked."""
    return {key: _made(call) for key, call in check(nodes, trusted).items()}


def _made(value: Any) -> Any:
    if isinstance(value, list):
        return [_made(child) for child in value]
    if isinstance(value, Mapping):
        return {name: _made(child) for name, child in value.items()}
    if not isinstance(value, Call):
        return value
    module, _, name = value.target.rpartition(".")
    target = getattr(import_module(module), name)
    given = {word: _made(child) for word, child in value.given.items()}
    try:
        if not value.partial:
            return target(**given)
        later = partial(target, **given)
        if value.target.startswith("torch.optim."):
            _try(later, given)
        return later
    except (ValueError, TypeError) as error:
        last = value.key.rpartition(".")[2]
        text = str(error).strip().splitlines()[0]
        joint = ": " if value.partial else "."
        raise ValueError(f"{value.key}{joint}{text.removeprefix(f'{last}.')}") from error


def _try(optimizer: Any, given: Mapping[str, Any]) -> None:
    """Take an optimizer step on nothing, since errors of a partial show only when it is called."""
    import torch

    nothing = torch.zeros(1, 1, requires_grad=True)
    nothing.grad = torch.ones_like(nothing)
    try:
        made = optimizer([nothing])
        if not given.get("capturable"):  # only on a GPU
            made.step()
    except RuntimeError as error:
        raise ValueError(str(error)) from error
