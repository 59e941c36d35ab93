"""Results of claims: a file with one line of JSON per arm and seed, which outlives the runs."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from nasrun.claims.claim import Claim
from nasrun.claims.comparisons import Values
from nasrun.data.table import Table
from nasrun.files import Types, append_line, as_json, read_lines, typed, write_text
from nasrun.runs.lock import held

LineKey = tuple[str, str, str, int | None]
"""Claim, protocol, arm and seed of a line."""
CONTROL = -1
"""The place of controls, which have no seed."""
TYPES: Types = {
    **dict.fromkeys(("claim", "protocol", "arm"), str),
    **dict.fromkeys(("values", "facts", "versions"), dict),
    "seed": (int, type(None)),
}


@dataclass(frozen=True)
class ResultLine:
    """The result of an arm with a seed; that of a control, which nobody has run, has no seed.

    protocol: the fingerprint of the protocol. facts: what was read from the run. values: numbers
    of measures, NaN (`null` in the file) where one is not defined; those that need a table are
    missing until it is read. genotype: the architecture
    that was selected. core_seconds: of all stages, times their threads. fingerprint: of the run's
    configuration. commit, versions, created: as the run recorded them. machine: the one that read
    the run, with its cores.
    """

    claim: str
    protocol: str
    arm: str
    seed: int | None
    values: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    genotype: str | None = None
    core_seconds: float | None = None
    commit: str | None = None
    fingerprint: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: str | None = None
    created: str | None = None

    def text(self) -> str:
        """Return it as JSON, without what is unknown."""
        return as_json(
            {key: value for key, value in asdict(self).items() if value not in (None, {})}
        )


class ResultFile:
    """The lines of a file; a later line of the same claim, protocol, arm and seed counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = self._read()

    def _read(self) -> dict[LineKey, ResultLine]:
        found = {}
        for number, record in enumerate(read_lines(self.path), 1):
            where = self.path.with_name(f"{self.path.name}, line {number}")
            if unknown := record.keys() - ResultLine.__dataclass_fields__.keys():
                raise ValueError(f"{where}: unknown key {min(unknown)}; repair or delete the line")
            try:
                line = ResultLine(**{"seed": None, **typed(where, record, TYPES)})
            except TypeError as error:
                raise ValueError(f"{where}: {error}; repair or delete the line") from error
            values = {key: math.nan if y is None else y for key, y in line.values.items()}
            found[_key(line)] = replace(line, values=values)
        return found

    def of(self, name: str, protocol: str | None) -> list[ResultLine]:
        """Return the lines of a claim's protocol, in the order of the file."""
        return [
            line
            for line in self._lines.values()
            if line.claim == name and line.protocol == protocol
        ]

    def has(self, name: str, protocol: str | None, arm: str, seed: int) -> bool:
        """Return whether an arm has its result with a seed."""
        return (name, protocol, arm, seed) in self._lines

    def add(self, line: ResultLine) -> None:
        """Append a line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with held(self.path.parent, f"results={self.path}", wait=True):
            append_line(self.path, line.text())
        self._lines[_key(line)] = line

    def look_up(self, name: str, claim: Claim, table: Table) -> None:
        """Give the lines of a claim the values that need a table, and add its controls."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with held(self.path.parent, f"results={self.path}", wait=True):
            self._lines = self._read()  # another claim may have got results meanwhile
            for line in self.of(name, claim.frozen):
                values = evaluated(claim, line.facts, table)
                self._lines[_key(line)] = replace(line, values={**line.values, **values})
            for measure, of in claim.measures.items():
                for control, value in of.controls(table).items():
                    line = ResultLine(name, str(claim.frozen), control, None)
                    known = self._lines.get(_key(line), line)
                    values = {**known.values, measure: value}
                    self._lines[_key(line)] = replace(known, values=values)
            write_text(self.path, "".join(f"{line.text()}\n" for line in self._lines.values()))


def refuse_unwritable(path: Path) -> None:
    """Raise ValueError unless a file of results can be read and written at a path."""
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    if existing.is_dir() == (existing == path):
        raise ValueError(f"results={path}: {existing} is in its place; name another file")
    folder = existing if existing.is_dir() else existing.parent  # the file is replaced there
    if not all(os.access(place, os.W_OK) for place in (existing, folder)):
        raise ValueError(f"results={path}: no permission to write there; name another file")


def shipped() -> Path:
    """Return the file of our own results: beside the package in a wheel, in a clone in `docs/`."""
    beside = Path(__file__).parents[1] / "results.jsonl"
    return beside if beside.is_file() else Path(__file__).parents[3] / "docs" / "results.jsonl"


def evaluated(claim: Claim, facts: Mapping[str, Any], table: Table | None) -> dict[str, float]:
    """Return the values of facts that are known, with a table or without one.

    One that is not defined, such as a correlation with equal scores, is NaN.
    """
    found = {key: of.value(facts.get(key), table) for key, of in claim.measures.items()}
    return {key: value for key, value in found.items() if value is not None}


def values(claim: Claim, lines: Iterable[ResultLine]) -> Values:
    """Return the values of the lines that count, by measure, arm and place."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for line in lines:
        place = CONTROL if line.seed is None else line.seed - claim.seed(line.arm, 0)
        if counts(claim, line):
            for measure, value in line.values.items():
                if math.isfinite(value):
                    found.setdefault(measure, {}).setdefault(line.arm, {})[place] = value
    return found


def counts(claim: Claim, line: ResultLine) -> bool:
    """Return whether a line has the values that the claim's floor asks for, where it has them."""
    return all(line.values.get(key, least) >= least for key, least in claim.floor.items())


def _key(line: ResultLine) -> LineKey:
    return line.claim, line.protocol, line.arm, line.seed
