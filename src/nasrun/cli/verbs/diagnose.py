"""`nasrun diagnose RUN`: DARTS-PT's three measurements of a searched supernet."""

from __future__ import annotations

from collections.abc import Sequence

from nasrun.cli import screen
from nasrun.cli.verb import Verb
from nasrun.cli.words import packages, run_folders, sorted_out, whole

KEYS = {"edges": "3", "rounds": "5", "shuffles": "5", "trust": "[PACKAGE]"}


def diagnose(words: Sequence[str]) -> int:
    """Measure, write `diagnostics.json` and print it."""
    keys, names = sorted_out(words, KEYS)
    if len(names) != 1:
        raise ValueError("diagnose: give the folder of one run; `nasrun list runs` shows the runs")
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
        text="measure what the probabilities of a searched supernet are worth",
        examples=("nasrun diagnose outputs/digits-darts-darts/v001 edges=3 rounds=5 shuffles=5",),
        run=diagnose,
        keys=KEYS,
        about={
            "edges": "how many random edges are measured",
            "rounds": "how long each of their operations is tuned alone",
            "shuffles": "how often the choices of two edges are exchanged; 0 leaves it out",
            "trust": "packages of your own that the run's configuration names",
        },
        offers=run_folders,
    ),
)
