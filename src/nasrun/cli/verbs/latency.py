"""`nasrun latency space=NAME`: measures this device and writes the table that limits read."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasrun.cli import screen
from nasrun.cli.line import Line
from nasrun.cli.verb import Verb
from nasrun.cli.words import apart, new_file, whole
from nasrun.pipeline.latency import READS

if TYPE_CHECKING:
    from nasrun.costs.amounts import Amounts
    from nasrun.costs.latency import Stopwatch

KEYS = {"out": "FILE.json", "batch": "1", "repeats": "30", "holdout": "10"}


def latency(words: Sequence[str]) -> int:
    """Measure every choice, write the table, and compare it with whole networks."""
    own, rest = apart(words, KEYS)
    line = Line.parse("latency", rest)
    line.refuse_flags()
    batch = whole(own, "batch", 1, least=1)
    repeats = whole(own, "repeats", 30, least=1)
    holdout = whole(own, "holdout", 10, least=0)
    path = new_file(own, "out", "latency.json")
    from nasrun.costs.amounts import Amounts
    from nasrun.display import watched
    from nasrun.files import write_json
    from nasrun.pipeline.latency import stopwatch

    watch = stopwatch(line.overrides, line.trusted, batch=batch, repeats=repeats)
    count = sum(len(decision.choices) for decision in watch.space.decisions)
    each: dict[str, dict[str, float]] = {}
    for name, choice, milliseconds in watched(watch.choices(), "measuring", count):
        each.setdefault(name, {})[choice] = milliseconds
    amounts = Amounts(watch.base, each)
    table = watch.table(amounts)
    write_json(path, table)
    print(f"{path}: {table['unit']}, on {table['machine']}")
    _compare(watch, amounts, holdout)
    return 0


def _compare(watch: Stopwatch, amounts: Amounts, count: int) -> None:
    """Print the milliseconds of random networks by the table and as measured."""
    import torch

    from nasrun.display import table, watched

    seeds = (torch.Generator().manual_seed(seed) for seed in range(count))
    rows: list[tuple[int, str, str, str]] = []
    errors: list[float] = []
    for genotype in watched(map(watch.space.sample, seeds), "comparing", count):
        summed, measured = amounts.of(genotype), watch.whole(genotype)
        errors.append(summed / measured - 1)
        rows.append((len(rows), f"{summed:.3f}", f"{measured:.3f}", f"{errors[-1]:+.1%}"))
    if not rows:
        return
    columns = ("random network", "by the table, ms", "measured, ms", "error")
    table(screen.console(), "", columns, rows)
    print(f"mean absolute error: {statistics.fmean(map(abs, errors)):.1%}")


VERBS = (
    Verb(
        name="latency",
        text="measure every choice of a space on this device, in milliseconds",
        examples=(
            "nasrun latency space=mobile out=latency.json",
            "nasrun latency space=mobile depth=12 retrain.channels=32 batch=8 budget.device=cuda",
        ),
        run=latency,
        keys=KEYS,
        about={
            "out": "the table to write; latency.json if it is left out",
            "batch": "how many images run at once",
            "repeats": "how many times every choice is timed",
            "holdout": "how many random networks the table is compared with",
        },
        composed=True,
        reads=READS,
    ),
)
