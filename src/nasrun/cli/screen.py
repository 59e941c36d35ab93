"""What a command prints: its console, its refusals and warnings, each in one line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun.shown import shown

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """Standard output; what is printed there appears as it is."""
    from rich.console import Console  # not above: a mistyped option must not wait for rich

    width = None if sys.stdout.isatty() else 140
    return Console(width=width, markup=False, emoji=False, highlight=False)  # names are no markup


def refused(error: ValueError | OSError) -> int:
    """One line on standard error; the traceback only for those who ask for it."""
    if os.environ.get("NASRUN_TRACEBACK"):
        raise error
    print(f"nasrun: {told(error)}", file=sys.stderr)
    return 2


def told(error: Exception) -> str:
    """One line: a refusal's own words; of what nobody foresaw its type and its first line."""
    from nasrun.budget import BudgetSpent

    text = str(error)
    if isinstance(error, OSError):
        text = f"{error.filename or 'files'}: {error.strerror or error}"
    elif not isinstance(error, ValueError | BudgetSpent):
        text = f"{type(error).__name__}: {text}".splitlines()[0]
    return shown(" ".join(text.split()))


def warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Warnings as one line; those of libraries are for their developers."""
    if Path(filename).is_relative_to(Path(__file__).parents[1]):
        print(f"nasrun: warning: {shown(message)}", file=sys.stderr)
