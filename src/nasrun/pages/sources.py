"""The runs that a page is about: by their folders, by a sweep, or by a folder that holds them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasrun.files import read_lines
from nasrun.runs.finding import find_run
from nasrun.runs.run import Run

JOBS = "jobs.jsonl"
"""The file of a sweep with a line per job."""


@dataclass(frozen=True)
class Sources:
    """Folders of runs, the folder that holds them all, and the jobs of sweeps that failed."""

    runs: tuple[Path, ...]
    home: Path
    failed: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str], outputs: Path) -> Sources:
        """Return the runs that names mean, without names the newest run; ValueError for none."""
        if not names:
            runs = Run.all(outputs)
            if not runs:
                raise ValueError(f"outputs={outputs}: no runs; type `nasrun run` first")
            return cls((runs[-1].path,), runs[-1].path)
        found = [cls._named(name) for name in names]
        if len(found) == 1:
            return found[0]
        runs_of_all = _once(path for each in found for path in each.runs)
        failed = tuple(dict.fromkeys(job for each in found for job in each.failed))
        return cls(runs_of_all, _common([each.home for each in found]), failed)

    @classmethod
    def _named(cls, name: str) -> Sources:
        folder = Path(name)
        if not folder.name or ".." in folder.parts:  # such a path has no parents
            folder = Path(os.path.abspath(folder))
        if (folder / JOBS).is_file():
            return cls._of_sweep(folder)
        if below := _below(folder):
            return cls(tuple(below), folder)
        run = find_run(name).path
        return cls((run,), run)

    @classmethod
    def _of_sweep(cls, folder: Path) -> Sources:
        """Return the runs of a sweep; a job that was repeated counts as it ended last."""
        jobs: dict[str, dict[str, Any]] = {}
        for record in read_lines(folder / JOBS):
            words = record.get("overrides")
            jobs[" ".join(map(str, words if isinstance(words, list) else []))] = record
        begun = [job["run"] for job in jobs.values() if isinstance(job.get("run"), str)]
        if not begun:
            raise ValueError(f"{folder}: no job of this sweep has begun a run; name other runs")
        runs = _once(_moved(Path(run), folder) for run in begun)
        failed = (f"{words}: {job['error']}" for words, job in jobs.items() if "error" in job)
        return cls(runs, folder, tuple(failed))


def _once(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return paths without those that are another spelling of an earlier one."""
    found: dict[str, Path] = {}
    for path in paths:
        found.setdefault(os.path.abspath(path), path)
    return tuple(found.values())


def _below(folder: Path) -> list[Path]:
    """Return the runs in a folder of versions or of such folders; none if it is in a run."""
    if any(Run(path).exists for path in (folder, *folder.parents)):
        return []
    beside = [run for run in Run.all(folder.parent) if run.path.parent == folder]
    return sorted((run.path for run in beside or Run.all(folder)), key=_place)


def _place(path: Path) -> tuple[str, int, str]:
    return path.parent.name, len(path.name), path.name


def _moved(path: Path, sweep: Path) -> Path:
    """Return the folder of a run, also if the sweep was started in another folder.

    A relative path is first looked for around the sweep: the current folder may have such a run.
    """
    around = [parent / path.parent.name / path.name for parent in sweep.absolute().parents]
    places = [path, *around] if path.is_absolute() else [*around, path]
    return next((place for place in places if Run(place).exists), path)


def _common(folders: Sequence[Path]) -> Path:
    """Return the innermost folder that holds all these folders."""
    if any(folder.is_absolute() for folder in folders):
        folders = [folder.absolute() for folder in folders]
    return Path(os.path.commonpath(folders) or ".")
