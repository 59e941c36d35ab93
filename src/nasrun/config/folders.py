"""Where the YAML files lie: the groups' own folder, and those that a command adds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from nasrun.config.words import key_of


def conf_folder() -> Path:
    """The folder of the groups: beside the package in a wheel, at the top level in a clone."""
    shipped = Path(__file__).parents[1] / "conf"
    return shipped if shipped.is_dir() else Path(__file__).parents[3] / "conf"


def options(group: str, folders: Sequence[Path] = ()) -> dict[str, str]:
    """The options of a group with the line that their files begin with, and the command in it."""
    found = {}
    for folder in (conf_folder(), *folders):
        for path in sorted((folder / group).glob("[!_]*.yaml")):
            lines = path.read_text().splitlines()
            told = (x.removeprefix("#").strip() for x in lines if not x.startswith("# @package"))
            first = next(told, "")
            found[path.stem] = f"{first}\n{next(told, '')}" if first.endswith(":") else first
    return found


def search_folders(overrides: Sequence[str]) -> list[Path]:
    """The folders that `hydra.searchpath=[file://DIR]` adds."""
    text = " ".join(o for o in overrides if key_of(o) == "hydra.searchpath")
    return [Path(found) for found in re.findall(r"file://([^,\]\s'\"]+)", text)]
