"""`nasrun show RUN` or `nasrun show genotype=NAME`: prints a run or an architecture."""

from __future__ import annotations

from collections.abc import Sequence

from nasrun.cli import screen
from nasrun.cli.verb import Verb
from nasrun.cli.words import one_of, run_folders, sorted_out
from nasrun.config.words import packages

KEYS = {
    "genotype": "NAME|FILE|FILE:NAME",
    "network": "cifar|imagenet|morph|nasbench101|nasbench201",
    "table": "FILE.csv",
    "format": "table|json",
    "space": "NAME",
    "out": "DIR",
    "trust": "[PACKAGE]",
}


def show(words: Sequence[str]) -> int:
    """Print an architecture or a run, as tables or JSON."""
    from nasrun.runs import show

    keys, names = sorted_out(words, KEYS)
    if ("genotype" in keys) + len(names) != 1:
        raise ValueError("show: give the folder of a run or genotype=NAME, one of the two")
    form = one_of(keys, "format", ("table", "json"))
    network, trusted = keys.get("network"), packages(keys.get("trust", ""))
    table = keys.get("table")
    if "genotype" in keys:
        name, space, out = keys["genotype"], keys.get("space"), keys.get("out")
        record = show.genotype(name, network, space, out, trusted, table)
    else:
        if idle := [f"{key}={keys[key]}" for key in ("space", "out") if key in keys]:
            raise ValueError(
                f"{idle[0]}: has no effect on a run, which has its own space and pictures; "
                "leave it out"
            )
        record = show.run(names[0], network, trusted, table)
    if form == "json":
        from nasrun.files import as_json

        print(as_json(record, indent=2))
    else:
        show.print_record(screen.console(), record)
    return 0


VERBS = (
    Verb(
        name="show",
        text="draw an architecture and count its costs, or show a run",
        examples=(
            "nasrun show outputs/digits-darts-darts/v001",
            "nasrun show genotype=darts_v2 network=imagenet format=json",
        ),
        run=show,
        keys=KEYS,
        about={
            "genotype": "a published cell, a file, or one architecture of a file of many",
            "network": "count parameters and multiply-adds in this published network",
            "table": "look up its true accuracy in this table",
            "space": "the space of the genotype, if its text does not say",
            "out": "where its pictures go; outputs/genotypes if it is left out",
            "trust": "packages of your own that the run's configuration names",
        },
        offers=run_folders,
    ),
)
