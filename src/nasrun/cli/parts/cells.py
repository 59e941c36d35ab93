"""`nasrun analyze cells`: widths, depths, operations and costs of architectures."""

from __future__ import annotations

from collections.abc import Sequence

from nasrun.cli import screen
from nasrun.cli.verb import Verb
from nasrun.cli.words import sorted_out
from nasrun.config.words import packages

KEYS = {
    "genotype": "NAME|FILE,...",
    "run": "RUN",
    "network": "cifar|imagenet|nasbench101|nasbench201",
    "table": "FILE.csv",
    "space": "NAME",
    "out": "DIR",
    "trust": "[PACKAGE]",
}


def cells(words: Sequence[str]) -> int:
    """Analyse and draw cells, write `cells.json` and print it."""
    keys, names = sorted_out(words, KEYS)
    if names:
        raise ValueError(f"{names[0]}: give genotype=NAME or run=RUN")
    if not {"genotype", "run"} & set(keys):
        raise ValueError("analyze cells: give genotype=NAME,..., run=RUN or both")
    from nasrun.analysis import cells as measured
    from nasrun.config.given import several
    from nasrun.display import tell

    given = several(keys.get("genotype", ""))
    if "genotype" in keys and not given:
        raise ValueError("genotype=: give a name, a file, or several separated by commas")
    if "space" in keys and not given:
        raise ValueError(
            f"space={keys['space']}: has no effect on a run, which has its space; leave it out"
        )
    record = measured.analyse(
        given,
        keys.get("run"),
        space=keys.get("space"),
        network=keys.get("network"),
        out=keys.get("out"),
        trust=packages(keys.get("trust", "")),
        table=keys.get("table"),
    )
    pictures = f"pictures: {' '.join(record['pictures'])}"
    tell(screen.console(), (*measured.told(record), pictures))
    return 0


PART = Verb(
    name="analyze cells",
    text="measure width, depth, size and operations of cells",
    examples=(
        "nasrun analyze cells genotype=darts_v2,snas_mild,my.json",
        "nasrun analyze cells run=outputs/digits-darts-darts/v001",
        "nasrun analyze cells genotype=nb201_best,nb201_resnet table=nasbench201.csv",
    ),
    run=cells,
    note="The width is in units of c, the channels of a node; the depth counts connections. Both "
    "are compared with all cells of the space, which are counted exactly.",
    keys=KEYS,
    about={
        "genotype": "published cells and files, separated by commas",
        "run": "all cells that this run has selected",
        "network": "count parameters and multiply-adds in this published network",
        "table": "look up their true results and ranks in this table",
        "space": "the space of the genotypes, if their text does not say",
        "out": "folder of the files; the run's analysis/cells, or outputs/analysis/cells",
        "trust": "packages of your own that the run's configuration names",
    },
)
