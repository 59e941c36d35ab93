"""Words of a reading verb: `key=value`, and names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nasrun.config.words import suggestion


def sorted_out(words: Sequence[str], known: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return the `key=value` words and the others, `~` expanded; ValueError for unknown keys.

    A word with an unknown key that is the path of a file or folder is no such word.
    """
    from nasrun.config import at_home

    typed, others = [], []
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals or (key not in known and os.path.exists(at_home(word))):
            others.append(at_home(word))
        elif key in known:
            typed.append(word)
        else:
            raise ValueError(f"{key}: unknown key{suggestion(key, known)}")
    return at_home(_once(typed)), others


def _once(typed: Sequence[str]) -> dict[str, str]:
    """Return `key=value` words by their keys; ValueError for a key that is typed twice."""
    keys: dict[str, str] = {}
    for word in typed:
        key, _, value = word.partition("=")
        if key in keys:
            raise ValueError(f"{word}: {key}={keys[key]} is typed, too; leave one of the two out")
        keys[key] = value
    return keys


def apart(words: Sequence[str], own: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return the `key=value` words of a verb's own keys, `~` expanded, and all other words."""
    from nasrun.config import at_home

    known = tuple(f"{key}=" for key in own)
    typed = [word for word in words if word.startswith(known)]
    others = [word for word in words if not word.startswith(known)]
    return at_home(_once(typed)), others


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


def outputs_of(keys: Mapping[str, str], runs: Sequence[str] = ()) -> Path:
    """Return the folder of all runs; ValueError if a typed one is missing, or runs are named."""
    outputs = Path(keys.get("outputs", "outputs"))
    if "outputs" in keys and runs:
        raise ValueError(f"outputs={outputs}: has no effect with runs; leave it out")
    if "outputs" in keys and not outputs.is_dir():
        raise ValueError(f"outputs={outputs}: there is no such folder; name another")
    return outputs


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
    from nasrun.config.stages import SELECT
    from nasrun.runs.run import Run

    named = [word.removeprefix("outputs=") for word in before if word.startswith("outputs=")]
    runs = Run.all(Path([*named, "outputs"][0]))[::-1]
    selected = (folder for run in runs for folder in sorted(run.path.glob(f"{SELECT.name}/*/")))
    return [str(run.path) for run in runs] + [str(folder) for folder in selected]
