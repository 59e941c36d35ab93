"""A stage's state on disk: written whole, the last one kept, checked when it is read.

A file of digests says what was written. It is written first and knows the state before too, so
that whatever lies there after a stop in between is one of the two.
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

STATE, PREVIOUS, DIGESTS = "state.pt", "state.previous.pt", "state.json"
NEEDED = {"round", "stage", "random", "seconds"}


def write_state(folder: Path, state: dict[str, Any], lines: Mapping[str, Sequence[str]]) -> None:
    """Put a state in place of the last one, which becomes the one before.

    lines: the fingerprints of what is logged so far, by the names of the files.
    """
    import torch

    path = folder / STATE
    with drafted(path) as (draft, file):
        counted = Hashed(file)
        torch.save(state, counted)  # type: ignore[arg-type]  # it is written front to back
        file.flush()
        os.fsync(file.fileno())
        known = [counted.digest.hexdigest(), *_known(folder)][:3]
        write_record(folder / DIGESTS, {"sha256": known, "lines": lines})
        if path.exists():
            path.replace(folder / PREVIOUS)
        draft.replace(path)
        flush(folder)


def read_state(folder: Path, *, repair: bool) -> dict[str, Any] | None:
    """The newest sound state, `None` before the first round; ValueError if all are damaged.

    Where the newest is damaged, the one before is read; with `repair` the damaged one is removed,
    with a warning.
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
        except Exception as error:  # noqa: BLE001  damage shows itself in many types
            damaged.append(f"{path} ({error.__class__.__name__})")
            continue
        if damaged and repair:
            (folder / STATE).unlink()  # or the next save would put it in place of the sound one
            warnings.warn(f"damaged state {damaged[0]}; going on from {path}", stacklevel=2)
        return state
    if damaged:
        raise ValueError(f"damaged state {' and '.join(damaged)}: delete it to start again")
    return None


def _check(path: Path, known: list[str]) -> None:
    """ValueError unless a file is one that was written; without digests, its parts' checksums."""
    if known:
        if digest_of(path) not in known:
            raise ValueError(path)
        return
    refuse_flipped(path)  # of a run of before, or where the digests are damaged


def lines_of(folder: Path, name: str) -> list[str]:
    """The fingerprints of what a file logged until the state was written, as far as known."""
    with suppress(ValueError, TypeError, AttributeError):
        return list(read_json(folder / DIGESTS, "lines")["lines"].get(name, ()))
    return []


def _known(folder: Path) -> list[str]:
    """The digests of the states that were written last; none if they are not known."""
    with suppress(ValueError, TypeError):
        return list(read_json(folder / DIGESTS, "sha256")["sha256"])
    return []
