"""The source of a verb: the run that it continues, what it inherits and what it refuses.

A later verb takes everything upstream of it from its parent's configuration. An upstream value that
differs from the parent's is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasrun.config import (
    DictConfig,
    key_of,
    put,
    root_of,
    value_at,
)
from nasrun.config.keys import TABLE
from nasrun.data.contents import WHEREABOUTS
from nasrun.pipeline.named_files import DIGESTS, FILES, absolute
from nasrun.pipeline.stages import (
    INSIDE,
    KINDS,
    RETRAIN,
    RUN,
    SCALE,
    SELECT,
    UPSTREAM,
)
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder

PLACES = tuple(f"dataset.{name}" for name in WHEREABOUTS)
"""Upstream keys that change no result, as does that of a table, so that a later verb may have other
values than its parent: data may be moved, and read by another number of workers."""


@dataclass(frozen=True)
class Source:
    """The origin of a later verb: a run and, after selection, the folder of a genotype."""

    run: Run
    selected: StageFolder | None = None


def begins_run(verb: str) -> bool:
    """Return whether a verb continues nothing."""
    return verb == RUN or KINDS[verb].parent is None


def reads_search(verb: str) -> bool:
    """Return whether a verb searches, or reads the result of a search."""
    return verb == RUN or not KINDS[verb].trains


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


def inherited_choices(source: Source, typed: Sequence[str]) -> list[str]:
    """Return overrides that choose the parent's upstream groups, except those that are typed."""
    given = {key_of(override) for override in typed}
    choices = source.run.record["choices"]
    words = {group: group for group in UPSTREAM}
    words |= {inner: f"{inner}@{outer}" for inner, outer in INSIDE.items()}
    return [
        f"{word}={choices[group]}"
        for group, word in words.items()
        if group in choices and word not in given
    ]


def refuse_other(config: DictConfig, typed: Sequence[str], run: Run) -> None:
    """Refuse upstream values of a later verb that differ from the parent's."""
    parent, record = run.config, run.record
    for override in typed:
        key = key_of(override)
        root = root_of(key)
        if root not in (*UPSTREAM, *SCALE) or key in (TABLE, *PLACES):
            continue
        if moves(key, value_at(config, key), parent):
            continue
        if "@" in key:
            raise ValueError(
                f"{override}: {run.path} is searched already; leave it out, or search again with "
                f"{override}"
            )
        if root == key and root in record["choices"]:
            theirs, ours = record["choices"][root], override.partition("=")[2]
        elif root in SCALE:
            theirs, ours = record["scale"][root], config[root]
        else:
            theirs, ours = value_at(parent, key), value_at(config, key)
            ours = absolute(ours) if key in FILES and ours else ours
        if theirs != ours:
            raise ValueError(
                f"{override}: {run.path} was searched with {key}={theirs}; leave it out, or search "
                f"again with {override}"
            )


def moves(key: str, value: Any, parent: Mapping[str, Any]) -> bool:
    """Return whether a value is the place of a file that the parent knows by its contents."""
    return value is not None and key in parent.get(DIGESTS, {})


def inherit(config: DictConfig, typed: Sequence[str], run: Run) -> None:
    """Put the parent's upstream groups and scale into a composed configuration.

    The places of data and of other files may be typed, since both are compared by their contents.
    So may a table, and `null` for none.
    """
    parent, scale = run.config, run.record["scale"]
    given = {key_of(override) for override in typed}
    table = value_at(config, TABLE)
    if table is None and TABLE not in given:
        table = run.record.get("table")
    moved = {key: value_at(config, key) for key in (*PLACES, *FILES) if key in given}
    put(config, {key: parent[key] for key in UPSTREAM if key in parent} | scale | moved)
    if table is not None:
        put(config, {"space": {**parent["space"], "table": table}})


@contextmanager
def of_another_version(source: Source | None, typed: Sequence[str]) -> Iterator[None]:
    """Name the run, and the commit that made it, where its configuration cannot be built."""
    try:
        yield
    except ValueError as error:
        group = root_of(str(error).partition(":")[0])
        if source is None or group not in UPSTREAM or group in map(root_of, map(key_of, typed)):
            raise
        commit = source.run.record.get("git")
        raise ValueError(
            f"{source.run.path}: its configuration does not fit this version of nasrun"
            f"{f' (recorded at commit {commit[:10]})' if commit else ''}: "
            f"{str(error).partition(';')[0]}; "
            "search again, or use that version"
        ) from error


def inherit_budget(config: DictConfig, typed: Sequence[str], run: Run) -> None:
    """Continue a search with its own threads, device and limits, which change its results."""
    given = {key_of(override) for override in typed}
    for name, theirs in run.config["budget"].items():
        if f"budget.{name}" not in given:
            config["budget"][name] = theirs


def inherit_layout(config: DictConfig, typed: Sequence[str], run: Run) -> None:
    """Count limits in the parent's layout, unless the command line names a recipe or its layout."""
    given = {key_of(override) for override in typed}
    for name, theirs in run.config.get("layout", {}).items():
        if not given & {RETRAIN.name, f"{RETRAIN.name}.{name}"}:
            config[RETRAIN.name][name] = theirs


def refuse_unlike(
    group: str,
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    typed: Sequence[str],
    run: Run,
) -> None:
    """Refuse to continue an unfinished search with other keys of a group."""
    changed = [
        name
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
        and not moves(f"{group}.{name}", ours.get(name), run.config)
    ]
    if not changed:
        return
    given = {key_of(override): override for override in typed}
    name = next((name for name in changed if f"{group}.{name}" in given), changed[0])
    now, was = ("null" if each.get(name) is None else each[name] for each in (ours, theirs))
    override = given.get(f"{group}.{name}", f"{group}.{name}={now}")
    raise ValueError(
        f"{override}: {run.path} is searched with {group}.{name}={was}; leave it out, or search "
        f"again with {override}"
    )


def placed(dataset: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a data set with an absolute root."""
    root = dataset.get("root")
    return dataset if root is None else {**dataset, "root": absolute(root)}
