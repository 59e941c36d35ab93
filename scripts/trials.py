"""Shared parts of the scripts that break things: commands, and a journal of trials."""

from __future__ import annotations

import io
import json
import os
import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ERROR, WARNING = "nasrun: ", "nasrun: warning: "
REFUSED = 2
FAILED = "FAILED"
"""Beginning of an outcome that is a fault."""


class TooLong(BaseException):
    """The time limit of a trial is over; no `except Exception` catches it."""


@dataclass(frozen=True)
class Answer:
    """The answer of a command; `status` is `None` if it ended in a traceback."""

    status: int | None
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines on standard error except warnings."""
        return [line for line in self.err.splitlines() if not line.startswith(WARNING)]

    @property
    def warned(self) -> bool:
        """Return whether there was a warning."""
        return any(line.startswith(WARNING) for line in self.err.splitlines())

    @property
    def fault(self) -> str | None:
        """Return why the answer is not proper for any command; `None` if it is."""
        if self.status is None:
            return f"{FAILED}: {(self.err.strip().splitlines() or [''])[-1]}"
        if self.status == REFUSED and len(self.errors) != 1:
            return f"{FAILED}: {len(self.errors)} lines"
        if self.status == REFUSED and not self.errors[0].startswith(ERROR):
            return f"{FAILED}: not a line of nasrun's: {self.errors[0]}"
        return None


def answered(words: Sequence[str], seconds: float = 60) -> Answer:
    """Run a command in this process."""
    from nasrun.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    status: int | None = None
    with redirect_stdout(out), redirect_stderr(err):
        try:
            with limited(seconds), unchanged():
                main(list(words))
        except SystemExit as end:
            status = int(end.code or 0)
        except TooLong:
            err.write(f"TooLong: more than {seconds:g} seconds\n")
        except BaseException:  # noqa: BLE001  whatever it is, it is a traceback to a user
            err.write(traceback.format_exc())
    if status in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        raise KeyboardInterrupt  # it is the script that is to end
    return Answer(status, out.getvalue(), err.getvalue())


def loaded(run: Path, seconds: float = 60) -> Answer:
    """Return the outputs of `nasrun.load` of a run on a random image."""
    import torch

    import nasrun

    try:
        with limited(seconds), unchanged():
            network = nasrun.load(run)
            pixels = torch.linspace(0, 1, network.channels * 64).view(1, -1, 8, 8)
            return Answer(0, f"{network.classes} {network(pixels).tolist()}\n", "")
    except ValueError as error:
        return Answer(REFUSED, "", f"{ERROR}{error}\n")
    except (Exception, TooLong):  # noqa: BLE001  as above
        return Answer(None, "", traceback.format_exc())


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TooLong if the context computes longer, or waits far longer, whatever else runs."""

    def over(*_: Any) -> None:
        raise TooLong

    clocks = {
        signal.ITIMER_PROF: (signal.SIGPROF, seconds),
        signal.ITIMER_REAL: (signal.SIGALRM, 30 * seconds),
    }
    before = {name: signal.signal(name, over) for name, _ in clocks.values()}
    for clock, (_, limit) in clocks.items():
        signal.setitimer(clock, limit)
    try:
        yield
    finally:
        for clock in clocks:
            signal.setitimer(clock, 0)
        for name, handler in before.items():
            signal.signal(name, handler)


@contextmanager
def unchanged() -> Iterator[None]:
    """Restore what a command changes in its process: warnings, the folder, denormal numbers.

    Pictures are written but not drawn, which would take longer than a small search.
    """
    import torch
    from matplotlib.figure import Figure

    shown, folder, threads = warnings.showwarning, os.getcwd(), torch.get_num_threads()
    drawn = Figure.savefig
    Figure.savefig = lambda figure, file, **options: file.write(b"undrawn")  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        Figure.savefig = drawn  # type: ignore[method-assign]
        warnings.showwarning = shown
        os.chdir(folder)
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Journal:
    """Finished trials, one per line, which are not repeated."""

    path: Path

    def rows(self) -> list[dict[str, Any]]:
        """Return all finished trials."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [json.loads(line) for line in lines]

    def run(self, trials: Iterable[tuple[str, Callable[[], dict[str, Any]]]]) -> None:
        """Run the missing trials, each identified by its name."""
        done = {row["trial"] for row in self.rows()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for name, trial in trials:
            if name not in done:
                row = {"trial": name, **trial()}
                with self.path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                if row["outcome"].startswith(FAILED):
                    print(f"{name}: {row['outcome']}", flush=True)


def print_counts(rows: Sequence[dict[str, Any]], key: str, outcomes: Sequence[str]) -> None:
    """Print a Markdown table: a row per value of a key, a column per outcome, then all faults."""
    print(f"\n| {key} | trials |", *(f"{outcome} |" for outcome in outcomes), f"{FAILED} |")
    print("|---|---|" + "---|" * (len(outcomes) + 1))
    for value in [*dict.fromkeys(row[key] for row in rows), None]:
        meant = [row for row in rows if value in (None, row[key])]
        counts = Counter(row["outcome"].partition(":")[0] for row in meant)
        cells = [len(meant), *(counts[outcome] for outcome in outcomes), counts[FAILED]]
        print(f"| {value or 'all'} |", *(f"{cell:,} |" for cell in cells))
