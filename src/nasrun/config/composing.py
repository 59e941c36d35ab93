"""Composes overrides to a configuration, and reads and replaces its values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nasrun.config.explaining import explain_value, explained
from nasrun.config.files import (
    leaves,
    refuse_boundless,
    refuse_foreign_options,
    refuse_idle_experiment,
    refuse_names,
    refuse_overwritten,
    refuse_paths,
    refuse_resolvers,
)
from nasrun.config.folders import behaviour, conf_folder, search_folders
from nasrun.config.home import at_home
from nasrun.config.keys import GROUPS, LISTED, TRACKER, Frame
from nasrun.config.named import written_out
from nasrun.config.words import key_of, parsed, root_of


@dataclass(frozen=True)
class Composed:
    """A composed configuration, the options chosen in groups, and the words as Hydra reads them.

    The words are the overrides, with names of optimizers replaced by their nodes.
    """

    config: DictConfig
    choices: dict[str, str]
    words: tuple[str, ...]


@cache
def register() -> None:
    """Register the types of the frame's keys with Hydra, once per process."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="frame", node=Frame)


def compose(overrides: Sequence[str]) -> Composed:
    """Return the configuration of these overrides; ValueError with key, value and what to do."""
    register()
    overrides = [*overrides, *trackers_for_all(overrides)]
    for override in overrides:
        _refuse(override)
    folders = search_folders(overrides)
    refuse_boundless(folders)
    words = written_out(overrides, folders, _composed)
    config = _composed(words)
    if folders:
        typed = [o for o in overrides if root_of(key_of(o)) == "hydra"]
        plain = hydra_options([o for o in typed if key_of(o) != "hydra.searchpath"])
        refuse_foreign_options(config.hydra, plain)
    chosen = dict(config.hydra.runtime.choices)
    choices = {str(key): value for key, value in chosen.items() if "hydra/" not in str(key)}
    experiments = [o.partition("=")[2] for o in overrides if key_of(o) == "experiment"]
    experiments = [name for text in experiments for name in text.strip("[]").split(",")]
    refuse_paths({**choices, "experiment": experiments})
    refuse_idle_experiment(config, experiments, folders)
    refuse_names(config, choices)
    refuse_overwritten(choices, folders)
    with _open(config):
        del config["hydra"]
    refuse_resolvers(OmegaConf.to_container(config, resolve=False))
    return Composed(config, choices, tuple(words))


def _refuse(override: str) -> None:
    """Raise ValueError for an override that cannot be read, or asks for more than one command."""
    group, _, value = override.partition("=")
    if parsed(override).is_sweep_override():
        raise ValueError(
            f"{override}: names several values; name one, or type -m after the verb of a stage, "
            "which then runs one job per value"
        )
    if group in GROUPS and group not in LISTED and value.startswith("["):
        raise ValueError(
            f"{override}: names several options; name one, or run one job for each by "
            f"-m {group}={value.strip('[]')}"
        )
    if override.startswith("~") and key_of(override) in vars(Frame()).keys() - {*GROUPS}:
        raise ValueError(f"{override}: every command needs {key_of(override)}; leave this out")


def trackers_for_all(overrides: Sequence[str]) -> list[str]:
    """Return the choice of trackers that is set once for all commands, unless one is typed."""
    named = os.environ.get(f"NASRUN_{TRACKER.upper()}", "")
    typed = any(key_of(override) == TRACKER for override in overrides)
    return [] if typed or not named else [f"{TRACKER}=[{named}]"]


def hydra_options(overrides: Sequence[str]) -> DictConfig:
    """Return Hydra's own options with these overrides, including its plugins'."""
    register()
    return _composed(overrides).hydra


def _composed(overrides: Sequence[str]) -> DictConfig:
    """Return Hydra's configuration of the overrides, including its own options."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    with explained(overrides), initialize_config_dir(str(conf_folder()), **behaviour()):
        return hydra_compose("config", list(overrides), return_hydra_config=True)


def resolve(node: DictConfig) -> dict[str, Any]:
    """Return a plain dictionary without interpolations; ValueError names a key without a value."""
    try:
        content = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = str(error.full_key or "a key")
        raw = OmegaConf.to_container(node._get_root(), resolve=False)
        raise ValueError(explain_value(error, key, dict(leaves(raw)).get(key))) from error
    assert isinstance(content, dict)
    return {str(key): at_home(value) for key, value in content.items()}


def value_at(config: DictConfig | Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key, `None` if there is none."""
    node = config if isinstance(config, DictConfig) else OmegaConf.create(dict(config))
    return at_home(OmegaConf.select(node, key))


def depends(config: DictConfig, places: Iterable[str], key: str) -> bool:
    """Return whether a value at one of the places depends on a number of the frame.

    The number is changed, so that every form of reference counts.
    """
    value = config[key]
    other = deepcopy(config)
    put(other, {key: 1 if value is None else value + 1})
    return any(_plain(config, place) != _plain(other, place) for place in places)


def _plain(config: DictConfig, place: str) -> Any:
    """Return the resolved value at a dotted key."""
    found = OmegaConf.select(config, place)
    return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found


def put(config: DictConfig, values: Mapping[str, Any]) -> None:
    """Replace values of a composed configuration, by their dotted keys."""
    with _open(config):
        for key, value in values.items():
            OmegaConf.update(config, key, value, merge=False)


def frame(config: DictConfig) -> Frame:
    """Return the checked keys of the frame."""
    raw = OmegaConf.to_container(config, resolve=False)
    assert isinstance(raw, dict)
    plain = {}
    for name in Frame.__dataclass_fields__:
        if name not in GROUPS:
            try:
                plain[name] = at_home(config[name])
            except OmegaConfBaseException as error:
                raise ValueError(explain_value(error, name, raw[name])) from error
    plain["stages"] = list(plain["stages"])
    checked = Frame(**plain)
    checked.check()
    return checked


def _open(config: DictConfig) -> Any:
    from omegaconf import open_dict

    return open_dict(config)
