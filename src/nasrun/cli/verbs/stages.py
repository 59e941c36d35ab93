"""`nasrun run`, and the single stages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from nasrun.cli.line import Line
from nasrun.cli.verb import Verb
from nasrun.config.stages import ALWAYS, RUN, STAGES, read_by


def run_stages(verb: str, words: Sequence[str]) -> int:
    """Run a stage or all stages: one command, or a sweep."""
    from nasrun.cli.command import run_line

    return run_line(Line.parse(verb, words))


def _verb(name: str, text: str, examples: tuple[str, ...]) -> Verb:
    return Verb(
        name=name,
        text=text,
        examples=examples,
        run=partial(run_stages, name),
        composed=True,
        keeps="rounds",
        reads=(*(key for key in ALWAYS if key != "hydra"), *read_by(name)),
    )


VERBS = (
    _verb(
        RUN,
        "search, select, retrain and transfer, one after the other",
        ("nasrun run", "nasrun run strategy=snas seed=1", "nasrun run experiment=smoke"),
    ),
    *(_verb(kind.name, kind.text, kind.examples) for kind in STAGES),
)
