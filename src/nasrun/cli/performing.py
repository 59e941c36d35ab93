"""One command of a claim's protocol, run quietly in this process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from nasrun.cli import screen
from nasrun.cli.line import Line
from nasrun.cli.prepared import plan_of, source_of


def perform(words: Sequence[str]) -> list[Path]:
    """Run a command of stages and return their folders; ValueError, in one line, if it fails."""
    from rich.console import Console

    from nasrun.budget import BudgetSpent
    from nasrun.pipeline.execution import execute

    warnings.showwarning = screen.warn  # in another process, too
    try:
        line = Line.parse(words[0], words[1:])
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            _, stages = execute(plan_of(line, source_of(line)), Console(file=nowhere))
    except (ValueError, OSError, RuntimeError, MemoryError, BudgetSpent) as error:
        if os.environ.get("NASRUN_TRACEBACK"):
            raise
        raise ValueError(screen.told(error)) from error
    return [stage.path for stage in stages]


def check(words: Sequence[str]) -> None:
    """Raise ValueError for a command that would be refused; nothing is written."""
    line = Line.parse(words[0], words[1:])
    plan_of(line, source_of(line))
