"""States of finished stages that nothing reads any more, or only a later selection.

A finished selection is never continued, a retraining or a transfer only with `extend=true`. The
state of a finished search is read by selectors and `nasrun analyze search`, so it is deleted only
on request.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nasrun.config.stages import SEARCH
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder
from nasrun.runs.state import PREVIOUS, STATE

OWNED = ("members", "trials")
"""Folders in which populations keep the files that their states name."""


@dataclass(frozen=True)
class Leftover:
    """Files that a finished stage does not need."""

    stage: StageFolder
    paths: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Size in bytes."""
        files = [file for path in self.paths for file in (path, *path.rglob("*"))]
        return sum(file.stat().st_size for file in files if file.is_file())

    def remove(self) -> None:
        """Delete the files, the older state first: an interruption leaves the newest or none."""
        for path in self.paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def leftovers(run: Run, *, searches: bool) -> Iterator[Leftover]:
    """Yield the leftovers of every finished stage of a run, those of its search only if asked."""
    for stage in run.stages():
        if stage.finished and (searches or stage.kind != SEARCH.name):
            places = (stage.path / name for name in (PREVIOUS, STATE, *OWNED))
            if paths := tuple(path for path in places if path.exists()):
                yield Leftover(stage, paths)
