"""The files of `nasrun analyze`: in a run, or in a folder of the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from nasrun.runs.finding import find_run
from nasrun.runs.lock import held
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
    """Lock the run around a part's folder in the context, else the folder, which is made.

    In another folder, as with `out`, the run is only read. A folder that stays empty is removed.
    """
    around = (Run(path) for path in Path(os.path.abspath(folder)).parents)
    home = next((run for run in around if run.exists), None)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with ExitStack() as locks:
            try:
                if home is not None:
                    locks.enter_context(home.lock())
                else:
                    folder.mkdir(parents=True, exist_ok=True)
                    locks.enter_context(held(folder, f"out={folder}"))
            except ValueError as error:
                raise ValueError(f"{error}, or give out=DIR, another folder") from error
            yield
    finally:
        with suppress(OSError):  # the first one that is not empty ends it
            for path in made:
                path.rmdir()
