"""`nasrun analyze PART ...`: what architectures and searches are, one measurement per part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nasrun.cli.parts import PARTS
from nasrun.cli.verb import Verb
from nasrun.config.words import suggestion


def unknown(words: Sequence[str]) -> int:
    """Refuse words that name no part."""
    if not words or "=" in words[0]:
        raise ValueError(f"analyze: name a part first; the parts are {', '.join(PARTS)}")
    hint = suggestion(words[0], PARTS, "the parts are")
    raise ValueError(f"analyze {words[0]}: unknown part{hint}")


def offered(before: Sequence[str]) -> Iterable[str]:
    """Offer the parts as the first word."""
    return () if before else PARTS


VERBS = (
    Verb(
        name="analyze",
        text="measure what cells, scores and searches are worth (analyze PART)",
        examples=tuple(part.examples[0] for part in PARTS.values()),
        run=unknown,
        note="Every part prints a table, and writes JSON and pictures into the run "
        "(RUN/analysis/PART) or into out=DIR.",
        offers=offered,
        parts=PARTS,
    ),
)
