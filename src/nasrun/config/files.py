"""Restrictions on the files of a configuration, and checks that they have an effect.

A YAML file of somebody else is read but not trusted: it chooses options and sets keys. Hydra's own
options name code that Hydra calls, so they come only from the command line and installed plugins.
Of OmegaConf's resolvers, functions that a value may call, only those that look something up are
allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from nasrun.config.folders import conf_folder
from nasrun.config.keys import GROUPS, LISTED
from nasrun.config.words import fault_of_path
from nasrun.files import Boundless, read_yaml

REFERENCE = re.compile(r"\$\{(\.*[\w.\[\]]+|oc\.(select|env):[^${}]*)\}")
"""A reference to a key, by its path from the top or, after dots, from here; or a lookup."""


def refuse_resolvers(content: Any, key: str = "") -> None:
    """Raise ValueError for a value that refers to more than keys and the environment."""
    for where, text in leaves(content, key):
        if isinstance(text, str) and "${" in REFERENCE.sub("", text):
            raise ValueError(
                f"{where}={text}: refer by ${{KEY}}, ${{oc.select:KEY,OTHERWISE}} or "
                "${oc.env:NAME}; other resolvers are refused"
            )


def refuse_references(content: Any, where: str) -> None:
    """Raise ValueError for a value with a reference: a recorded configuration is resolved."""
    for key, text in leaves(content):
        if isinstance(text, str) and "${" in text:
            raise ValueError(
                f"{where}: {key}={text} is a reference, which a recorded configuration cannot "
                "have; write the value itself"
            )


def refuse_foreign_options(hydra: DictConfig, plain: DictConfig) -> None:
    """Raise ValueError if files have set Hydra's own options, which are `plain` without files."""
    ours, theirs = _options_of(plain), _options_of(hydra)
    for key in sorted({*ours, *theirs}):
        if key not in ours or key not in theirs or ours[key] != theirs[key]:
            raise ValueError(
                f"hydra.{key}: is set in a file, and Hydra's own options are read from the "
                "command line only; type it there, or remove it from the file"
            )


def refuse_paths(choices: Mapping[str, Any]) -> None:
    """Raise ValueError for an option named by a path: runs and reports use its name."""
    for group, options in choices.items():
        for option in options if isinstance(options, list) else [options]:
            if fault := fault_of_path(group, str(option)):
                raise ValueError(fault)


def refuse_names(config: DictConfig, choices: Mapping[str, Any]) -> None:
    """Raise ValueError for a group that a file gives no keys, but something else or nothing."""
    for group in GROUPS:
        value, option = config.get(group), choices.get(group)
        if group in LISTED or isinstance(value, DictConfig):
            continue
        if value is not None:
            raise ValueError(
                f"{group}: {value}: a file gives {group} no keys; choose an option of it under "
                f"`defaults:` by `- override /{group}: {value}`"
            )
        if option is not None:
            raise ValueError(
                f"{group}={option}: its file gives {group} no keys; write them at its top level, "
                "without a `# @package`"
            )


def refuse_overwritten(choices: Mapping[str, Any], folders: Sequence[Path]) -> None:
    """Raise ValueError for a file in added folders whose keys its own base overwrites."""
    for group, option in choices.items():
        name = group.partition("@")[0]
        for path in (folder / name / f"{option}.yaml" for folder in folders):
            content = yaml.safe_load(path.read_text("utf-8-sig")) if path.is_file() else None
            defaults = content.get("defaults") if isinstance(content, Mapping) else None
            if not isinstance(defaults, list) or "_self_" not in defaults:
                continue
            behind = defaults[defaults.index("_self_") + 1 :]
            if bases := [base for base in behind if isinstance(base, str)]:
                raise ValueError(
                    f"{name}={option}: {path}: {bases[0]} comes behind _self_ and overwrites the "
                    "file's own keys; put _self_ at the end of `defaults:`"
                )


def refuse_boundless(folders: Sequence[Path]) -> None:
    """Raise ValueError for a file in added folders that is too large or deep with its aliases.

    Hydra would copy what an alias stands for each time: a few lines could fill the memory.
    """
    for folder in folders:
        for pattern in ("*.yaml", "*/*.yaml", "*/*/*.yaml"):
            for path in sorted(folder.glob(pattern)):
                try:
                    read_yaml(path)
                except Boundless as error:
                    raise ValueError(f"{error}; take it out of {folder}") from error
                except ValueError:
                    continue  # reported where it is read


def refuse_idle_experiment(
    config: DictConfig, options: Sequence[str], folders: Sequence[Path]
) -> None:
    """Raise ValueError for a file of `experiment/` whose keys have no effect."""
    for option in options:
        places = (folder / "experiment" / f"{option}.yaml" for folder in (conf_folder(), *folders))
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            continue
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        if not content:
            raise ValueError(f"experiment={option}: {path} has no keys; give it some")
        keys = set(content) - {"defaults"}
        if keys and keys <= set(config.get("experiment") or ()):
            raise ValueError(
                f"experiment={option}: {path} has no effect; make `# @package _global_` its "
                "very first line, without a byte order mark before it"
            )
    if config.get("experiment"):  # of a file in a package
        raise ValueError(
            f"experiment={','.join(options)}: {', '.join(map(str, config.experiment))} have "
            "no effect; make `# @package _global_` the very first line of the file"
        )


def _options_of(hydra: DictConfig) -> dict[str, Any]:
    """Return Hydra's options by their keys, without those about the typed command."""
    content = OmegaConf.to_container(hydra, resolve=False)
    assert isinstance(content, dict)
    for key in ("overrides", "runtime", "searchpath"):
        del content[key]
    del content["job"]["override_dirname"]
    return dict(leaves(content))


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a configuration with their keys."""
    if isinstance(node, Mapping) and node:
        for name, child in node.items():
            yield from leaves(child, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list) and node:
        for index, child in enumerate(node):
            yield from leaves(child, f"{key}[{index}]")
    else:
        yield key, node
