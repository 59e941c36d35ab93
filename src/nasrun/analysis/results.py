"""The files of `nasrun analyze`: in a run, or in a folder of the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nasrun.runs.finding import find_run
from nasrun.runs.run import Run

ROOM = "analysis"
"""Name of the folder in a run, or in `outputs` without a run; no stage has this name."""


def place(part: str, run: str | None, out: str | None) -> Path:
    """Return the folder for a part's files, not yet made; ValueError if it is not possible.

    It is `out`, else `RUN/analysis/PART`, else `outputs/analysis/PART`.
    """
    if out is None and run is not None:
        return find_run(run).path / ROOM / part
    folder = Path("outputs", ROOM, part) if out is None else Path(out)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f"out={folder}: {existing} is no folder; name another")
    if not os.access(existing, os.W_OK):
        raise ValueError(f"out={folder}: no permission to write there; name another")
    return folder


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Lock the run around a part's folder in the context, if there is one.

    Without it, as with `out`, the run is only read.
    """
    around = (Run(path) for path in Path(os.path.abspath(folder)).parents)
    home = next((run for run in around if run.exists), None)
    with ExitStack() as locks:
        if home is not None:
            try:
                locks.enter_context(home.lock())
            except ValueError as error:
                raise ValueError(f"{error}, or give out=DIR, another folder") from error
        yield
