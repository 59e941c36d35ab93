"""Checks that nodes can be built: their targets, and the keywords and types of values.

Nothing is imported for it, so that nothing of a configuration runs before all of it is checked. A
target is a class, defined in a module of nasrun, of `torch.optim` or of a package that the command
line trusts, and derived from the base class of its group or the type of its parameter. A function
is allowed only for a parameter that takes functions of exactly its signature, and is called later
(`_partial_: true`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nasrun.config.folders import options
from nasrun.config.keys import OPTIMIZERS
from nasrun.config.kinds import Call, Instance, Kind, Maker, calls_in
from nasrun.config.reading import instance, signature
from nasrun.config.sources import module_of
from nasrun.config.trust import trusts
from nasrun.config.words import did_you_mean

OPTIMIZER = "torch.optim.Optimizer"
TARGET, PARTIAL = "_target_", "_partial_"
BASES = {
    "space": "nasrun.spaces.base.Space",
    "strategy": "nasrun.strategies.base.Strategy",
    "selector": "nasrun.selectors.base.Selector",
    "dataset": "nasrun.data.base.Data",
    "task": "nasrun.tasks.base.Task",
    "budget": "nasrun.budget.Budget",
    "engine": "nasrun.engines.base.Engine",
    "retrain": "nasrun.retrain.Retrain",
    "transfer": "nasrun.retrain.Retrain",
    "transfer.dataset": "nasrun.data.base.Dataset",
    "claim": "nasrun.claims.claim.Claim",
    "tracker": "nasrun.trackers.base.Tracker",
}
"""Base class of the object of each key, or of those below it."""
LARGEST = 3.4e38
"""Largest number of 32 bits; torch refuses larger ones for such tensors."""


def check(nodes: Mapping[str, Any], trusted: Sequence[str]) -> dict[str, Call]:
    """Return the calls that plain, resolved nodes describe, by their keys.

    ValueError names the key and the value of what cannot be built.
    """
    calls = {}
    for key, node in nodes.items():
        call = _read(node, key, trusted)
        _check_kind(call, instance(_base_of(key)), key, node)
        _check_keywords(call)
        calls[key] = call
    return calls


def _base_of(key: str) -> str:
    return BASES[key] if key in BASES else _base_of(key.rpartition(".")[0])


def _read(node: Any, key: str, trusted: Sequence[str]) -> Any:
    """Return the value with its nodes as calls; targets have to be admitted, numbers finite."""
    if isinstance(node, Mapping):
        called = (TARGET, PARTIAL) if TARGET in node else ()
        given = {
            str(name): _read(child, f"{key}.{name}", trusted)
            for name, child in node.items()
            if name not in called
        }
        return _call(node, key, given, trusted) if called else given
    if isinstance(node, list):
        return [_read(child, f"{key}[{index}]", trusted) for index, child in enumerate(node)]
    if isinstance(node, float) and not math.isfinite(node):
        raise ValueError(f"{key}={node}: expected a finite number")
    if isinstance(node, float) and abs(node) > LARGEST:
        raise ValueError(f"{key}={node:g}: use at most {LARGEST:g}, which 32 bits hold")
    if isinstance(node, int) and abs(node) >= 2**63:
        raise ValueError(f"{key}={_shown(node)}: use less than 2 to the power of 63")
    return node


def _call(
    node: Mapping[str, Any], key: str, given: Mapping[str, Any], trusted: Sequence[str]
) -> Call:
    target = node[TARGET]
    typed = f"{key}.{TARGET}={_shown(target)}"
    if not isinstance(target, str) or not trusts(trusted, target):
        package = str(target).split(".")[0]
        raise ValueError(f"{typed}: not trusted; code outside nasrun needs trust=[{package}]")
    parts = target.split(".")
    if any(part.startswith("_") or not part.isidentifier() for part in parts):
        raise ValueError(f"{typed}: private; name a public class")
    for name in given:
        if name.startswith("_"):
            raise ValueError(f"{key}.{name}: is not read; give the keywords of {target} by name")
    partial = node.get(PARTIAL, False)
    if not isinstance(partial, bool):
        raise ValueError(f"{key}.{PARTIAL}={_shown(partial)}: expected true or false")
    found = signature(target)
    if found is None:
        raise ValueError(f"{typed}: {_absent(target)}")
    return Call(key, target, found, partial, given)


def _absent(target: str) -> str:
    """Return why a target does not exist."""
    module_name, _, name = target.rpartition(".")
    module = module_of(module_name)
    if module is None:
        return f"there is no module {module_name}; name a class by its whole path"
    elsewhere = module.bound.get(name)
    if isinstance(elsewhere, str):
        return f"{module_name} only imports it; name a class where it is defined, {elsewhere}"
    known = [name for name in module.bound if signature(f"{module_name}.{name}") is not None]
    return f"{module_name} has no {name}{did_you_mean(name, known)}"


def _check_kind(value: Any, kind: Kind, key: str, shown: Any) -> None:
    if not kind.admits(value):
        named = _names(kind, value)
        raise ValueError(f"{key}={_shown(shown)}: expected {named or kind.words}")


def _names(kind: Kind, value: Any) -> str:
    """Return what else to say of a kind: the names of optimizers, and what a node lacks."""
    if isinstance(kind, Instance) and isinstance(value, Mapping):
        return f"{kind.words}, but it has no `{TARGET}`; name one, or a base under `defaults:`"
    if not isinstance(kind, Maker) or kind.returned != instance(OPTIMIZER):
        return ""
    known = options(OPTIMIZERS)
    return (
        f"an optimizer: on the command line {', '.join(known)}, in a file a node with `_target_: "
        f"torch.optim.NAME` and `_partial_: true`{did_you_mean(str(value), known)}"
    )


def _check_keywords(call: Call) -> None:
    """Raise ValueError unless a call, and all calls in it, have known keywords of right types."""
    parameters = call.signature.parameters
    for name, value in call.given.items():
        key = f"{call.key}.{name}"
        if name in parameters:
            _check_kind(value, parameters[name].kind, key, value)
        elif not call.signature.loose:
            raise ValueError(
                f"{key}={_shown(value)}: {call.target} has no such keyword"
                f"{did_you_mean(name, parameters) or '; leave it out'}"
            )
        for inner in calls_in(value):
            _check_keywords(inner)
    if call.partial:
        return
    for name, parameter in parameters.items():
        if parameter.required and name not in call.given:
            raise ValueError(f"{call.key}.{name}: {call.target} needs this key; give it a value")


def _shown(value: Any) -> str:
    """Return a value as it is typed, an object by its target."""
    if isinstance(value, Call):
        return value.target
    if isinstance(value, Mapping):
        return str(value.get(TARGET, "{...}"))
    text = "null" if value is None else str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
