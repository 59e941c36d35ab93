"""`nasrun analyze search` measures a searched supernet and says what the search is worth."""

from __future__ import annotations

from collections.abc import Sequence

from nasrun.cli import screen
from nasrun.cli.verb import Verb
from nasrun.cli.words import sorted_out, whole
from nasrun.config.keys import ROOT
from nasrun.config.words import packages

KEYS = {
    "run": "RUN",
    "edges": "3",
    "rounds": "5",
    "shuffles": "5",
    "images": "64",
    ROOT: "DIR",
    "out": "DIR",
    "trust": "[PACKAGE]",
}


def search(words: Sequence[str]) -> int:
    """Measure, write `search.json`, and print it."""
    keys, names = sorted_out(words, KEYS)
    if names or "run" not in keys:
        typed = names[0] if names else "analyze search"
        raise ValueError(f"{typed}: give run=RUN; `nasrun list runs` shows the runs")
    counts = {
        name: whole(keys, name, default, least=0)
        for name, default in (("edges", 3), ("rounds", 5), ("shuffles", 5), ("images", 64))
    }
    if counts["images"] == 1:
        raise ValueError("images=1: use 2 or more, for batch norm, or 0 for no eigenvalue")
    from nasrun.analysis import search as measured
    from nasrun.display import tell

    trusted = packages(keys.get("trust", ""))
    record = measured.analyse(
        keys["run"],
        **counts,
        exactly="images" in keys,
        root=keys.get(ROOT),
        out=keys.get("out"),
        trust=trusted,
    )
    tell(screen.console(), (*measured.told(record), record["picture"]))
    return 0


PART = Verb(
    name="analyze search",
    text="measure what the probabilities of a searched supernet are worth, and judge the search",
    examples=(
        "nasrun analyze search run=outputs/digits-darts-darts/v001 edges=3 rounds=5 shuffles=5",
    ),
    run=search,
    keeps="measurements",
    note="What is measured is kept in the folder, so that an interrupted command resumes. The "
    "verdict is healthy, or the kind of collapse, with what to try.",
    keys=KEYS,
    about={
        "run": "the finished search",
        "edges": "number of random edges to measure",
        "rounds": "number of rounds that each of their operations is tuned alone",
        "shuffles": "number of measurements with the choices of two edges exchanged; 0 for none",
        "images": "number of validation images for the Hessian's eigenvalue; 0 for none",
        ROOT: "the place of the run's data, if they were moved",
        "out": "folder of the files; the run's analysis/search if it is left out",
        "trust": "packages of your own that the run's configuration names",
    },
)
