"""The logged rounds of a stage: its metrics, and apart from them seconds and memory.

Rows in a file are compared with what was written: a finished stage has the digest of the file, one
at work has a fingerprint of every row that a state knows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasrun.files import append_line, as_json, digest_of, read_lines, write_text
from nasrun.genotype import fingerprint
from nasrun.runs.state import lines_of
from nasrun.stage import Metrics

METRICS, TIMING = "metrics.jsonl", "timing.jsonl"


class LoggedRows:
    """The rows of a stage that runs, by file: in memory, with their fingerprints, and on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.by_file: dict[str, list[Metrics]] = {}
        self.marks: dict[str, list[str]] = {}

    def restore(self, rounds: int, state: Mapping[str, Any] | None) -> None:
        """Take the rows of finished rounds from a state, and make the files contain just these.

        States of earlier versions do not have them; then the files must be complete.
        """
        if state is not None and "rows" in state:
            self.by_file = {name: list(rows) for name, rows in state["rows"].items()}
        else:
            self.by_file = self._complete(rounds)
        for name, rows in self.by_file.items():
            _rewrite(self.folder / name, rows)
        self.marks = {name: [*map(_mark, rows)] for name, rows in self.by_file.items()}

    def append(self, name: str, row: Metrics) -> None:
        """Add a row to a file."""
        self.by_file.setdefault(name, []).append(row)
        self.marks.setdefault(name, []).append(_mark(row))
        append_line(self.folder / name, as_json(row))

    def _complete(self, rounds: int) -> dict[str, list[Metrics]]:
        """Return the rows in the files; ValueError if they lack a round."""
        logs = {name: read_lines(self.folder / name) for name in (METRICS, TIMING)}
        found = {name: _numbers(lines)[:rounds] for name, lines in logs.items()}
        if [row.get("round") for row in found[METRICS]] != [*range(1, rounds + 1)]:
            raise ValueError(
                f"{self.folder / METRICS}: damaged, it has not all of the {rounds} rounds that are "
                f"done; delete {self.folder} to run this stage again"
            )
        return found


def rows_at_work(path: Path) -> list[Metrics]:
    """Return the rows in the file of a stage that is not finished; ValueError if it is damaged."""
    # before the rows: a stage at work adds rows, and only then a state that knows them
    marks = lines_of(path.parent, path.name)
    rows = _numbers(read_lines(path))
    if len(rows) < len(marks):  # a row is written before the state that knows it
        raise ValueError(
            f"{path}: damaged, it has {len(rows)} of {len(marks)} rounds; repeat the command, "
            "which restores it"
        )
    for row, mark in zip(rows, marks, strict=False):
        if _mark(row) != mark:
            raise ValueError(
                f"{path}: damaged, round {row.get('round')} is not what was written; repeat "
                "the command, which restores it"
            )
    return rows


def finished_rows(path: Path, written: str | None) -> list[Metrics]:
    """Return the rows in the file of a finished stage; ValueError if its digest is another."""
    rows = _numbers(read_lines(path))
    if written is not None and (not path.is_file() or digest_of(path) != written):
        raise ValueError(
            f"{path}: damaged, it is not what was written; delete {path.parent / 'result.json'} "
            "and repeat the command, which restores it"
        )
    return rows


def _mark(row: Metrics) -> str:
    """Return the fingerprint of a row as it is written."""
    return fingerprint(as_json(row))


def _numbers(rows: Sequence[Mapping[str, Any]]) -> list[Metrics]:
    """Return the rows of a file, with NaN in place of `null`."""
    return [{name: math.nan if y is None else y for name, y in row.items()} for row in rows]


def _rewrite(path: Path, rows: Sequence[Metrics]) -> None:
    """Make a file contain exactly these rows."""
    text = "".join(as_json(row) + "\n" for row in rows)
    if (path.read_bytes() if path.exists() else b"") != text.encode():
        write_text(path, text)
