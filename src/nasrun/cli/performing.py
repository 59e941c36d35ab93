"""One command of a claim's protocol, run quietly in this process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from nasrun.cli import screen
from nasrun.cli.line import Line
from nasrun.cli.parts import PARTS
from nasrun.cli.prepared import plan_of, source_of
from nasrun.config.words import key_of, quoted

OWN = ("trust", "hydra.searchpath")
"""Keys of a user's packages and options, which are typed and reach every command of a claim."""
ANALYZE = "analyze"
"""The verb whose parts are no stages."""


def perform(words: Sequence[str], folder: Path) -> list[Path]:
    """Run a command below a folder and return the folders that it made.

    ValueError, in one line, if it fails; BudgetSpent if its hours are spent.
    """

    warnings.showwarning = screen.warn  # in another process, too
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            return _analyze(words, folder) if words[0] == ANALYZE else _run(words, folder)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        if os.environ.get("NASRUN_TRACEBACK"):
            raise
        raise ValueError(screen.told(error)) from error


def check(commands: Sequence[Sequence[str]]) -> None:
    """Raise ValueError for an arm with a command that would be refused; nothing is written.

    The words of later commands compose; whether they suit what the first one finds, it says itself.
    """
    from nasrun.config import compose

    for place, (verb, *words) in enumerate(commands):
        if verb == ANALYZE:
            if not words or words[0] not in PARTS:
                raise ValueError(f"analyze {' '.join(words[:1])}: use {', '.join(PARTS)}")
            continue
        line = Line.parse(verb, words)
        line.refuse_flags()
        processes = compose(line.overrides).config["budget"]["processes"]
        if processes not in (1, "auto"):
            raise ValueError(
                f"budget.processes={processes}: an arm of a claim has one process; leave it out"
            )
        if not place:
            plan_of(line, source_of(line))


def _run(words: Sequence[str], folder: Path) -> list[Path]:
    """Run a command of stages; a later one has the folder of its run in its words."""
    from nasrun.pipeline.execution import execute

    line = Line.parse(words[0], [*words[1:], f"outputs={quoted(str(folder))}", "progress=false"])
    _, stages = execute(plan_of(line, source_of(line)), screen.console())
    return [stage.path for stage in stages]


def _analyze(words: Sequence[str], folder: Path) -> list[Path]:
    """Run a part of `nasrun analyze`; its folder is that of equal words, wherever the data lie."""
    from nasrun.claims.claim import DATA
    from nasrun.genotype import fingerprint

    told = [word for word in words if key_of(word) not in (*DATA, *OWN)]
    out = folder / ANALYZE / fingerprint(told)
    PARTS[words[1]].run([*words[2:], f"out={out}"])
    return [out]
