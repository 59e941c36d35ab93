"""`nasrun list [GROUP|runs]`: the groups, their options, and the runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from nasrun.cli import screen
from nasrun.cli.verb import Verb
from nasrun.cli.words import near, sorted_out

KEYS = {"outputs": "DIR"}
RUNS = "runs"


def list_(words: Sequence[str]) -> int:
    """Tables of options, or of runs."""
    keys, names = sorted_out(words, KEYS)
    known = tuple(listable())
    for name in names:
        if name not in known:
            hint = near(name, known) or f"; there are {', '.join(known)}"
            raise ValueError(f"{name}: nothing to list{hint}")
    if RUNS in names and names != [RUNS]:
        raise ValueError(f"list {' '.join(names)}: runs are listed alone")
    if names == [RUNS]:
        _list_runs(Path(keys.get("outputs", "outputs")))
    else:
        _list_options(names or [name for name in known if name != RUNS])
    return 0


def listable(before: Sequence[str] = ()) -> Iterable[str]:
    """Everything that can be listed."""
    from nasrun.config import GROUPS

    return (*GROUPS, "genotype", RUNS)


def _list_runs(outputs: Path) -> None:
    from nasrun.runs.report import print_runs
    from nasrun.runs.run import Run

    print_runs(screen.console(), [run.path for run in Run.all(outputs)], str(outputs))


def _list_options(groups: Sequence[str]) -> None:
    from nasrun.config import GENOTYPES, options
    from nasrun.display import table

    console = screen.console()
    for group in groups:
        folder = GENOTYPES if group == "genotype" else group
        table(console, group, ("option", "what it is"), list(options(folder).items()))


VERBS = (
    Verb(
        name="list",
        text="the groups, the options of one (list strategy), or the runs (list runs)",
        examples=("nasrun list", "nasrun list strategy", "nasrun list runs"),
        run=list_,
        keys=KEYS,
        offers=listable,
    ),
)
