"""The settings that a later verb inherits from the run that it continues, or refuses.

A later verb takes everything upstream of it from its parent's configuration. An upstream value that
differs from the parent's is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from nasrun.config import DictConfig, key_of, put, root_of, value_at
from nasrun.config.keys import TABLE
from nasrun.config.stages import INSIDE, RETRAIN, SCALE, UPSTREAM
from nasrun.data.contents import WHEREABOUTS
from nasrun.files import absolute
from nasrun.pipeline.named_files import DIGESTS, FILES
from nasrun.runs.finding import Source
from nasrun.runs.run import Run

PLACES = tuple(f"dataset.{name}" for name in WHEREABOUTS)
"""Upstream keys that change no result, as does that of a table, so that a later verb may have other
values than its parent: data may be moved, and read by another number of workers."""


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
