"""The run that a path means, and the one that a verb continues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nasrun.config.stages import KINDS, SELECT, begins_run, reads_search
from nasrun.files import absolute
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder


@dataclass(frozen=True)
class Source:
    """The origin of a later verb: a run and, after selection, the folder of a genotype."""

    run: Run
    selected: StageFolder | None = None


def find_run(path: str) -> Run:
    """Return the run at a path, or around it; ValueError if there is none, or no such path."""
    folder = Path(path)
    return Run.open(_around(folder) if folder.exists() else folder)


def run_at(path: str) -> Run:
    """Return the run at a path; ValueError if there is none, as for a folder inside one."""
    run = find_run(path)
    if _whole(path) != _whole(run.path):
        raise ValueError(f"run={path}: is only a part of a run; use run={run.path}")
    return run


def _around(folder: Path) -> Path:
    """Return the run at a folder or around it, its path as typed; the folder if there is none."""
    above = () if ".." in folder.parts else folder.parents
    around = (folder, *above, *_whole(folder).parents)
    return next((place for place in around if (place / "run.json").is_file()), folder)


def _whole(path: str | Path) -> Path:
    """Return an absolute path; that of the current folder, too, has its name and its parents."""
    return Path(absolute(str(path)))


def _is_selection(path: str, run: Run) -> bool:
    """Return whether a path is that of a folder in the `select/` of a run."""
    return _whole(path).parent == _whole(run.path / SELECT.name)


def refuse_folder(verb: str, path: str) -> None:
    """Raise ValueError unless `run=` names a run to continue, or a selection in it."""
    run = Run.open(_around(Path(path)))
    selection = _is_selection(path, run) and Path(path).is_dir()
    if _whole(path) != _whole(run.path) and not selection:
        raise ValueError(
            f"run={path}: neither a run nor a selection in one; use run={run.path}, or a folder of "
            f"{run.path / SELECT.name}"
        )
    if reads_search(verb) and "strategy" not in run.record["choices"]:
        raise ValueError(
            f"run={path}: holds a training of genotype={run.record['genotype']}, nothing to "
            "search; leave it out, or name a run that was searched"
        )


def find_source(
    verb: str, outputs: Path, path: str | None, genotype: str | None, branch: str | None
) -> Source | None:
    """Return the run that a verb continues, `None` if it starts one; ValueError if missing.

    `path` names a run or a folder inside one; without it, the newest run that has what the verb
    needs is used. `branch` restricts the genotypes of a run to those of one selector.
    """
    named = None if path is None else find_run(path)
    if path is not None and named is not None:
        branch = _branch(path, named, branch)
    if begins_run(verb) or genotype is not None:
        return None if named is None else Source(named)
    for run in Run.all(outputs)[::-1] if named is None else [named]:
        try:
            stages = [stage for stage in run.stages() if stage.finished]
        except ValueError as error:
            if named is not None:
                raise
            raise ValueError(f"{error}; or name the run that is meant by run=PATH") from error
        if (source := _continued(verb, run, stages, branch)) is not None:
            return source
    where = f"run={path}" if path else f"outputs={outputs}"
    if reads_search(verb):
        raise ValueError(f"{where}: no finished search to select from; type `nasrun search` first")
    of = f" of selector={branch}" if branch else ""
    raise ValueError(
        f"{where}: no selected genotype{of}; type `nasrun select` first or give genotype=NAME"
    )


def _branch(path: str, run: Run, branch: str | None) -> str | None:
    """Return the selector of the genotype: that of the folder `path`, otherwise `branch`."""
    if not _is_selection(path, run):
        return branch
    folder = _whole(path)
    if branch not in (None, folder.name, StageFolder(folder, "").option):
        raise ValueError(
            f"selector={branch}: run={path} is the choice of another selector; leave one of the "
            "two out"
        )
    return folder.name


def _continued(
    verb: str, run: Run, finished: Sequence[StageFolder], branch: str | None
) -> Source | None:
    """Return the run as a source, with its newest genotype after selection; `None` without one."""
    parents = [stage for stage in finished if stage.kind == KINDS[verb].parent]
    if reads_search(verb):
        return Source(run) if parents else None
    chosen = [stage for stage in parents if branch in (None, stage.branch)]
    return Source(run, max(chosen, key=lambda stage: stage.finished_at)) if chosen else None
