"""`nasrun diff RUN RUN...` prints the settings in which runs differ."""

from __future__ import annotations

from collections.abc import Sequence

from nasrun.cli import screen
from nasrun.cli.verb import Verb
from nasrun.cli.words import one_of, run_folders, sorted_out

KEYS = {"format": "table|json"}


def diff(words: Sequence[str]) -> int:
    """Print a row per setting that is not the same in all runs."""
    keys, names = sorted_out(words, KEYS)
    form = one_of(keys, "format", ("table", "json"))
    if len(names) < 2:
        raise ValueError("diff: give the folders of two runs or more")
    from nasrun.display import say, table
    from nasrun.files import as_json
    from nasrun.runs.differences import beside, unlike
    from nasrun.runs.finding import find_run

    several = beside([find_run(name) for name in names])
    found = {key: [each.get(key) for each in several] for key in unlike(several)}
    if form == "json":
        print(as_json({"runs": names, "settings": found}, indent=2))
        return 0
    console = screen.console()
    if not found:
        say(console, "no setting differs")
        return 0
    rows = [(key, *("-" if v is None else v for v in values)) for key, values in found.items()]
    table(console, "", ("setting", *names), rows)
    return 0


VERBS = (
    Verb(
        name="diff",
        text="print the settings in which runs differ (diff RUN RUN...)",
        examples=("nasrun diff outputs/digits-darts-darts/v001 outputs/digits-darts-darts/v002",),
        run=diff,
        note="The place and the reading of data are not compared. Stages that not all "
        "runs have are compared by their kind, and named in a row; `-` marks a missing value.",
        keys=KEYS,
        offers=run_folders,
    ),
)
