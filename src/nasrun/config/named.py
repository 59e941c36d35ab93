"""Nodes by name: `retrain.optimizer=adamw`, and `evaluator.formulas=[naswot,synflow]`.

The name of an optimizer stands for the node in its file in `conf/optimizer/`. It replaces the
former optimizer with all of its keys, since momentum and rate of another optimizer would mean
something else. Further keys, such as `retrain.optimizer.lr=3e-4`, are those of the new one. The
name of a training-free score stands for its formulas in `conf/evaluator/`, with their keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nasrun.config.folders import conf_folder, options
from nasrun.config.keys import OPTIMIZERS
from nasrun.config.words import key_of, suggestion
from nasrun.files import read_yaml

SCORES = "evaluator"
"""The group of evaluators, which contains the training-free scores."""
FORMULAS = "formulas"
"""The key of a score's formulas."""


def written_out(
    overrides: Sequence[str], folders: Sequence[Path], compose: Callable[[list[str]], DictConfig]
) -> list[str]:
    """Return the overrides with names replaced by their nodes.

    `compose` composes the other overrides, which shows whether there is a node to replace.
    """
    overrides = [_with_formulas(override, folders) for override in overrides]
    known = options(OPTIMIZERS, folders)
    named = {
        key: value
        for key, _, value in (override.partition("=") for override in overrides)
        if value in known and "." in key and key == key_of(key)
    }
    if not named:
        return list(overrides)
    others = [o for o in overrides if not any(_is_at(o, key) or _is_below(o, key) for key in named)]
    config = compose(others)
    nodes = {key: value for key, value in named.items() if _is_call(config, key)}
    written = list(others)
    for key, name in nodes.items():
        written += [f"~{key}", f"+{key}={_text(_file(OPTIMIZERS, name, folders))}"]
    rest = [o for o in overrides if o not in others and not any(_is_at(o, key) for key in nodes)]
    return written + rest


def beneath_names(overrides: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Return the overrides of a sweep; keys below a name of an optimizer are forced.

    Hydra composes every job itself, and for Hydra the name is a text without keys.
    """
    known = options(OPTIMIZERS, folders)
    pairs = [override.partition("=") for override in overrides]
    named = [key for key, _, value in pairs if "." in key and known.keys() >= {*value.split(",")}]
    return [
        f"++{o}" if o[0] not in "+~" and any(_is_below(o, key) for key in named) else o
        for o in overrides
    ]


def _is_at(override: str, key: str) -> bool:
    return override.partition("=")[0] == key


def _is_below(override: str, key: str) -> bool:
    return key_of(override).startswith(f"{key}.")


def _is_call(config: DictConfig, key: str) -> bool:
    node = OmegaConf.select(config, key, default=None)
    return isinstance(node, DictConfig) and "_target_" in node


def _with_formulas(override: str, folders: Sequence[Path]) -> str:
    """Return an override with names of scores replaced by their formulas.

    ValueError for an unknown name.
    """
    key, _, value = override.partition("=")
    if not (key.endswith(f".{FORMULAS}") and re.fullmatch(r"\[\s*\w+(\s*,\s*\w+)*\s*\]", value)):
        return override
    each = {name: _formulas(name, folders) for name in options(SCORES, folders)}
    known = {name: found for name, found in each.items() if found}
    formulas = []
    for name in value.strip("[] ").replace(" ", "").split(","):
        if name not in known:
            hint = suggestion(name, known)
            raise ValueError(f"{override}: {name} is no score of untrained networks{hint}")
        formulas += known[name]
    return f"{key}={_text(formulas)}"


def _formulas(name: str, folders: Sequence[Path]) -> list[Any]:
    """Return the formulas in an evaluator's file; none where it has none or cannot be read."""
    try:
        node = _file(SCORES, name, folders).get("evaluator")
    except ValueError:
        return []
    found = node.get(FORMULAS) if isinstance(node, Mapping) else None
    return found if isinstance(found, list) else []


def _file(group: str, name: str, folders: Sequence[Path]) -> dict[str, Any]:
    """Return the content of an option's file; ValueError if it cannot be read."""
    paths = (folder / group / f"{name}.yaml" for folder in (conf_folder(), *folders))
    return read_yaml(next(path for path in paths if path.is_file()))


def _text(value: Any) -> str:
    """Return a value in the grammar of overrides."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_text(child)}" for key, child in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)
