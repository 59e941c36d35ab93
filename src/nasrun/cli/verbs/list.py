"""`nasrun list [GROUP|runs]`: prints the groups, their options, or the runs."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nasrun.cli import screen
from nasrun.cli.verb import Verb
from nasrun.cli.words import one_of, outputs_of, sorted_out
from nasrun.config.words import packages, suggestion
from nasrun.shown import shown

FORMATS = ("table", "json", "csv")
MADE_WITH = ("dataset", "space", "strategy", "genotype", "seed")
KEYS = {
    "format": "|".join(FORMATS),
    "outputs": "DIR",
    "sort": "used|accuracy|time|name",
    **dict.fromkeys(MADE_WITH, "NAME,NAME"),
    "finished": "STAGE|true|false",
}
RUNS = "runs"


def list_(words: Sequence[str]) -> int:
    """Print tables of options or of runs."""
    keys, names = sorted_out(words, KEYS)
    known = tuple(listable())
    for name in names:
        if name not in known:
            raise ValueError(f"{name}: nothing to list{suggestion(name, known)}")
    if RUNS in names and names != [RUNS]:
        raise ValueError(f"list {' '.join(names)}: list runs alone, without other words")
    form = one_of(keys, "format", FORMATS)
    if names == [RUNS]:
        _list_runs(keys, form)
        return 0
    if idle := [f"{key}={value}" for key, value in keys.items() if key != "format"]:
        raise ValueError(f"{idle[0]}: has no effect on options; type it with `nasrun list runs`")
    _list_options(names or [name for name in known if name != RUNS], form)
    return 0


def listable(before: Sequence[str] = ()) -> Iterable[str]:
    """Return everything that can be listed; nothing after `runs`, which is listed alone."""
    from nasrun.config import GROUPS, OPTIMIZERS

    return () if RUNS in before else (*GROUPS, OPTIMIZERS, "genotype", RUNS)


def _list_runs(keys: Mapping[str, str], form: str) -> None:
    from nasrun.runs import comparison
    from nasrun.runs.run import Run

    order = one_of(keys, "sort", tuple(comparison.ORDERS))
    outputs = outputs_of(keys)
    chosen = (*comparison.FACTS, "finished")
    filters = {key: packages(keys[key]) for key in chosen if key in keys}
    paths = [run.path for run in comparison.chosen(Run.all(outputs), filters)]
    if form != "table":
        records, damaged = comparison.records(paths, order)
        rows = [each.plain() if form == "json" else each.cells() for each in records]
        _print_records(comparison.Record.columns(rows), rows, form)
        for reason in damaged:
            print(f"nasrun: {comparison.DAMAGED}: {shown(reason)}", file=sys.stderr)
    elif paths:
        comparison.print_runs(screen.console(), paths, str(outputs), order)
    else:
        print(f"{outputs}: no such runs" if filters else f"{outputs}: no runs; try `nasrun run`")


def _list_options(groups: Sequence[str], form: str) -> None:
    from nasrun.config import GENOTYPES, options
    from nasrun.display import table

    found = {group: options(GENOTYPES if group == "genotype" else group) for group in groups}
    if form == "table":
        console = screen.console()
        for group, texts in found.items():
            table(console, group, ("option", "what it is"), list(texts.items()))
        return
    records = [
        {"group": group, "option": option, "text": text}
        for group, texts in found.items()
        for option, text in texts.items()
    ]
    _print_records(("group", "option", "text"), records, form)


def _print_records(names: Sequence[str], records: Sequence[Mapping[str, Any]], form: str) -> None:
    """Print records for programs; `None` is an empty cell in CSV."""
    if form == "json":
        from nasrun.files import as_json

        print(as_json(records, indent=2))
        return
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)


VERBS = (
    Verb(
        name="list",
        text="print all groups, the options of one (list strategy), or the runs",
        examples=(
            "nasrun list",
            "nasrun list strategy",
            "nasrun list runs",
            "nasrun list runs strategy=darts,snas finished=retrain sort=accuracy",
            "nasrun list runs format=csv > runs.csv",
        ),
        run=list_,
        note="The table of runs has one row per stage and configuration, over all seeds. In JSON "
        "and CSV every stage of every run is a record.",
        keys=KEYS,
        about={
            "outputs": "the folder of the runs",
            "sort": "the run used last at the end, the best first, the quickest first, or by name",
            "finished": "runs that have finished this stage, or all stages that they began",
            **dict.fromkeys(MADE_WITH, "runs that were made with one of these"),
        },
        offers=listable,
    ),
)
