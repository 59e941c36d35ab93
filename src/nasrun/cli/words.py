"""Words of a reading verb: `key=value`, and names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nasrun.config.words import did_you_mean


def sorted_out(words: Sequence[str], known: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return the `key=value` words and the others, `~` expanded; ValueError for unknown keys."""
    from nasrun.config import at_home

    keys = dict(word.split("=", 1) for word in words if "=" in word)
    for key in keys:
        if key not in known:
            hint = did_you_mean(key, known) or f"; there are {', '.join(known)}"
            raise ValueError(f"{key}: unknown key{hint}")
    return at_home(keys), [at_home(word) for word in words if "=" not in word]


def apart(words: Sequence[str], own: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return the `key=value` words of a verb's own keys, `~` expanded, and all other words."""
    from nasrun.config import at_home

    known = tuple(f"{key}=" for key in own)
    typed = [word for word in words if word.startswith(known)]
    others = [word for word in words if not word.startswith(known)]
    return at_home(dict(word.split("=", 1) for word in typed)), others


def whole(keys: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    """Return a key's integer; ValueError for other text, or a number below `least`."""
    text = keys.get(name, str(default))
    try:
        value = int(text)
    except ValueError:
        raise ValueError(f"{name}={text}: expected a whole number") from None
    if value < least:
        raise ValueError(f"{name}={text}: use {least} or more")
    return value


def one_of(keys: Mapping[str, str], name: str, known: Sequence[str]) -> str:
    """Return a key's word, by default the first known one; ValueError for another word."""
    word = keys.get(name, known[0])
    if word not in known:
        raise ValueError(f"{name}={word}: use {', '.join(known[:-1])} or {known[-1]}")
    return word


def new_file(keys: Mapping[str, str], name: str, default: str) -> Path:
    """Return a key's path of a new file; ValueError if it exists or is not writable."""
    path = Path(keys.get(name, default))
    if path.exists():
        raise ValueError(f"{name}={path}: this file exists already; name another")
    if not os.access(path.absolute().parent, os.W_OK):
        raise ValueError(f"{name}={path}: its folder is missing or not writable; make it first")
    return path


def run_folders(before: Sequence[str]) -> list[str]:
    """Return the runs below the folder in the words, with their selections, the newest first."""
    from nasrun.pipeline.stages import SELECT
    from nasrun.runs.run import Run

    named = [word.removeprefix("outputs=") for word in before if word.startswith("outputs=")]
    runs = Run.all(Path([*named, "outputs"][0]))[::-1]
    selected = (folder for run in runs for folder in sorted(run.path.glob(f"{SELECT.name}/*/")))
    return [str(run.path) for run in runs] + [str(folder) for folder in selected]
