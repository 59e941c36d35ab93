"""`nasrun table BENCHMARK out=FILE.csv`: converts a benchmark's official files to a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from nasrun.cli.verb import Verb
from nasrun.cli.words import new_file, sorted_out
from nasrun.config.words import packages, suggestion

KEYS = {"out": "FILE.csv", "data": "[cifar10,cifar100,imagenet16]"}


def table(words: Sequence[str]) -> int:
    """Read the benchmark's results and write them."""
    from nasrun.data.benchmarks import opening

    keys, names = sorted_out(words, KEYS)
    if len(names) != 1:
        raise ValueError(
            "table: give the file or folder of the benchmark, for example BENCHMARK.pth"
        )
    chosen = packages(keys["data"]) if "data" in keys else None
    _check(chosen, [*dict.fromkeys(name for kind in opening.KNOWN for name in kind.data)])
    if "out" in keys:
        new_file(keys, "out", "")  # before minutes of reading
    benchmark = opening.open_benchmark(Path(names[0]))
    _check(chosen, benchmark.data)
    path = new_file(keys, "out", benchmark.table)
    from nasrun.display import watched
    from nasrun.files import write_text

    data = chosen or benchmark.data
    found = list(watched(benchmark.rows(data), "reading", len(benchmark)))
    text = StringIO()
    csv.writer(text).writerows([benchmark.header(data), *found])
    write_text(path, text.getvalue())
    print(f"{path}: {len(found):,} architectures")
    return 0


def _check(chosen: Sequence[str] | None, known: Sequence[str]) -> None:
    """Raise ValueError unless all names are of known data sets, each once."""
    if chosen is None:
        return
    if not chosen:
        raise ValueError(f"data=[]: name one or more of {', '.join(known)}")
    for name in chosen:
        if name not in known:
            raise ValueError(f"data={name}: unknown data set{suggestion(name, known)}")
        if chosen.count(name) > 1:
            raise ValueError(f"data={name}: is named twice; name it once")


VERBS = (
    Verb(
        name="table",
        text="turn a benchmark's official files into a table (space.table)",
        examples=(
            "nasrun table NATS-tss-v1_0-3ffb9-simple out=nasbench201.csv",
            "nasrun table NATS-tss-v1_0-3ffb9.pickle.pbz2 data=[cifar10,imagenet16]",
            "nasrun table NAS-Bench-201-v1_1-096897.pth data=[cifar100]",
            "nasrun table nasbench_only108.tfrecord",
            "nasrun table transnas-bench_v10141024.pth data=[class_object,normal]",
        ),
        run=table,
        note="The files are read without their authors' packages, and anything in them but "
        "numbers, texts and lists is refused. A folder is read file by file; one large file needs "
        "tens of GiB of memory.",
        keys=KEYS,
        about={
            "out": "the table to write; it has the benchmark's name if it is left out",
            "data": "the data sets whose results it has; all if it is left out",
        },
    ),
)
