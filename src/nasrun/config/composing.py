"""From overrides to a composed configuration, and what is read and replaced in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nasrun.config.explaining import explain, first_line
from nasrun.config.folders import conf_folder
from nasrun.config.keys import GROUPS, Frame


@dataclass(frozen=True)
class Composed:
    """A composed configuration and the option chosen in each group."""

    config: DictConfig
    choices: dict[str, str]


def register() -> None:
    """Tell Hydra the types of the frame's keys."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="frame", node=Frame)


def compose(overrides: Sequence[str]) -> Composed:
    """The configuration of these overrides; ValueError with key, value and what would do."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException

    register()
    for override in overrides:
        group, _, value = override.partition("=")
        if group in GROUPS and group != "experiment" and value.startswith("["):
            raise ValueError(f"{override}: one option; several need -m {group}={value.strip('[]')}")
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            config = hydra_compose("config", list(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ValueError(explain(overrides, error)) from error
    choices = {
        key: value for key, value in config.hydra.runtime.choices.items() if "hydra/" not in key
    }
    with _open(config):
        del config["hydra"]
    return Composed(config, choices)


def resolve(node: DictConfig) -> dict[str, Any]:
    """A plain dictionary without interpolations; ValueError names a key that is not given."""
    try:
        content = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "a key"
        if "Missing mandatory value" in str(error):
            raise ValueError(f"{key}: has no default, give it on the command line") from error
        raise ValueError(f"{key}: {first_line(error)}") from error
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def value_at(config: DictConfig | Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key, None where there is none."""
    node = config if isinstance(config, DictConfig) else OmegaConf.create(dict(config))
    return OmegaConf.select(node, key)


def refers(node: DictConfig, key: str) -> bool:
    """Whether any value of a node is that of a key of the frame."""
    return f"${{{key}}}" in OmegaConf.to_yaml(node)


def put(config: DictConfig, values: Mapping[str, Any]) -> None:
    """Replace top-level keys of a composed configuration."""
    with _open(config):
        for key, value in values.items():
            config[key] = value


def frame(config: DictConfig) -> Frame:
    """The keys of the frame, checked."""
    plain = {name: config[name] for name in Frame.__dataclass_fields__ if name not in GROUPS}
    plain["stages"] = list(plain["stages"])
    checked = Frame(**plain)
    checked.check()
    return checked


def _open(config: DictConfig) -> Any:
    from omegaconf import open_dict

    return open_dict(config)
