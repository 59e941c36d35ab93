"""The closing tables of a run: the results of its stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from nasrun.data.table import describe
from nasrun.display import duration, percent, table
from nasrun.pipeline.stages import SEARCH, SELECT
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder

FALLING = ("test_fid",)
"""Scores of which less is better; results of earlier versions do not say so."""


@dataclass(frozen=True)
class Standing:
    """The score of a stage: an accuracy, as a fraction, or another number that `on` names."""

    value: float
    on: str
    is_accuracy: bool
    higher_is_better: bool = True

    @classmethod
    def of(cls, result: Mapping[str, Any], stage: str) -> Standing | None:
        """Return the test accuracy if a result has one, else the validation accuracy.

        Else it is the true accuracy on the first data set of a table, else the score that the
        result names. The accuracies of a supernet, and of the best of many candidates, are named as
        such. A score that is not finite, `null` in the file, is none.
        """
        result = {name: value for name, value in result.items() if value is not None}
        if "test_accuracy" in result:
            return cls(result["test_accuracy"], "test", True)
        name = result.get("judged_by", "validation_accuracy")
        if name == "validation_accuracy" and name in result:
            words = ["validation"]
            if stage == SEARCH.name:
                words.append("best candidate" if "judged_by" in result else "supernet")
            if "validation" in result.get("trained_on", ""):
                words.append("seen")
            return cls(result["validation_accuracy"], ", ".join(words), True)
        if true := result.get("true"):
            data, known = next(iter(true.items()))
            is_accuracy = "accuracy" in known
            on = "table" if len(true) == 1 and is_accuracy else f"table, {data}"
            return cls(known["accuracy" if is_accuracy else "value"], on, is_accuracy)
        higher = result.get("higher_is_better", name not in FALLING)
        return cls(result[name], name, False, higher) if name in result else None

    def __str__(self) -> str:
        return percent(self.value) if self.is_accuracy else f"{self.value:.4g}"


def signed(score: float | None, higher_is_better: bool) -> float | None:
    """Return a score by which higher is better."""
    return score if score is None or higher_is_better else -score


def score(stages: Sequence[StageFolder]) -> float:
    """Return the validation accuracy or score of the last stage that has one; sweepers maximise it.

    Test results are ignored, since no setting may be chosen by them.
    """
    found = [merit for stage in stages for merit in _merits(stage.result)]
    return found[-1] if found else float("nan")


def _merits(result: Mapping[str, Any]) -> Iterator[float]:
    """Yield a result's score for selection, higher is better."""
    judged = result.get("judged_by", "")
    for name in (judged, "validation_score", "validation_accuracy"):
        if name in result and not name.startswith("test_"):
            lower = name == judged and not result.get("higher_is_better", True)
            yield -result[name] if lower else result[name]
            return


def print_run(console: Console, run: Run) -> None:
    """Print a row per finished stage, then the selected architectures."""
    finished = [stage for stage in run.stages() if stage.finished]
    columns = ("stage", "accuracy", "on", "top-5", "params", "MACs", "time")
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
    result, standing = stage.result, Standing.of(stage.result, stage.kind)
    return (
        stage.title,
        "-" if standing is None else str(standing),
        "-" if standing is None else standing.on,
        percent(result.get("test_top5_accuracy")),
        f"{result['params'] / 1e6:.3f} M" if "params" in result else "-",
        f"{result['macs'] / 1e6:.1f} M" if "macs" in result else "-",
        duration(result["seconds"]),
    )


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
