"""The settings in which runs and stages differ, by keys as they are typed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from nasrun.config import leaves_but_lists
from nasrun.config.stages import RETRAIN, SEARCH, STAGES
from nasrun.genotype import fingerprint
from nasrun.runs.recorded import identity
from nasrun.runs.run import Run

OTHERWISE_TOLD = ("fingerprint", "parent", "source", "genotype")
"""Keys of a stage's configuration about its architecture's origin, which is shown elsewhere."""
LENGTHS = ("epochs", "rounds")
"""Keys of the length of a training."""
OF_MACHINE = ("budget.threads", "budget.device", "budget.precision")
"""Keys whose defaults depend on the machine."""
MOST = 4
"""Largest number of differences in one line."""
Settings = Mapping[str, str]
"""Values by key; keys and values are written as they are typed."""


def settings(
    config: Mapping[str, Any],
    own: Mapping[str, Any] | None = None,
    scale: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Return a run's configuration overlaid by a stage's own; keys referred to come first."""
    layout = {RETRAIN.name: config["layout"]} if "layout" in config else {}
    groups = {**{key: value for key, value in config.items() if key != "layout"}, **layout}
    if own is not None and any(kind.trains and kind.name in own for kind in STAGES):
        groups["extend"] = False
    groups |= {key: value for key, value in (own or {}).items() if key != "layout"}
    return {
        key: _typed(value)
        for key, value in leaves_but_lists({**(scale or {}), **groups})
        if key.split(".")[0] not in OTHERWISE_TOLD
    }


def unlike(several: Sequence[Settings]) -> list[str]:
    """Return all keys in which settings differ."""
    keys = dict.fromkeys(key for each in several for key in each)
    return [key for key in keys if len({each.get(key) for each in several}) > 1]


def differing(several: Sequence[Settings]) -> list[str]:
    """Return the keys in which settings differ.

    Of keys that differ in the same way, as by reference, only the first is returned.
    """
    columns: dict[tuple[str | None, ...], str] = {}
    for key in unlike(several):
        columns.setdefault(tuple(each.get(key) for each in several), key)
    return list(columns.values())


def whole(run: Run) -> dict[str, str]:
    """Return all settings of a run: the chosen options, then those of the search, then others.

    Settings of a stage that follows the search have its folder in front, as in `retrain/magnitude
    retrain.epochs`.
    """
    record = run.record
    chosen = {group: str(option) for group, option in record["choices"].items()}
    if "genotype" in run.config:
        chosen["genotype"] = f"{record['genotype']} ({fingerprint(run.config['genotype'])})"
    found = {**chosen, **settings(identity(run.config), scale=record["scale"])}
    for stage in run.stages():
        if stage.kind != SEARCH.name:
            found[stage.title] = "there"
            own = settings(identity(stage.config)).items()
            found |= {f"{stage.title} {key}": value for key, value in own}
    return found


def by_kind(run: Run, but: Collection[str] = ()) -> dict[str, str]:
    """Return all settings of a run, those of its later stages by kind, with all their values.

    Stages of other names can so be compared. Those with a title of `but` keep it.
    """
    later = [stage for stage in run.stages() if stage.kind != SEARCH.name]
    titles = {stage.title: stage for stage in later if stage.title not in but}
    found: dict[str, list[str]] = {}
    for key, value in whole(run).items():
        title = next((title for title in titles if key == title or key.startswith(f"{title} ")), "")
        if title:
            stage, own = titles[title], key.removeprefix(title).strip()
            # the branches themselves, else a setting of one of them
            key = f"{stage.kind} {own}" if own else stage.kind
            value = value if own else stage.branch
        known = found.setdefault(key, [])
        if value not in known:
            known.append(value)
    return {key: ", ".join(values) for key, values in found.items()}


def beside(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Return all settings of each run; stages that not all of them have are told by their kind."""
    titles = [{stage.title for stage in run.stages()} for run in runs]
    return [by_kind(run, but=titles[0].intersection(*titles)) for run in runs]


def as_typed(key: str, value: str | None) -> str:
    """Return a setting as it is typed."""
    return f"~{key}" if value is None else f"{key}={value}"


def why_new(ours: Settings, theirs: Settings, name: str) -> str | None:
    """Return why something new begins beside `name`, and how to continue `name` instead.

    Returns `None` if only the seed differs, as in sweeps.
    """
    keys = differing([theirs, ours])
    if keys == ["seed"]:
        return None
    if not keys:
        return f"new beside {name}: trains another architecture"
    shown = told(keys, ours, theirs)
    if set(keys) <= set(OF_MACHINE):
        typed = " ".join(as_typed(key, theirs.get(key)) for key in keys)
        shown += f" (as this machine has it; type {typed} to go on with {name})"
    if any(key.split(".")[-1] in LENGTHS for key in keys):
        instead = "; use extend=true to continue from there" if _longer(keys, ours, theirs) else ""
        shown += (
            f" (it is trained from the start, since schedules depend on its length; {name} stays "
            f"as it is{instead})"
        )
    return f"new beside {name}: {shown}"


def told(keys: Sequence[str], ours: Settings, theirs: Settings) -> str:
    """Return some settings as they are typed, each with the other value, in one line."""
    parts = [f"{as_typed(key, ours.get(key))}, not {theirs.get(key, 'without it')}" for key in keys]
    return "; ".join(parts[:MOST]) + (f"; {len(parts) - MOST} more" if len(parts) > MOST else "")


def _longer(keys: Sequence[str], ours: Settings, theirs: Settings) -> bool:
    """Return whether a training differs from an earlier one only in more epochs."""
    trainings = [f"{kind.name}.epochs" for kind in STAGES if kind.trains]
    return len(keys) == 1 and keys[0] in trainings and int(ours[keys[0]]) > int(theirs[keys[0]])


def _typed(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    return str(value)
