"""The folders of YAML files: the groups' own folder, and those that a command adds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nasrun.config.words import key_of, parsed


def conf_folder() -> Path:
    """Return the folder of the groups: beside the package in a wheel, at the top in a clone."""
    shipped = Path(__file__).parents[1] / "conf"
    return shipped if shipped.is_dir() else Path(__file__).parents[3] / "conf"


def options(group: str, folders: Sequence[Path] = ()) -> dict[str, str]:
    """Return the options of a group with the first line of their files, and the command in it."""
    return {
        path.stem: _description(path)
        for folder in (conf_folder(), *folders)
        for path in sorted((folder / group).glob("[!_]*.yaml"))
    }


def _description(path: Path) -> str:
    """Return the first comment line of a file, with the line below it if it ends with a colon."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return f"cannot be read ({error.__class__.__name__})"
    comments = (x.removeprefix("#").strip() for x in lines if not x.startswith("# @package"))
    first = next(comments, "")
    return f"{first}\n{next(comments, '')}" if first.endswith(":") else first


def behaviour() -> dict[str, str]:
    """Return the keyword by which Hydra 1.3 behaves as itself; later versions do so without it."""
    import hydra

    return {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}


def search_folders(overrides: Sequence[str]) -> list[Path]:
    """Return the folders that `hydra.searchpath=[file://DIR]` adds; empty if it is unreadable."""
    added: list[Path] = []
    for override in overrides:
        if key_of(override) == "hydra.searchpath":
            try:
                value = parsed(override).value()
            except ValueError:
                continue
            named = [str(one) for one in value] if isinstance(value, list) else []
            paths = (one.removeprefix("file://") for one in named)
            added += [Path(path) for path in paths if "://" not in path]
    return added
