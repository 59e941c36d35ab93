"""The keys of an option with their values and the comments of its YAML files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import OmegaConf

from nasrun.config.composing import Composed
from nasrun.config.folders import conf_folder
from nasrun.config.words import root_of

LINE = re.compile(r"(?P<indent> *)(?P<key>[\w.]+):(?P<value>[^#]*)(?:#\s*(?P<comment>.*))?$")


class Key(NamedTuple):
    """A key as it is typed, its value as it is written, and the comment beside it."""

    key: str
    value: str
    comment: str


def described(composed: Composed, place: str, folders: Sequence[Path] = ()) -> list[Key]:
    """Return the keys at a place, such as a group; references are shown as written."""
    group = root_of(place)
    whole: Any = OmegaConf.to_container(composed.config, resolve=False)
    raw = whole[group] or {}
    files = _Files((conf_folder(), *folders), composed.choices)
    # of a list of options, each has the key of its name
    options = [composed.choices[group]] if group in composed.choices else list(raw)
    comments = {k: v for option in options for k, v in files.comments(group, option, group)}
    return [
        Key(f"{group}.{key}", _written(value), comments.get(key, ""))
        for key, value in leaves_but_lists(raw)
        if f"{group}.{key}".startswith(f"{place}.")
        and not key.endswith("_partial_")  # it says how a node is built, and is not for users
    ]


def frame_keys() -> list[Key]:
    """Return the keys outside of the groups, with their defaults."""
    text = (conf_folder() / "config.yaml").read_text(encoding="utf-8")
    found, comments = yaml.safe_load(text), dict(_own_comments(text))
    return [
        Key(key, _written(value), comments.get(key, ""))
        for key, value in found.items()
        if key not in ("defaults", "hydra")
    ]


def leaves_but_lists(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a configuration with their keys; a list is one value."""
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves_but_lists(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@dataclass(frozen=True)
class _Files:
    """The files of options, and the options chosen in them."""

    folders: Sequence[Path]
    choices: Mapping[str, str]

    def comments(self, group: str, option: str, package: str) -> Iterator[tuple[str, str]]:
        """Yield the comments by key: those of the files that an option builds on, then its own.

        package: the place of its keys in the configuration.
        """
        path = next(
            (p for f in self.folders if (p := f / group / f"{option}.yaml").is_file()), None
        )
        if path is None:
            return
        text = path.read_text(encoding="utf-8-sig")
        for entry in (yaml.safe_load(text) or {}).get("defaults", ()):
            where, default = (entry, None) if isinstance(entry, str) else next(iter(entry.items()))
            named, at, inner = where.removeprefix("optional ").partition("@")
            if named == "_self_" or named.startswith("override ") or "_global_" in inner:
                continue
            below = f"{inner}." if at and inner != "_here_" else ""
            home = f"{package}.{below}".rstrip(".")
            if default is None:  # another option of this group
                found = self.comments(group, named, home)
            elif at:
                other = named[1:] if named.startswith("/") else f"{group}/{named}"
                chosen = self.choices.get(f"{other}@{home}") or str(default)
                found = self.comments(other, chosen, home)
            else:
                continue
            for key, comment in found:
                yield f"{below}{key}", comment
        yield from _own_comments(text)


def _own_comments(text: str) -> Iterator[tuple[str, str]]:
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        if found := LINE.match(line):
            indent = len(found["indent"])
            above = [(depth, key) for depth, key in above if depth < indent]
            above.append((indent, found["key"]))
            if found["comment"]:
                yield ".".join(key for _, key in above), found["comment"].strip()


def _written(value: Any) -> str:
    if isinstance(value, list | dict):
        return yaml.safe_dump(value, default_flow_style=True, width=10**6).strip()
    return yaml.safe_dump(value).removesuffix("...\n").strip()
