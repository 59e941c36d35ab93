"""`nasrun table BENCHMARK out=FILE.csv`: converts a benchmark's official files to a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from nasrun.cli.verb import Verb
from nasrun.cli.words import new_file, packages, sorted_out
from nasrun.config.words import did_you_mean

KEYS = {"out": "FILE.csv", "data": "[cifar10,cifar100,imagenet16]"}


def table(words: Sequence[str]) -> int:
    """Read the benchmark's true accuracies and write them."""
    from nasrun.data import nasbench201

    keys, names = sorted_out(words, KEYS)
    if len(names) != 1:
        raise ValueError(
            "table: give the file or folder of the benchmark, for example BENCHMARK.pth"
        )
    chosen = packages(keys.get("data", "cifar10"))
    if not chosen:
        raise ValueError(f"data=[]: name one or more of {', '.join(nasbench201.DATA)}")
    known = nasbench201.DATA
    for name in chosen:
        if name not in known:
            hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            raise ValueError(f"data={name}: unknown data set{hint}")
    path = new_file(keys, "out", "nasbench201.csv")
    benchmark = nasbench201.open_benchmark(Path(names[0]))
    from nasrun.display import watched

    rows = watched(nasbench201.rows(benchmark, chosen), "reading", len(benchmark))
    found = list(rows)
    with path.open("x", newline="") as file:
        csv.writer(file).writerows([nasbench201.header(chosen), *found])
    print(f"{path}: {len(found):,} architectures")
    return 0


VERBS = (
    Verb(
        name="table",
        text="turn NAS-Bench-201's official files into a table (space.table)",
        examples=(
            "nasrun table NATS-tss-v1_0-3ffb9-simple out=nasbench201.csv",
            "nasrun table NATS-tss-v1_0-3ffb9.pickle.pbz2 data=[cifar10,imagenet16]",
            "nasrun table NAS-Bench-201-v1_1-096897.pth data=[cifar100]",
        ),
        run=table,
        note="A NATS-Bench file or folder needs `pip install nats_bench`, a NAS-Bench-201 file "
        "`pip install nas-bench-201`. These packages unpickle the files, which can run code: take "
        "the files only from where their authors publish them.",
        keys=KEYS,
        about={
            "out": "the table to write; nasbench201.csv if it is left out",
            "data": "the data sets whose accuracies it has; cifar10 if it is left out",
        },
    ),
)
