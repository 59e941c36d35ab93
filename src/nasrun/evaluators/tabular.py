"""Scores looked up in the table of a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasrun.context import Context
from nasrun.data.table import VALIDATION, Table, header
from nasrun.evaluators.base import Evaluator
from nasrun.genotype import Genotype
from nasrun.score import Score
from nasrun.spaces.base import Space
from nasrun.tasks.base import ImageTask


class Tabular(Evaluator):
    """Reads validation accuracies from a table; nothing is trained.

    Such a search must not be compared with one that has not read the table; `report` says so.
    """

    scores = Space

    def __init__(self, *, table: str | None, column: str) -> None:
        if table is None:
            raise ValueError("table=null: give one, space=nasbench201 space.table=FILE.csv")
        if VALIDATION.fullmatch(column) is None:
            raise ValueError(
                f"column={column}: use a validation accuracy, such as "
                "cifar10_val_12ep; test accuracies are for reports"
            )
        self.path, self.column = Path(table), column
        header(self.path, column)

    def begin(self, context: Context[Space, ImageTask]) -> None:
        self.space, self.table = context.space, Table.read(self.path)

    def __call__(self, genotype: Genotype) -> Score:
        accuracy = self.table.accuracy(self.space.render(genotype), self.column)
        return Score("validation_accuracy", accuracy)

    def report(self) -> dict[str, Any]:
        return {"note": f"scores are read from the table {self.path.name}, column {self.column}"}
