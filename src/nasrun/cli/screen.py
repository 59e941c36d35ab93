"""The output of a command: its console, and refusals and warnings on one line each."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun.budget import BudgetSpent
from nasrun.cli.ending import Ended
from nasrun.files import FULL
from nasrun.shown import shown
from nasrun.world import Launched

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """Return a console on standard output that prints text as it is."""
    from rich.console import Console  # not above: a mistyped option must not wait for rich

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise  # the error at work: rich would end the process, as if it had lost another one

    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = None if known else 140
    return Plain(width=width, markup=False, emoji=False, highlight=False)  # names are not markup


def open_streams() -> None:
    """Make the standard streams such that printing never fails.

    A closed stream is replaced by the null device: else the next opened file would take its place.
    Characters that the encoding lacks are printed as escapes. Of several processes that share a
    command, only the first one prints.
    """
    if (launched := Launched.here()) is not None and launched.rank > 0:
        sys.stdout = sys.stderr = None
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  for the whole command
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def close_streams() -> None:
    """Flush the streams; redirect those without a reader, else Python complains at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def interrupted(interrupt: KeyboardInterrupt, keeps: str) -> int:
    """Print one line on standard error and return the exit status.

    `keeps` names what the command has finished and kept; it is empty for one that begins anew.
    """
    number = interrupt.number if isinstance(interrupt, Ended) else signal.SIGINT
    by = f"ended by {signal.Signals(number).name}" if number != signal.SIGINT else "interrupted"
    behind_the_echo = "\n" if number == signal.SIGINT and sys.stderr.isatty() else ""  # of ^C
    kept = f"finished {keeps} are kept, the same command continues"
    _say(f"{by}; {kept if keeps else 'the same command begins anew'}", behind_the_echo)
    return 128 + number


def lost(text: str) -> int:
    """Print one line about a lost process on standard error and return the exit status."""
    _say(f"{text}; finished rounds are kept, the same command continues")
    return 1


def refused(error: ValueError | OSError) -> int:
    """Print an error as one line on standard error, or raise it if NASRUN_TRACEBACK is set."""
    if os.environ.get("NASRUN_TRACEBACK"):
        raise error
    _say(told(error))
    return 2


SPENT = 75
"""The exit status of a command whose budget's hours are spent."""


def status(failed: Iterable[bool]) -> int:
    """Return the exit status of a command of many jobs, by whether each failed one is only spent.

    If the hours of all failed ones are spent, the same command continues them.
    """
    spent = list(failed)
    return 0 if not spent else SPENT if all(spent) else 2


def _say(text: str, before: str = "") -> None:
    """Print a line on standard error, unless its terminal is gone."""
    with suppress(OSError):
        print(f"{before}nasrun: {text}", file=sys.stderr)


def told(error: Exception) -> str:
    """Return an error as one line: its own text, with its type if it is unexpected."""

    text = str(error)
    if isinstance(error, OSError) and error.errno is not None:
        text = f"{error.filename or _unnamed(error)}: {error.strerror or error}"
    elif not isinstance(error, ValueError | ChildProcessError | BudgetSpent):
        text = f"{type(error).__name__}: {text}".splitlines()[0]
    return shown(" ".join(text.split()))


def _unnamed(error: OSError) -> str:
    """Return what failed without a name; a full disk without a name is that of the output."""
    return "standard output" if error.errno in (*FULL, errno.EIO) else "files"


def warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Print a warning of nasrun as one line; warnings of libraries are for their developers."""
    if Path(filename).is_relative_to(Path(__file__).parents[1]):
        print(f"nasrun: warning: {shown(message)}", file=sys.stderr)
