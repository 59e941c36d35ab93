"""Measurements that a file keeps as soon as they are known, so that a command resumes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasrun.files import append_line, as_json, read_lines
from nasrun.genotype import fingerprint

KEPT = "measured.jsonl"
"""Name of the file: one measurement per line, with the fingerprint of what it was made with."""
FORMER = "scores.jsonl"
"""Name of the file in which earlier versions of `nasrun analyze ranks` kept its scores."""
Once = Callable[..., Any]
"""Called as `once(measure, *what)`: returns a measurement, made now unless it is known."""


def now(measure: Callable[[], Any], *what: object) -> Any:
    """Return a measurement, made now; nothing is kept."""
    return measure()


class Measurements:
    """The measurements in a folder that were made with the same `shared` settings.

    Values are plain; NaN and infinities become `None`, whether they are read or measured.
    """

    def __init__(self, folder: Path, shared: object) -> None:
        self.path, self.shared = folder / KEPT, shared
        self.found = {line["made_with"]: line["value"] for line in read_lines(self.path)}

    def has(self, *what: object) -> bool:
        """Return whether this measurement is known."""
        return self._key(what) in self.found

    def of(self, *what: object) -> Any:
        """Return a known measurement."""
        return self.found[self._key(what)]

    def add(self, value: object, *what: object) -> Any:
        """Keep a measurement, and return it as it is read."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = {"of": list(map(str, what)), "made_with": self._key(what), "value": value}
        text = as_json(line)
        append_line(self.path, text)
        self.found[line["made_with"]] = json.loads(text)["value"]
        return self.of(*what)

    def adopt(self, value: object, *what: object) -> None:
        """Know a measurement that another file keeps, unless this one does."""
        self.found.setdefault(self._key(what), value)

    def once(self, measure: Callable[[], object], *what: object) -> Any:
        """Return a measurement, made now unless it is known."""
        return self.of(*what) if self.has(*what) else self.add(measure(), *what)

    def _key(self, what: tuple[object, ...]) -> str:
        return fingerprint([self.shared, *what])
