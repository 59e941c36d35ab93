"""The closing tables of a run: the results of its stages."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from rich.console import Console

from nasrun.config.stages import KINDS, SEARCH, SELECT
from nasrun.data.table import describe
from nasrun.display import duration, percent, table
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import CLASSES, StageFolder
from nasrun.runs.standing import Standing, heading
from nasrun.shown import some


def print_run(console: Console, run: Run) -> None:
    """Print a row per finished stage, then the selected architectures."""
    finished = [stage for stage in run.stages() if stage.finished]
    reached = heading(Standing.of(stage.result, stage.kind) for stage in finished)
    columns = ("stage", reached, "on", "top-5", "params", "MACs", "time")
    table(console, "", columns, [_row(stage) for stage in finished])
    for stage in finished:
        note = f"  [{stage.result['note']}]" if "note" in stage.result else ""
        if stage.kind == SEARCH.name:
            _print_search(console, stage.result)
        if stage.kind == SELECT.name:
            text = f"{stage.branch}: {stage.result['genotype']}{note}"
            console.print(text, highlight=False, markup=False)
            if "true" in stage.result:
                text = f"{stage.branch}, true accuracy: {describe(stage.result['true'])}"
                console.print(text, highlight=False, markup=False)
            if "child_accuracy" in stage.result:
                console.print(
                    discretised(stage.branch, stage.result), highlight=False, markup=False
                )
        elif note:
            console.print(f"{stage.title}:{note}", highlight=False, markup=False)
        if KINDS[stage.kind].trains and (rare := missed(stage)) is not None:
            console.print(rare, highlight=False, markup=False)
    console.print(f"report: {run.path / 'report.json'}", highlight=False, markup=False)


def _print_search(console: Console, result: dict[str, Any]) -> None:
    """Print why a search stopped, and its history if it has more than one size."""
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
    _print_front(console, result)


def _print_front(console: Console, result: Mapping[str, Any]) -> None:
    """Print the candidates that no other beats, if a search weighed scores against a cost."""
    if not (front := result.get("front")):
        return
    name, cost = result["judged_by"], result["priced_by"]
    shown = percent if name == "validation_accuracy" else "{:.4g}".format
    title = (
        "candidates that no other beats; nasrun select method=at_most selector.cost=... takes one"
    )
    rows = [(f"{row[cost]:.4g}", shown(row[name]), row["genotype"]) for row in front]
    table(console, title, (cost, name.replace("_", " "), "architecture"), rows)


def _row(stage: StageFolder) -> tuple[str, ...]:
    result = stage.result
    numbers = (result.get(key) for key in ("test_top5_accuracy", "params", "macs"))
    reached = outcome(Standing.of(result, stage.kind), *numbers)
    return (stage.title, *reached, duration(result["seconds"]))


def outcome(
    standing: Standing | None, top5: float | None, params: int | None, macs: int | None
) -> tuple[str, str, str, str, str]:
    """Return a stage's score, what it is measured on, top-5 accuracy and costs, `-` for unknown."""
    return (
        "-" if standing is None else str(standing),
        "-" if standing is None else standing.on,
        percent(top5),
        f"{params / 1e6:.3f} M" if params else "-",
        f"{macs / 1e6:.1f} M" if macs else "-",
    )


def missed(stage: StageFolder) -> str | None:
    """Return the classes that a trained network hardly recognises, if there are any, on one line.

    These are classes whose recall is less than half of the accuracy.
    """
    with suppress(ValueError):  # the results of a training do not depend on this file
        known = [
            (found["recall"], name)
            for name, found in stage.classes.items()
            if found["recall"] is not None
        ]
        least = [each for each in sorted(known) if each[0] < stage.result["test_accuracy"] / 2]
        if least:
            names = some([f"{name} {percent(recall)}" for recall, name in least], most=3)
            return f"{stage.title}: hardly recognised, with their recall: {names}; see {CLASSES}"
    return None


def discretised(branch: str, result: Mapping[str, Any]) -> str:
    """Return the accuracies of a choice in the supernet and without retraining, on one line."""
    supernet, child, recalibrated, tuned = (
        percent(result[f"{name}_accuracy"])
        for name in ("supernet", "child", "child_recalibrated", "child_tuned")
    )
    return (
        f"{branch}: supernet {supernet}, without retraining {child} "
        f"(gap {100 * result['gap']:.2f}), batch norms recalibrated {recalibrated}, "
        f"one epoch {tuned}"
    )
