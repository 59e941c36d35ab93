"""`nasrun clean [RUN...]`: deletes the states of finished stages."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nasrun.cli import screen
from nasrun.cli.verb import Verb
from nasrun.cli.words import one_of, outputs_of, run_folders, sorted_out
from nasrun.shown import shown

KEYS = {"yes": "true", "search": "true", "outputs": "DIR"}
SWITCH = ("false", "true")


def clean(words: Sequence[str]) -> int:
    """Show what would be freed, and free it with `yes=true`."""
    keys, names = sorted_out(words, KEYS)
    sure, searches = (one_of(keys, key, SWITCH) == "true" for key in ("yes", "search"))
    outputs = outputs_of(keys, names)
    from nasrun.display import storage, table
    from nasrun.runs.cleaning import leftovers
    from nasrun.runs.finding import run_at
    from nasrun.runs.run import Run

    named = {run.path.resolve(): run for run in map(run_at, names)}
    runs = list(named.values()) or Run.all(outputs)
    rows, freed, kept = [], 0, []
    for run in runs:
        try:
            found = list(leftovers(run, searches=searches))
            rows += [(run.path, each.stage.title, storage(each.size / 2**30)) for each in found]
            size = sum(each.size for each in found)
            if sure and found:
                with run.lock():
                    for each in found:
                        each.remove()
            freed += size
        except ValueError as error:
            kept.append(str(error))
    console = screen.console()
    if rows:
        table(console, "", ("run", "stage", "state"), rows)
    done = "freed" if sure else "can be freed"
    print(f"{storage(freed / 2**30)} {done}" + ("" if sure or not freed else "; type yes=true"))
    for reason in kept:
        print(f"nasrun: left alone: {shown(reason)}", file=sys.stderr)
    return 2 if kept else 0


VERBS = (
    Verb(
        name="clean",
        text="delete the states of finished stages, which take most of the disk",
        examples=(
            "nasrun clean",
            "nasrun clean outputs/digits-darts-darts/v001 yes=true",
            "nasrun clean search=true yes=true",
        ),
        run=clean,
        note="Without yes=true nothing is deleted: the command only shows what it would delete. "
        "Results, weights, metrics, genotypes and pictures stay. Without its state, a training "
        "cannot be lengthened by extend=true.",
        keys=KEYS,
        about={
            "yes": "delete them",
            "search": "the states of searches too; nothing more can be selected from them then",
            "outputs": "the folder of the runs, if no run is named",
        },
        offers=run_folders,
    ),
)
