"""TransNAS-Bench-101's cells, trained on seven tasks of indoor images (2105.11871).

The file has, by space, architecture and task, the metrics of every epoch of one training. Of the
two spaces the cells (`micro`) are read: `64-41414-1_02_333` has operation 1 on the edge into node
1, then 0 and 2 into node 2, 3 on all three into node 3. They are listed as cells of
`space=transnas101`. A task has one measure, after the last epoch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nasrun.data.benchmarks.base import Benchmark, Row

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
CELL = re.compile(r"\d+-\d+-([0-3])_([0-3]{2})_([0-3]{3})")
MEASURES = {
    "class_scene": "top1",
    "class_object": "top1",
    "room_layout": "neg_loss",
    "jigsaw": "top1",
    "segmentsemantic": "mIoU",
    "normal": "ssim",
    "autoencoder": "ssim",
}
"""The benchmark's measure of every task, larger is better; `top1` is an accuracy in percent."""
SPLITS = {"test": "test", "val": "valid"}


class TransNas101File(Benchmark):
    """The cells with their results by task."""

    table = "transnas101.csv"
    data = tuple(MEASURES)

    def __init__(self, content: Mapping[str, Any], path: Path) -> None:
        self.path = path
        self.found = content["data"].get("micro")
        if not self.found or not all(map(CELL.fullmatch, self.found)):
            raise ValueError(f"{path}: has no cells; give the file transnas-bench_v10141024.pth")

    def __len__(self) -> int:
        return len(self.found)

    def header(self, chosen: Sequence[str]) -> list[str]:
        first = next(iter(self.found.values()))
        names = []
        for task in chosen:
            measure = "" if MEASURES[task] == "top1" else f"_{MEASURES[task].lower()}"
            epochs = first.get(task, {}).get("total_epochs", 0)  # `rows` refuses a missing task
            names += [f"{task}_{split}_{epochs}ep{measure}" for split in SPLITS]
        return ["name", "architecture", *names]

    def rows(self, chosen: Sequence[str]) -> Iterator[Row]:
        names = self.header(chosen)
        for name in self.found:
            row: Row = [name, cell(name)]
            for task in chosen:
                for split in SPLITS:
                    row.append(self._result(name, task, split, names[len(row)]))
            yield row

    def _result(self, name: str, task: str, split: str, column: str) -> float:
        try:
            of_task = self.found[name][task]
            values = of_task["metrics"][f"{SPLITS[split]}_{MEASURES[task]}"]
            if f"_{len(values)}ep" not in column:
                raise ValueError(len(values))
            return round(float(values[-1]), 6)
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.path}: {name} has no {column}; leave {task} out of data=, or take a "
                "complete file"
            ) from error


def cell(name: str) -> str:
    """Return a cell in NAS-Bench-201's notation, from the benchmark's."""
    match = CELL.fullmatch(name)
    assert match is not None
    nodes = (
        "|".join(f"{OPERATIONS[int(digit)]}~{source}" for source, digit in enumerate(digits))
        for digits in match.groups()
    )
    return "+".join(f"|{edges}|" for edges in nodes)
