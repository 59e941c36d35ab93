"""`nasrun report RUN...`: writes one page for people about runs."""

from __future__ import annotations

from collections.abc import Sequence

from nasrun.cli.verb import Verb
from nasrun.cli.words import outputs_of, run_folders, sorted_out
from nasrun.config.words import packages

KEYS = {"out": "FILE.html", "outputs": "DIR", "trust": "[PACKAGE]"}


def report(words: Sequence[str]) -> int:
    """Write the page, and print where it lies."""
    keys, names = sorted_out(words, KEYS)
    outputs = outputs_of(keys, names)
    from nasrun.pages.page import write
    from nasrun.pages.sources import Sources

    found = Sources.of(names, outputs)
    written = write(found, keys.get("out"), packages(keys.get("trust", "")))
    runs = f"{written.runs} run{'s' if written.runs > 1 else ''}"
    print(f"{written.path}: {runs}, {written.size / 2**20:.2f} MiB")
    return 0


VERBS = (
    Verb(
        name="report",
        text="write one page about runs: results, curves, cells, commands (report RUN...)",
        examples=(
            "nasrun report",
            "nasrun report outputs/digits-darts-darts/v001 out=darts.html",
            "nasrun report outputs/digits-darts-darts outputs/digits-darts-snas",
            "nasrun report outputs/sweeps/2026-01-31/12-00-00",
        ),
        run=report,
        note="RUN is the folder of a run, of several runs, or of a sweep; without one, it is the "
        "run that was used last. The page is one HTML file that needs no network: it can be "
        "mailed. An earlier report in its place is overwritten; any other file is left alone.",
        keys=KEYS,
        about={
            "out": "the page; report.html in the folder of the run, the sweep or the runs if it is "
            "left out",
            "outputs": "the folder of the runs, if no run is named",
            "trust": "packages of your own that the run's configuration names",
        },
        offers=run_folders,
    ),
)
