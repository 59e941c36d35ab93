"""The commands typed for a run, and its rounds as plain lines, both with their time.

commands.jsonl      a line per command that did something: the words, when, by which version and
                    how many processes
nasrun.log          a copy of the output, to read or search later
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

from nasrun.display import duration, summary
from nasrun.files import append_line
from nasrun.runs.run import Run
from nasrun.stage import Metrics, Observer, Stage

COMMANDS, LOG = "commands.jsonl", "nasrun.log"


def note_command(run: Run, command: str, processes: int) -> None:
    """Record the words of a command that does something in a run, and its processes."""
    from importlib.metadata import version

    record = {"command": command, "when": _now(), "nasrun": version("nasrun")}
    append_line(run.path / COMMANDS, json.dumps({**record, "processes": processes}))
    append_line(run.path / LOG, f"{record['when']}  $ {command}")


class Log(Observer):
    """Writes the rounds of a stage into the log of its run."""

    def __init__(self, run: Run, title: str) -> None:
        self.path, self.title = run.path / LOG, title

    def begin(self, stage: Stage, settings: dict[str, Any]) -> None:
        self.started = time.monotonic()
        after = f"continues after round {stage.round}" if stage.round else "begins"
        self._line(f"{after} of {stage.rounds}")

    def step(self, done: int, total: int) -> None: ...

    def round(self, stage: Stage, metrics: Metrics) -> None:
        self._line(f"round {stage.round}/{stage.rounds}  {summary(metrics, stage.largest)}")

    def finish(self, result: dict[str, Any]) -> None:
        self._line(f"is done after {duration(time.monotonic() - self.started)}")

    def fail(self, error: BaseException) -> None:
        reason = f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")
        with suppress(ValueError, OSError):  # the stage itself reports a full disk
            self._line(f"ends before it is done: {reason}")

    def _line(self, text: str) -> None:
        append_line(self.path, f"{_now()}  {self.title}  {text}")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
