"""Optimizers by name: `retrain.optimizer=adamw`, and beside it `retrain.optimizer.lr=3e-4`.

A name stands for the node in its file in `conf/optimizer/`, which takes the place of the optimizer
that was there, with all its keys: momentum and rate of another one would mean something else here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from nasrun.config.folders import conf_folder, options
from nasrun.config.keys import OPTIMIZERS
from nasrun.config.words import key_of


def written_out(
    overrides: Sequence[str], folders: Sequence[Path], compose: Callable[[list[str]], DictConfig]
) -> list[str]:
    """The overrides with the nodes that their names of optimizers stand for, these in front.

    `compose` composes the others, and so tells whether there is a node that a name can replace.
    """
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
        written += [f"~{key}", f"+{key}={_text(_node(name, folders))}"]
    rest = [o for o in overrides if o not in others and not any(_is_at(o, key) for key in nodes)]
    return written + rest


def beneath_names(overrides: Sequence[str], folders: Sequence[Path] = ()) -> list[str]:
    """The overrides of a sweep; those of keys below a name of an optimizer are forced.

    Hydra composes every job itself, and for it a name is a text that has no keys.
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


def _node(name: str, folders: Sequence[Path]) -> dict[str, Any]:
    paths = (folder / OPTIMIZERS / f"{name}.yaml" for folder in (conf_folder(), *folders))
    return yaml.safe_load(next(path for path in paths if path.is_file()).read_text())


def _text(value: Any) -> str:
    """A value in the grammar of overrides."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_text(child)}" for key, child in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)
