"""An overview of a run: its settings, its progress, and the results of its stages."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from nasrun.config.stages import RETRAIN, SEARCH, SELECT, TRANSFER
from nasrun.data.table import describe
from nasrun.display import duration, storage, summary, table
from nasrun.runs.comparison import Record
from nasrun.runs.formats import FORMATS
from nasrun.runs.report import discretised, outcome
from nasrun.runs.run import Run
from nasrun.runs.standing import Standing, heading

NAMED = {".png", ".svg", *(f".{name}" for name in FORMATS)}
"""Suffixes of the files that an overview names."""


def overview(run: Run) -> dict[str, Any]:
    """Return a summary of a run, without its architectures."""
    record, budget = run.record, run.config["budget"]
    stages = list(run.stages())
    searched = [stage.metrics() for stage in stages if stage.kind == SEARCH.name]
    files = dict(_sizes(run.path))
    found = {
        "run": str(run.path),
        "made": {**record["choices"], "genotype": record.get("genotype"), "seed": record["seed"]},
        "scale": record["scale"],
        "ran_on": {
            **{key: record.get(key) for key in ("created", "git", "machine", "python")},
            "torch": record.get("versions", {}).get("torch"),
            **{key: budget.get(key) for key in ("device", "precision", "threads")},
        },
        "stages": [Record.of(run, stage).plain() for stage in stages],
        "search": searched[0][-1] if searched and searched[0] else {},
        "report": run.report(),
        "files": sorted(str(path) for path in files if path.suffix in NAMED),
        "bytes": sum(files.values()),
    }
    return {**found, "next": _next(run, found["stages"])}


def _sizes(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield the files below a folder with their bytes, without those that are gone meanwhile."""
    for path in folder.rglob("*"):
        with suppress(OSError):
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                yield path, status.st_size


def print_overview(console: Console, record: Mapping[str, Any]) -> None:
    """Print the facts, a row per stage, and the losses of the choices without retraining."""
    table(console, record["run"], ("", ""), list(_facts(record)))
    reached = heading(map(_standing, record["stages"]))
    columns = ("stage", reached, "on", "top-5", "params", "MACs", "rounds", "time")
    table(console, "", columns, [_row(stage) for stage in record["stages"]])
    for row in record["report"]:
        chosen, lines = row.get(SELECT.name, {}), []
        if "true" in chosen:
            lines.append(f"{row['branch']}, true accuracy: {describe(chosen['true'])}")
        if "gap" in chosen:
            lines.append(discretised(row["branch"], chosen))
        for line in lines:
            console.print(line, highlight=False, markup=False)


def _facts(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    ran = record["ran_on"]
    where = [ran["device"], ran["precision"], f"threads={ran['threads']}", ran["machine"]]
    yield "of", _typed(record["made"])
    yield "scale", _typed(record["scale"])
    yield "made", " ".join(filter(None, (ran["created"], ran["git"] and f"git {ran['git'][:10]}")))
    yield "on", ", ".join(map(str, [*where, f"torch {ran['torch']}", f"Python {ran['python']}"]))
    if record["search"]:
        ended = record["stages"][0]["finished"]
        yield "search ended with" if ended else "search so far", summary(record["search"])
    if record["files"]:
        start = len(record["run"]) + 1
        yield "pictures and exports", " ".join(file[start:] for file in record["files"])
    yield "on disk", storage(record["bytes"] / 2**30)
    if record["next"]:
        yield "next", record["next"]


def _typed(values: Mapping[str, Any]) -> str:
    """Return values as they are typed, without those that are `None`."""
    return " ".join(f"{key}={value}" for key, value in values.items() if value is not None)


def _standing(stage: Mapping[str, Any]) -> Standing | None:
    return Standing(stage["score"], stage["on"], stage["is_accuracy"]) if stage["on"] else None


def _row(stage: Mapping[str, Any]) -> tuple[str, ...]:
    numbers = (stage[key] for key in ("top5_accuracy", "params", "macs"))
    score, on, *others = outcome(_standing(stage), *numbers)
    return (
        f"{stage['stage']} {stage['branch']}".strip(),
        score,
        on if stage["finished"] else "not finished",
        *others,
        str(stage["rounds"]),
        duration(stage["seconds"]),
    )


def _next(run: Run, stages: list[dict[str, Any]]) -> str | None:
    """Return the next step, or `None` if the pipeline is complete.

    It is complete, too, if the search has trained a network that is no classifier: its selection
    tests it by something else than an accuracy, such as `test_fid`, and it cannot be retrained.
    """
    if unfinished := [stage for stage in stages if not stage["finished"]]:
        names = ", ".join(f"{stage['stage']} {stage['branch']}".strip() for stage in unfinished)
        return f"{names}: not finished, the same command continues"
    kinds = {stage["stage"] for stage in stages}
    if SEARCH.name in kinds and SELECT.name not in kinds:
        return f"nasrun select run={run.path}"
    tested = any((stage["on"] or "").startswith("test_") for stage in stages)
    if SELECT.name in kinds and not tested and not {RETRAIN.name, TRANSFER.name} & kinds:
        return f"nasrun retrain run={run.path}"
    return None
