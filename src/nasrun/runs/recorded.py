"""The identity of a run: its recorded configuration, and the contents of its data sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasrun.config import refuse_references
from nasrun.data.contents import WHEREABOUTS, Contents
from nasrun.files import read_yaml, write_whole

CONTENTS = "contents.json.gz"


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without where its data sets are stored and how they are read.

    The contents of a data set of files are under the key `contents`.
    """
    return {
        key: identity(
            {name: each for name, each in value.items() if name not in WHEREABOUTS}
            if key == "dataset"
            else value
        )
        if isinstance(value, Mapping)
        else value
        for key, value in config.items()
    }


def write_contents(folder: Path, contents: Contents | None) -> None:
    """Record the names and sizes of a data set's files, if it consists of files."""
    if contents is not None:
        write_whole(folder / CONTENTS, lambda file: file.write(contents.to_bytes()))


def refuse_other_contents(
    folder: Path, config: Mapping[str, Any], contents: Contents | None, key: str
) -> None:
    """Raise ValueError, naming files, if the work in a folder began with other contents."""
    known, now = config.get("contents"), contents or Contents({})
    if known in (None, now.digest):  # older runs did not record it
        return
    changes = Contents.read(folder / CONTENTS).changes(now)
    raise ValueError(
        f"{key}: the images are not those that {folder} began with: {changes}; put them back, or "
        "start a new run with outputs=DIR"
    )


def recorded(path: Path, *needed: str) -> dict[str, Any]:
    """Read a recorded, resolved configuration; references in it are refused."""
    content = read_yaml(path, *needed)
    refuse_references(content, str(path))
    return content
