"""The worth of a stage's result: the score that it is judged by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasrun.config.stages import SEARCH
from nasrun.display import percent
from nasrun.runs.stage_folder import StageFolder

FALLING = ("test_fid",)
"""Scores of which less is better; results of earlier versions do not say so."""
TABLE = "table"
"""First word of what a true result is measured on; the second one is the data set."""


@dataclass(frozen=True)
class Standing:
    """The score of a stage: an accuracy, as a fraction, or another number that `on` names.

    epochs: those of the training behind a true result; `None` for others, or if not recorded.
    """

    value: float
    on: str
    is_accuracy: bool
    higher_is_better: bool = True
    epochs: int | None = None

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
        if true := cls.looked_up(result):
            return next(iter(true.values()))
        higher = result.get("higher_is_better", name not in FALLING)
        return cls(result[name], name, False, higher) if name in result else None

    @classmethod
    def looked_up(cls, result: Mapping[str, Any]) -> dict[str, Standing]:
        """Return the true results of a table by data set; none if they were not looked up."""
        found = {}
        for data, known in (result.get("true") or {}).items():
            name = "accuracy" if "accuracy" in known else "value"
            epochs = known.get("epochs")
            found[data] = cls(known[name], f"{TABLE}, {data}", name == "accuracy", epochs=epochs)
        return found

    @property
    def true_on(self) -> str | None:
        """Name of the data set whose true result this is, `None` if it was not looked up."""
        part, _, data = self.on.partition(", ")
        return data if part == TABLE else None

    def __str__(self) -> str:
        return percent(self.value) if self.is_accuracy else f"{self.value:.4g}"


def heading(standings: Iterable[Standing | None]) -> str:
    """Return the heading of a column of standings, some of which may be no accuracies."""
    return "accuracy" if all(each is None or each.is_accuracy for each in standings) else "result"


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
    """Yield a result's score for selection, higher is better; nothing if it is not finite."""
    judged = result.get("judged_by", "")
    for name in (judged, "validation_score", "validation_accuracy"):
        if result.get(name) is not None and not name.startswith("test_"):
            lower = name == judged and not result.get("higher_is_better", True)
            yield -result[name] if lower else result[name]
            return
