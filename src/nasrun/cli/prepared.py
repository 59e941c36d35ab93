"""From a command line to a plan: the run that it continues, and its composed configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nasrun.cli.line import Line

if TYPE_CHECKING:
    from nasrun.pipeline.plan import Plan
    from nasrun.runs.finding import Source


def source_of(line: Line) -> Source | None:
    """Return what a command continues, `None` if it begins a run.

    The composed configuration says where to look: an experiment may set it, and a value may refer
    to another one.
    """
    from nasrun.config import compose, frame, key_of
    from nasrun.config.stages import reads_search
    from nasrun.runs.finding import find_source, refuse_folder

    composed = compose(line.of_frame)
    keys = frame(composed.config)
    named = any(key_of(override) == "selector" for override in line.overrides)
    selector = composed.choices["selector"] if named and not reads_search(line.verb) else None
    try:
        if keys.run is not None:
            refuse_folder(line.verb, keys.run)
        return find_source(line.verb, Path(keys.outputs), keys.run, keys.genotype, selector)
    except ValueError:
        compose(line.overrides)  # a mistyped word is reported first
        raise


def overrides_of(line: Line, source: Source | None) -> list[str]:
    """Return the options of what is continued, then what is typed."""
    from nasrun.pipeline.inheriting import inherited_choices

    return [*(inherited_choices(source, line.overrides) if source else []), *line.overrides]


def plan_of(line: Line, source: Source | None) -> Plan:
    """Return the plan of a command, checked and built."""
    from nasrun.config import compose
    from nasrun.pipeline.command import Command
    from nasrun.pipeline.preparing import prepare

    composed = compose(overrides_of(line, source))
    command = Command(
        line.verb, composed, line.overrides, line.trusted, line.only_foreseen, line.text
    )
    return prepare(command, source)
