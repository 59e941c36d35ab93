"""A stage's state on disk: written as a whole, with the previous one kept, and checked on reading.

A file of digests records what was written. It is written first and has the digest of the previous
state, too, so that after any interruption it knows the state that exists.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from nasrun.files import (
    Hashed,
    digest_of,
    drafted,
    flush,
    read_json,
    refuse_flipped,
    write_record,
)
from nasrun.runs.code import Code

STATE, PREVIOUS, DIGESTS = "state.pt", "state.previous.pt", "state.json"
NEEDED = {"round", "stage", "seconds"}


MARKS = 16
"""Digests that are kept: two for the states that lie there, others of saves that were killed."""


def write_state(
    folder: Path, state: dict[str, Any], lines: Mapping[str, Sequence[str]], code: Code
) -> None:
    """Write a state; the last one becomes the previous one.

    lines: the fingerprints of the rows logged so far, by the names of the files. code: what its
    rounds ran with.
    """
    import torch

    path = folder / STATE
    with drafted(path) as (draft, file):
        counted = Hashed(file)
        torch.save(state, counted)  # type: ignore[arg-type]  # it is written sequentially
        file.flush()
        os.fsync(file.fileno())
        known = [counted.digest.hexdigest(), *_known(folder)][:MARKS]
        write_record(folder / DIGESTS, {"sha256": known, "lines": lines, "code": code})
        if path.exists():
            path.replace(folder / PREVIOUS)
        draft.replace(path)
        flush(folder)


def read_state(folder: Path, *, repair: bool) -> dict[str, Any] | None:
    """Return the newest sound state, or `None` before the first round; else ValueError.

    If the newest is damaged, the previous one is read; `repair` then removes the damaged one, with
    a warning. The error says that all are damaged.
    """
    import torch

    damaged, known = [], _known(folder)
    for name in (STATE, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            _check(path, known)
            state = torch.load(path, map_location="cpu", weights_only=True)
            assert set(state) >= NEEDED
        except (MemoryError, PermissionError):
            raise
        except Exception as error:
            if "allocate memory" in str(error):  # torch's; the file may be sound
                raise MemoryError(str(error)) from error
            damaged.append(f"{path} ({error.__class__.__name__})")
            continue
        if damaged and repair:
            (folder / STATE).unlink()  # else the next save would replace the sound one by it
            warnings.warn(f"damaged state {damaged[0]}; going on from {path}", stacklevel=2)
        return state
    if damaged:
        raise ValueError(f"damaged state {' and '.join(damaged)}: delete it to start again")
    return None


def _check(path: Path, known: list[str]) -> None:
    """Raise ValueError unless a file has a recorded digest, or without digests, sound checksums."""
    if known:
        if digest_of(path) not in known:
            raise ValueError(path)
        return
    refuse_flipped(path)  # of an older version, or with damaged digests


def lines_of(folder: Path, name: str) -> list[str]:
    """Return the fingerprints of a file's rows when the state was written, as far as known."""
    with suppress(ValueError, TypeError, AttributeError):
        return list(read_json(folder / DIGESTS, "lines")["lines"].get(name, ()))
    return []


def code_of(folder: Path) -> Code:
    """Return the code that the rounds of a state ran with, as far as known."""
    with suppress(ValueError, TypeError, AttributeError):
        found = read_json(folder / DIGESTS, "code")["code"]
        return {name: [*map(str, each)] for name, each in found.items() if each}
    return {}


def _known(folder: Path) -> list[str]:
    """Return the digests of the states written last, or an empty list."""
    with suppress(ValueError, TypeError):
        return list(read_json(folder / DIGESTS, "sha256")["sha256"])
    return []
