"""Expands `~`, the user's home folder at the beginning of a path, as a shell does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def at_home(value: Any) -> Any:
    """Return a text with `~` at its beginning expanded, also inside lists and mappings.

    ValueError if there is no home folder: a folder must never be named `~`.
    """
    if isinstance(value, Mapping):
        return {key: at_home(child) for key, child in value.items()}
    if isinstance(value, list):
        return [at_home(child) for child in value]
    if not isinstance(value, str) or not value.startswith("~"):
        return value
    path = os.path.expanduser(value)
    if path == value and value.split("/")[0] == "~":
        raise ValueError(f"{value}: there is no home folder; write the whole path")
    return path
