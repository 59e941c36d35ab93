"""`nasrun plan [VERB] ...`: memory, time and network sizes before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nasrun.cli.line import Line
from nasrun.cli.verb import Verb
from nasrun.config.stages import ALWAYS, KINDS, RUN, read_by
from nasrun.config.words import did_you_mean

FORESEEN = (RUN, *KINDS)


def plan(words: Sequence[str]) -> int:
    """Print the predictions for a run, or for the stage named first."""
    named = words and words[0][:1].isalpha() and "=" not in words[0]
    verb, rest = (words[0], words[1:]) if named else (RUN, words)
    if verb not in FORESEEN:
        hint = did_you_mean(verb, FORESEEN) or f"; use one of {', '.join(FORESEEN)}"
        raise ValueError(f"plan {verb}: unknown verb{hint}")
    line = Line.parse(verb, rest, only_foreseen=True)
    if line.multirun:
        raise ValueError("plan -m: plan one configuration at a time")
    from nasrun.cli.command import run_line

    return run_line(line)


def offered(before: Sequence[str]) -> Iterable[str]:
    """Return the verbs, as the first word."""
    return () if before else FORESEEN


VERBS = (
    Verb(
        name="plan",
        text="predict memory, time and network sizes of a run, or plan VERB",
        examples=(
            "nasrun plan strategy=darts space=mobile_28 depth=20",
            "nasrun plan strategy=radars space=mobile_28 depth=20 budget.max_memory_gib=4",
            "nasrun plan retrain genotype=darts_v2 retrain=cifar",
        ),
        run=plan,
        note="A few steps are run and timed; nothing is trained or kept.",
        offers=offered,
        stages=FORESEEN,
        composed=True,
        reads=(*(key for key in ALWAYS if key != "hydra"), *read_by(RUN)),
    ),
)
