"""NAS-Bench-101's TFRecord file (1902.09635): one record per training of a module.

A record is a JSON list: the module's hash, the epochs, its matrix as one word, its labels, and the
metrics, a protocol buffer in base 64. The metrics evaluate the network before, halfway through and
after the training. Columns have the mean over the trainings after the last evaluation.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nasrun.data.benchmarks.base import Benchmark, Row

DATA = "cifar10"
EVALUATIONS = 1
"""Field of the metrics (`model_metrics.proto`)."""
VALIDATION, TEST = 4, 5
"""Fields of an evaluation."""
LENGTH, CHECKSUM = 8, 4
"""Bytes of a record's length, and of each of its two checksums, which are not compared."""


@dataclass
class TrainedModule:
    """A module and the sums of its results: epochs -> trainings, validation and test accuracy."""

    text: str
    sums: dict[int, list[float]] = field(default_factory=dict)


class NasBench101File(Benchmark):
    """All its modules by hash, with their trainings."""

    table = "nasbench101.csv"
    data = (DATA,)

    def __init__(self, path: Path) -> None:
        self.path = path
        self.modules: dict[str, TrainedModule] = {}
        for number, record in enumerate(_records(path), 1):
            try:
                self._add(json.loads(record))
            except (ValueError, TypeError, LookupError, struct.error) as error:
                raise ValueError(
                    f"{path}: record {number} is no training of NAS-Bench-101; take the file from "
                    "its authors"
                ) from error
        if not self.modules:
            raise ValueError(f"{path}: has no record; take it again from its authors")
        self.epochs = sorted({n for m in self.modules.values() for n in m.sums}, reverse=True)

    def _add(self, record: Any) -> None:
        name, epochs, matrix, labels, metrics = record
        size = labels.count(",") + 1
        rows = "/".join(matrix[row * size : (row + 1) * size] for row in range(size))
        evaluations = [
            value for key, value in _fields(base64.b64decode(metrics)) if key == EVALUATIONS
        ]
        last = dict(_fields(evaluations[2]))
        text = f"{labels.replace(',', ' ')} {rows}"
        sums = self.modules.setdefault(name, TrainedModule(text)).sums
        for place, number in enumerate((1.0, last[VALIDATION], last[TEST])):
            sums.setdefault(int(epochs), [0.0, 0.0, 0.0])[place] += number

    def __len__(self) -> int:
        return len(self.modules)

    def header(self, chosen: Sequence[str]) -> list[str]:
        parts = [f"{DATA}_{part}_{epochs}ep" for epochs in self.epochs for part in ("test", "val")]
        return ["architecture", "module", *parts]

    def rows(self, chosen: Sequence[str]) -> Iterator[Row]:
        for name, module in self.modules.items():
            row: Row = [name, module.text]
            for epochs in self.epochs:
                if epochs not in module.sums:
                    raise ValueError(
                        f"{self.path}: module {name} has no training of {epochs} epochs; take a "
                        "complete file"
                    )
                trainings, validation, test = module.sums[epochs]
                row += [round(100 * total / trainings, 4) for total in (test, validation)]
            yield row


def _records(path: Path) -> Iterator[bytes]:
    """Yield the records of a TFRecord file; ValueError if it is cut off."""
    left = path.stat().st_size
    with path.open("rb") as file:
        while left:
            head = file.read(LENGTH + CHECKSUM)
            length = int.from_bytes(head[:LENGTH], "little")
            left -= LENGTH + CHECKSUM + length + CHECKSUM
            if left < 0:
                raise ValueError(
                    f"{path}: is cut off, or is not a TFRecord file; take it again from its authors"
                )
            yield file.read(length)
            file.seek(CHECKSUM, 1)


def _fields(message: Any) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a protocol buffer: numbers, doubles, and bytes of what is inside."""
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _number(message, at)
        elif kind == 1:
            (value,), at = struct.unpack_from("<d", message, at), at + 8
        elif kind == 2:
            length, at = _number(message, at)
            value, at = message[at : at + length], at + length
        else:
            raise ValueError(f"a field of kind {kind}")
        yield key >> 3, value


def _number(message: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits per byte, and the place behind it."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
