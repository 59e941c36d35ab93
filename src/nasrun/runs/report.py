"""The closing tables: what a run's stages reached, and how runs compare over seeds."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from nasrun.data.table import describe
from nasrun.display import duration, percent, table
from nasrun.genotype import fingerprint
from nasrun.runs.run import Run, StageFolder


def accuracy(result: dict[str, Any]) -> float | None:
    """What a stage is judged by: test accuracy where it has one, else validation accuracy."""
    return result.get("test_accuracy", result.get("validation_accuracy"))


def true_accuracy(result: dict[str, Any]) -> float | None:
    """What a table says of a selected architecture, on the table's first data set."""
    return next((known["accuracy"] for known in result.get("true", {}).values()), None)


def judgement(result: dict[str, Any]) -> float | None:
    """What else than an accuracy a stage is judged by; its result names it."""
    return result.get(result.get("judged_by", ""))


def score(stages: Sequence[StageFolder]) -> float:
    """The validation accuracy or score of the last stage that has one: what a sweeper maximises.

    Not what the test says, by which no setting is to be chosen.
    """
    names = ("score", "validation_score", "validation_accuracy")
    found = [stage.result[name] for stage in stages for name in names if name in stage.result]
    return found[-1] if found else float("nan")


def print_run(console: Console, run: Run) -> None:
    """A row per finished stage, then the selected architectures."""
    finished = [stage for stage in run.stages() if stage.finished]
    columns = ("stage", "branch", "accuracy", "on", "top-5", "params", "MACs", "time")
    table(console, "", columns, [_row(stage) for stage in finished])
    for stage in finished:
        note = f"  [{stage.result['note']}]" if "note" in stage.result else ""
        if stage.kind == "search":
            _print_search(console, stage.result)
        if stage.kind == "select":
            text = f"{stage.branch}: {stage.result['genotype']}{note}"
            console.print(text, highlight=False, markup=False)
            if "true" in stage.result:
                text = f"{stage.branch}, true accuracy: {describe(stage.result['true'])}"
                console.print(text, highlight=False, markup=False)
            if "child_accuracy" in stage.result:
                console.print(discretised(stage), highlight=False, markup=False)
        elif note:
            console.print(f"{stage.title}:{note}", highlight=False, markup=False)
    console.print(f"report: {run.path / 'report.json'}", highlight=False, markup=False)


def _print_search(console: Console, result: dict[str, Any]) -> None:
    """What a search went through, where it kept a history with more than one size."""
    if "stopped" in result:
        console.print(f"search {result['stopped']}", highlight=False, markup=False)
    if len(sizes := result.get("sizes", [])) > 1:
        title = "the best round of every size; nasrun select method=frontier takes one"
        columns = ("operations with weights", "round", "supernet accuracy", "params", "frontier")
        rows = [
            (
                str(row["size"]),
                row["round"],
                percent(row["accuracy"]),
                f"{row['params'] / 1e6:.3f} M",
                "*" if row["frontier"] else "",
            )
            for row in sizes
        ]
        table(console, title, columns, rows)


def _row(stage: StageFolder) -> tuple[str, ...]:
    result = stage.result
    part, value = "-", accuracy(result)
    shown = percent(value)
    if value is not None:
        seen = "validation" in result.get("trained_on", "")
        part = "validation, seen" if seen else "validation"
        part = "test" if "test_accuracy" in result else part
    elif (value := true_accuracy(result)) is not None:
        part, shown = "table", percent(value)
    elif (value := judgement(result)) is not None:
        part, shown = result["judged_by"], f"{value:.4g}"
    return (
        stage.kind,
        stage.branch,
        shown,
        part,
        percent(result.get("test_top5_accuracy")),
        f"{result['params'] / 1e6:.3f} M" if "params" in result else "-",
        f"{result['macs'] / 1e6:.1f} M" if "macs" in result else "-",
        duration(result["seconds"]),
    )


def discretised(stage: StageFolder) -> str:
    """What the choice loses in the supernet, as one line."""
    result = stage.result
    supernet, child, recalibrated, tuned = (
        percent(result[f"{name}_accuracy"])
        for name in ("supernet", "child", "child_recalibrated", "child_tuned")
    )
    return (
        f"{stage.branch}: supernet {supernet}, without retraining {child} "
        f"(gap {100 * result['gap']:.2f}), batch norms recalibrated {recalibrated}, "
        f"one epoch {tuned}"
    )


@dataclass
class Group:
    """One stage of one configuration, over all its seeds; its title is that of the first."""

    first: Path
    title: str
    results: list[dict[str, Any] | None] = field(default_factory=list)

    def row(self) -> tuple[str, ...]:
        """First run, stage, how many, mean and standard deviation, minutes."""
        done = [result for result in self.results if result is not None]
        title, scores, unit, digits = self.title, _percents(accuracy, done), "%", ".2f"
        if not scores and (scores := _percents(true_accuracy, done)):
            title = f"{title} (table)"
        if not scores and (scores := [x for x in map(judgement, done) if x is not None]):
            title, unit, digits = f"{title} ({done[0]['judged_by']})", "", ".4g"
        mean = f"{statistics.fmean(scores):{digits}}{unit}" if scores else "-"
        spread = f" ± {statistics.stdev(scores):{digits}}" if len(scores) > 1 else ""
        minutes = statistics.fmean(result["seconds"] / 60 for result in done) if done else 0.0
        among = f" of {len(self.results)}" if len(done) < len(self.results) else ""
        where = f"{self.first.parent.name}/{self.first.name}"
        return where, title, f"{len(done)}{among}", mean + spread, f"{minutes:.1f}"


Key = tuple[str, str, str]
"""The fingerprint of a run's configuration, a kind of stage, and the fingerprint of its own."""


def _percents(
    judge: Callable[[dict[str, Any]], float | None], results: Sequence[dict[str, Any]]
) -> list[float]:
    return [100 * value for value in map(judge, results) if value is not None]


def print_runs(console: Console, paths: Sequence[Path], title: str) -> None:
    """Runs grouped by configuration without the seed: n, mean and standard deviation.

    A run that cannot be read is named below the others.
    """
    groups: dict[Key, Group] = {}
    damaged = []
    for path in dict.fromkeys(paths):
        try:
            stages = list(_stages(Run(path)))
        except ValueError as error:
            damaged.append(str(error))
            continue
        for key, stage, result in stages:
            groups.setdefault(key, Group(path, stage)).results.append(result)
    columns = ("first run", "stage", "n", "accuracy, mean ± std", "minutes")
    table(console, title, columns, [group.row() for group in groups.values()])
    for reason in damaged:
        console.print(f"not shown: {reason}", highlight=False, markup=False, soft_wrap=True)


def _stages(run: Run) -> Iterator[tuple[Key, str, dict[str, Any] | None]]:
    """Every stage as its seeds have it in common, its title, and its result, null for none."""
    seeded = ("seed", "genotype") if run.record.get("genotype") == "random" else ("seed",)
    config = {key: value for key, value in run.config.items() if key not in seeded}
    chosen: dict[str, str] = {}  # by the fingerprint of a selection what its seeds have in common
    for stage in run.stages():
        mark = fingerprint(_common(stage, chosen))
        if stage.kind == "select":
            chosen[stage.fingerprint] = mark
        key = (fingerprint(config), stage.kind, mark)
        yield key, stage.title, stage.result if stage.finished else None


def _common(stage: StageFolder, chosen: Mapping[str, str]) -> dict[str, Any]:
    """A stage's own configuration without what differs from seed to seed.

    A number that a folder got, as in `perturb-2`, tells what else was done in that run.
    """
    if stage.kind == "search":
        return {}
    own = {k: v for k, v in stage.config.items() if k not in ("fingerprint", "parent")}
    if stage.kind == "select":
        return {**own, "option": re.sub(r"-\d+$", "", stage.branch)}
    if stage.parent in chosen:
        own["source"] = chosen[stage.parent]
    elif stage.source != "random":
        return own
    return {key: value for key, value in own.items() if key != "genotype"}
