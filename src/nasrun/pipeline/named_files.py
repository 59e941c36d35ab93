"""Files besides data that settings name: where they lie, and whether they are still the same."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun.files import absolute, digest_of

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


def located(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which the paths of files are absolute."""
    found = deepcopy(dict(settings))
    for node, name in _places(found).values():
        node[name] = absolute(node[name])
    return found


def named(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the paths of the files that the settings name, by key."""
    return {key: str(node[name]) for key, (node, name) in _places(settings).items()}


def _places(settings: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """Return, by key, the group that names a file and the last part of the key."""
    found = {}
    for key in FILES:
        *groups, name = key.split(".")
        node: Any = settings
        for group in groups:
            node = node.get(group) if isinstance(node, Mapping) else None
        if isinstance(node, Mapping) and node.get(name) is not None:
            found[key] = node, name
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
                f"{key}={path}: {run.path} was searched with another file, or this one has changed "
                "since; give the original file, or search again"
            )
