"""Files besides data that settings name: where they lie, and whether they are still the same."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun.files import digest_of

if TYPE_CHECKING:
    from nasrun.runs.run import Run

FILES = (
    "strategy.latency_table",
    "strategy.evaluator.table",
    "task.distance.weights",
    "budget.latency_table",
)
"""The keys of such files. They may be moved: a run knows them by their digests."""
DIGESTS = "files"
"""The key of the digests in a configuration."""


def absolute(path: str) -> str:
    """Return an absolute path, with `~` expanded."""
    return os.path.abspath(Path(path).expanduser())


def located(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which the paths of files are absolute."""
    found = deepcopy(dict(settings))
    for key in FILES:
        *groups, name = key.split(".")
        node = found
        for group in groups:
            node = node.get(group) or {} if isinstance(node, dict) else {}
        if isinstance(node, dict) and node.get(name) is not None:
            node[name] = absolute(node[name])
    return found


def named(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the paths of the files that the settings name, by key."""
    found = {}
    for key in FILES:
        node: Any = settings
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        if node is not None:
            found[key] = str(node)
    return found


def digests(settings: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return a part of a configuration: the digests of named files that exist; else empty."""
    there = {key: Path(path) for key, path in named(settings).items() if Path(path).is_file()}
    return {DIGESTS: {key: digest_of(path)[:16] for key, path in there.items()}} if there else {}


def refuse_other_files(groups: Mapping[str, Any], run: Run) -> None:
    """Raise ValueError if a file of these groups is another one than when the run was searched."""
    theirs, ours = run.config.get(DIGESTS, {}), digests(groups).get(DIGESTS, {})
    for key, path in named(groups).items():
        if key in theirs and key in ours and theirs[key] != ours[key]:
            raise ValueError(
                f"{key}={path}: {run.path} was searched with another file, or it was changed "
                "since; give the file of then, or search again"
            )
