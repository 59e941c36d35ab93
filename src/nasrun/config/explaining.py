"""Hydra says what it could not do; a user needs to know which word to change, and to what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from nasrun.config.folders import conf_folder, options, search_folders
from nasrun.config.keys import FORMER, GROUPS
from nasrun.config.words import did_you_mean, key_of


def explain(overrides: Sequence[str], error: Exception) -> str:
    """One line for an override that Hydra refused."""
    folders = search_folders(overrides)
    for override in overrides:
        key, _, value = override.partition("=")
        bare = key_of(override)
        group = bare.split("@")[0]
        if "=" not in override and not key.startswith("~"):
            return f"{override}: expected key=value"
        if not _parses(override):
            return f"{override}: cannot be read; quote special characters: '{key}=\"...\"'"
        if group in GROUPS and group != "experiment" and value == "null":
            return f"{group}=null: needed; leave a stage out with stages=[search,select]"
        if group in GROUPS and not value.startswith(("{", "[")):
            known = options(group, folders)
            for option in value.split(","):
                if (former := f"{group}={option}") in FORMER:
                    return f"{former}: is two choices now; type {FORMER[former]}"
                if option not in known and option != "null":
                    hint = did_you_mean(option, known) or f"; there are {', '.join(known)}"
                    return f"{group}={option}: unknown option{hint}"
        elif bare.split(".")[0].split("/")[0] == "hydra" or key.startswith(("+", "~")):
            continue
        elif (unknown := _unknown_key(bare, overrides)) is not None:
            return f"{override}: unknown key{unknown}"
    key = getattr(getattr(error, "__cause__", None), "full_key", None) or ""
    text = first_line(error.__cause__ or error)
    for override in overrides:
        group, at, outer = key_of(override).partition("@")
        if at and f"'{group}@{outer}'" in text:
            value = override.partition("=")[2]
            return f"{group}={value}: has no effect, this {outer} has no {group}; leave it out"
    if "is not in struct" in text:
        text = "unknown key; a new one is added by + in front of the override"
    return f"{key}: {text}" if key and key not in text else text


def _parses(override: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def _unknown_key(key: str, overrides: Sequence[str]) -> str | None:
    """What would do instead of a key that the YAML files do not have, None if they have it."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException

    choices = [o for o in overrides if key_of(o).split("@")[0] in (*GROUPS, "hydra.searchpath")]
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            node: Any = hydra_compose("config", choices)
    except (HydraException, OmegaConfBaseException):
        return None
    known = sorted(set(_keys(node)))
    if key in known:
        return None
    parent, _, name = key.rpartition(".")
    siblings = [k[len(parent) + 1 :] for k in known if k.startswith(f"{parent}.")] if parent else []
    siblings = [k for k in siblings if "." not in k] or [k for k in known if "." not in k]
    near = get_close_matches(name, siblings, 1)
    if near:
        return f", did you mean {parent + '.' if parent and parent in known else ''}{near[0]}?"
    if hint := did_you_mean(key, known):
        return hint
    elsewhere = [k for k in known if k.rpartition(".")[2] == name]
    if elsewhere:
        return f", did you mean {elsewhere[0]}?"
    return f"; {parent or 'the frame'} has {', '.join(siblings)}"


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
        for name in map(str, node):
            yield f"{prefix}{name}"
            yield from _keys(node._get_node(name), f"{prefix}{name}.")


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else error.__class__.__name__
