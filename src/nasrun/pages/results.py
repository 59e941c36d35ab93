"""The results on a page: groups over seeds, each with its spread and its baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nasrun.analysis.paired import Spread, holm
from nasrun.config.stages import RETRAIN
from nasrun.display import duration
from nasrun.pages.charts import Chart, Series, Strip, scatter, strips
from nasrun.pages.contrasts import Contrast, Contrasts, between, with_random
from nasrun.pages.entrants import (
    NOTHING,
    Entrant,
    among,
    is_number,
    judged_by_tables,
    quantity,
    scaled,
    spread_of,
    unit_of,
)
from nasrun.runs.groups import Group, Seeded


@dataclass(frozen=True)
class ResultRow:
    """A row of a table of results."""

    name: str
    runs: str
    score: str
    is_random: bool
    difference: str
    interval: str
    p: str
    params: str
    macs: str
    time: str
    pairs: int = 0


@dataclass(frozen=True)
class SharedScore:
    """One score of all that have it, on one data set: two tables and two charts."""

    measure: str
    unit: str
    data: str
    rows: tuple[ResultRow, ...]
    dots: Chart
    sizes: Chart | None
    findings: tuple[str, ...]
    note: str
    contrasts: Contrasts
    looked_up: bool

    @property
    def paired(self) -> bool:
        """Return whether there is anything to compare with."""
        return any(row.pairs for row in self.rows)


def comparisons(every: Sequence[Entrant]) -> Iterator[SharedScore]:
    """Yield a comparison per score and data set, of stages that train from scratch and others.

    Scores on test images, true results and scores on validation images are never in one comparison.
    """
    together: dict[tuple[str, str], list[Entrant]] = {}
    for kept in judged_by_tables(every):
        if kept.of_choices:
            together.setdefault((str(kept.group.on), kept.data), []).append(kept)
    for (_, data), some in together.items():
        yield _comparison(data, some)


def _comparison(data: str, some: Sequence[Entrant]) -> SharedScore:
    against = [with_random(kept, some) for kept in some]
    corrected = iter(holm([found.better for found in against if found]))
    rows = tuple(
        _row(kept, found, found.chance(next(corrected)) if found else NOTHING)
        for kept, found in zip(some, against, strict=True)
    )
    name = quantity(some[0].scored[0][1])
    unit = scaled(some[0])[1]
    findings = tuple(
        text
        for kept, found, row in zip(some, against, rows, strict=True)
        if (text := _finding(kept, found, row, name, data))
    )
    return SharedScore(
        measure=name,
        unit=unit,
        data=data,
        rows=rows,
        dots=_dots(name, unit, data, some),
        sizes=_sizes(name, unit, data, some),
        findings=findings,
        note=_note([row.pairs for row in rows], some[0]),
        contrasts=between(some),
        looked_up=some[0].is_looked_up,
    )


def _row(kept: Entrant, found: Contrast | None, p: str) -> ResultRow:
    group = kept.group
    return ResultRow(
        name=kept.name,
        runs=among(len(kept.scored), len(group.members)),
        score=spread_of(kept),
        is_random=kept.is_random,
        difference=NOTHING if found is None else found.mean,
        interval=NOTHING if found is None else found.interval,
        p=p,
        params=_amounts(group, "params"),
        macs=_amounts(group, "macs"),
        time=duration(group.seconds),
        pairs=0 if found is None else found.seeds,
    )


def _amounts(group: Group, key: str) -> str:
    """Return mean and standard deviation of a count, in millions, or thousands if it is small."""
    values = [result[key] for result in group.done if is_number(result.get(key))]
    scale, unit = unit_of(values)
    digits = 3 if key == "params" and unit == "M" else 1
    return f"{Spread.of([v / scale for v in values]).text(digits)} {unit}" if values else NOTHING


def _finding(
    kept: Entrant, found: Contrast | None, row: ResultRow, name: str, data: str
) -> str | None:
    """Return a sentence about a group and its baseline."""
    if found is None:
        return None
    text = f"{kept.name} minus random: {row.difference} of {name} on {data}"
    low, high = found.found.low, found.found.high
    if low is None or high is None:
        return f"{text}, with one seed, which says nothing about chance."
    reads = (
        "includes 0: these runs do not tell the two apart"
        if low <= 0 <= high
        else "does not include 0"
    )
    return f"{text}, the mean of {found.seeds} seeds. Its 95 % interval, {row.interval}, {reads}."


def _note(pairs: Sequence[int], first: Entrant) -> str:
    """Return what a reader has to know of the tests with random architectures."""
    most = max(pairs, default=0)
    if first.is_looked_up:
        return (
            "A benchmark's table was read after the choice was made; the rank among all "
            "architectures stands beside each one below."
        )
    if most < 1:
        told = "No random architecture was trained in the same way, to compare with"
        trains_one = first.group.kind == RETRAIN.name
        return f"{told}{'; nasrun run trains one (baseline=true)' if trains_one else ''}."
    if most < 2:
        return "Run more seeds for an interval and a test."
    return (
        "Pairs are the choice and the random architecture of one seed, trained in the same way. "
        "The interval is Student's t, p that of Wilcoxon's one-sided signed-rank test (that the "
        f"choice is better), corrected by Holm for the rows of this table. With {most} pairs, no "
        f"p before the correction can be below {0.5**most:.3f}."
    )


def _dots(name: str, unit: str, data: str, some: Sequence[Entrant]) -> Chart:
    rows = [Strip(kept.name, kept.look, scaled(kept)[0], spread_of(kept)) for kept in some]
    about = f"{name[:1].upper() + name[1:] if unit else name} on {data}"
    return strips("Every run, and the mean", about, f"{name}, {unit}" if unit else name, rows)


def _sizes(name: str, unit: str, data: str, some: Sequence[Entrant]) -> Chart | None:
    """Return sizes against scores; `None` if sizes are not known."""
    scale = 100.0 if unit == "%" else 1.0
    known = [
        (kept, [(size, scale * s.value) for m, s in kept.scored if (size := _size(m))])
        for kept in some
    ]
    sizes = [size for _, points in known for size, _ in points]
    if len(sizes) < 2:
        return None
    by, short = unit_of(sizes)
    every = [
        Series(kept.name, kept.look, [[(size / by, score) for size, score in points]])
        for kept, points in known
        if points
    ]
    words = f"Parameters against {name} on {data}. " + " ".join(
        f"{each.name}: "
        + ", ".join(f"{a:.3f} {short} and {b:.4g}{unit}" for a, b in each.curves[0])
        + "."
        for each in every
    )
    label = f"{name}, {unit}" if unit else name
    return scatter("Size and score", (f"parameters, {short}", label), every, words)


def _size(member: Seeded) -> float:
    """Return the number of parameters of what a stage trained, 0 if it is not known."""
    return float((member.result or {}).get("params") or 0)
