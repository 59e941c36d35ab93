"""Scores looked up in the table of a benchmark."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from nasrun.context import Context
from nasrun.data.table import Measured, Table, header, validation_columns
from nasrun.evaluators.base import Evaluator
from nasrun.genotype import Genotype
from nasrun.score import Score
from nasrun.spaces.base import Space, entry_of
from nasrun.tasks.base import ImageTask


class Tabular(Evaluator):
    """Reads validation accuracies from a table; nothing is trained.

    An architecture that no table lists, since it computes nothing, has no score and comes last.

    Such a search must not be compared with one that has not read the table; `report` says so.
    """

    scores = Space

    def __init__(self, *, table: str | None, column: str) -> None:
        if table is None:
            raise ValueError("table=null: give one, space=nasbench201 space.table=FILE.csv")
        named = Measured.of(column)
        if named is None or named.split != "val":
            raise ValueError(
                f"column={column}: use a validation accuracy, such as "
                "cifar10_val_12ep; test accuracies are for reports"
            )
        self.path, self.column = Path(table), column
        if column not in (known := validation_columns(header(self.path))):
            has = f"has {', '.join(known)}; use one" if known else "has none; use another table"
            raise ValueError(f"column={column}: table={table} {has}")
        self.score = f"validation_{named.measure or 'accuracy'}"

    def begin(self, context: Context[Space, ImageTask]) -> None:
        self.space, self.table = context.space, Table.read(self.path)

    def __call__(self, genotype: Genotype) -> Score:
        text = entry_of(self.space, genotype)
        result = math.nan if text is None else self.table.accuracy(text, self.column)
        return Score(self.score, result)

    def report(self) -> dict[str, Any]:
        return {"note": f"scores are read from the table {self.path.name}, column {self.column}"}
