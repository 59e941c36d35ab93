"""`nasrun diagnose RUN`: DARTS-PT's three looks at a searched supernet."""

from __future__ import annotations

from collections.abc import Sequence

from nasrun.cli import screen
from nasrun.cli.verb import Verb
from nasrun.cli.words import packages, run_folders, sorted_out, whole

KEYS = {"edges": "3", "rounds": "5", "shuffles": "5", "trust": "[PACKAGE]"}


def diagnose(words: Sequence[str]) -> int:
    """Measure, write `diagnostics.json`, print it."""
    keys, names = sorted_out(words, KEYS)
    if len(names) != 1:
        raise ValueError("diagnose: takes one run's folder, `nasrun list runs` shows them")
    counts = {
        name: whole(keys, name, default, least=0)
        for name, default in (("edges", 3), ("rounds", 5), ("shuffles", 5))
    }
    from nasrun.analysis import diagnose

    record = diagnose.diagnose(names[0], **counts, trust=packages(keys.get("trust", "")))
    diagnose.print_record(screen.console(), record)
    return 0


VERBS = (
    Verb(
        name="diagnose",
        text="whether a searched supernet's probabilities mean strength",
        examples=("nasrun diagnose outputs/digits-darts-darts/v001 edges=3 rounds=5 shuffles=5",),
        run=diagnose,
        note="edges: so many random ones, every operation tuned for `rounds`; shuffles=0: no "
        "exchange of edges",
        keys=KEYS,
        offers=run_folders,
    ),
)
