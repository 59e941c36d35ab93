"""The results on a page: groups over seeds, each with its spread and its baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from nasrun.analysis.paired import Difference, Spread, holm
from nasrun.config.stages import KINDS, RETRAIN
from nasrun.display import duration
from nasrun.genotype import fingerprint
from nasrun.pages.charts import Chart, Series, Strip, scatter, strips
from nasrun.pages.entrants import (
    NOTHING,
    Entrant,
    among,
    is_number,
    measure,
    scaled,
    spread_of,
    unit_of,
)
from nasrun.runs.groups import Group, Seeded
from nasrun.runs.stage_folder import StageFolder


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
    """One score of all that have it, on one data set: a table and two charts."""

    measure: str
    unit: str
    data: str
    rows: tuple[ResultRow, ...]
    dots: Chart
    sizes: Chart | None
    findings: tuple[str, ...]
    note: str

    @property
    def paired(self) -> bool:
        """Return whether there is anything to compare with."""
        return any(row.pairs for row in self.rows)


def comparisons(every: Sequence[Entrant]) -> Iterator[SharedScore]:
    """Yield a comparison per score and data set, of stages that train from scratch and others.

    A score on test images and one on validation images are never in one comparison.
    """
    together: dict[tuple[str, str], list[Entrant]] = {}
    for kept in every:
        if kept.group.on is not None and kept.group.on.startswith("test"):
            together.setdefault((kept.group.on, kept.data), []).append(kept)
    for (_, data), some in together.items():
        yield _comparison(data, some)


def _comparison(data: str, some: Sequence[Entrant]) -> SharedScore:
    differences = [_difference(kept, _baseline(kept, some)) for kept in some]
    known = [place for place, found in enumerate(differences) if found and found.p is not None]
    corrected = dict(zip(known, holm([_p(differences[place]) for place in known]), strict=True))
    rows = tuple(
        _row(kept, found, corrected.get(place))
        for place, (kept, found) in enumerate(zip(some, differences, strict=True))
    )
    name = measure(some[0].scored[0][1])
    unit = scaled(some[0])[1]
    findings = tuple(
        text
        for kept, found, row in zip(some, differences, rows, strict=True)
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
        note=_note([row.pairs for row in rows], some[0].group.kind),
    )


def _baseline(kept: Entrant, some: Sequence[Entrant]) -> Entrant | None:
    """Return the random architectures that were trained by the same configuration and recipe."""
    if kept.is_random or not KINDS[kept.group.kind].trains:
        return None
    mark = _recipe(kept.group.members[0].stage)
    for other in some:
        alike = other.is_random and other.group.of == kept.group.of
        if alike and _recipe(other.group.members[0].stage) == mark:
            return other
    return None


def _recipe(stage: StageFolder) -> str:
    """Return the fingerprint of a training without its architecture."""
    about = ("fingerprint", "parent", "source", "genotype", "extend")
    return fingerprint({key: value for key, value in stage.config.items() if key not in about})


def _difference(kept: Entrant, baseline: Entrant | None) -> Difference | None:
    """Return the differences of a group and its baseline in the same runs, `None` without any.

    The p is that of a better score, whether higher or lower is better.
    """
    if baseline is None:
        return None
    scale = 100.0 if kept.scored and kept.scored[0][1].is_accuracy else 1.0
    of_random = {member.run.path: standing.value for member, standing in baseline.scored}
    pairs = [
        (scale * standing.value, scale * of_random[member.run.path])
        for member, standing in kept.scored
        if member.run.path in of_random
    ]
    if not pairs:
        return None
    found = Difference.of([a for a, _ in pairs], [b for _, b in pairs])
    if _lower_is_better(kept):
        return replace(found, p=Difference.of([b for _, b in pairs], [a for a, _ in pairs]).p)
    return found


def _lower_is_better(kept: Entrant) -> bool:
    return any(not standing.higher_is_better for _, standing in kept.scored)


def _p(found: Difference | None) -> float:
    assert found is not None and found.p is not None
    return found.p


def _row(kept: Entrant, found: Difference | None, p: float | None) -> ResultRow:
    unit = scaled(kept)[1]
    points = "points" if unit == "%" else ""
    group = kept.group
    difference = interval = NOTHING
    if found is not None and found.spread.mean is not None:
        difference = f"{signed(found.spread.mean, unit)} {points}".strip()
        if found.low is not None and found.high is not None:
            low, high = signed(found.low, unit), signed(found.high, unit)
            interval = f"{low} to {high} {points}".strip()
    several = found is not None and found.spread.n > 1
    return ResultRow(
        name=kept.name,
        runs=among(len(kept.scored), len(group.members)),
        score=spread_of(kept),
        is_random=kept.is_random,
        difference=difference,
        interval=interval,
        p=NOTHING if p is None or not several else f"{p:.3f}",
        params=_amounts(group, "params"),
        macs=_amounts(group, "macs"),
        time=duration(group.seconds),
        pairs=found.spread.n if found is not None else 0,
    )


def signed(value: float, unit: str) -> str:
    """Return a difference with its sign; percentages have two digits."""
    return (f"{value:+.2f}" if unit else f"{value:+.4g}").replace("-", "−")


def _amounts(group: Group, key: str) -> str:
    """Return mean and standard deviation of a count, in millions, or thousands if it is small."""
    values = [result[key] for result in group.done if is_number(result.get(key))]
    scale, unit = unit_of(values)
    digits = 3 if key == "params" and unit == "M" else 1
    return f"{Spread.of([v / scale for v in values]).text(digits)} {unit}" if values else NOTHING


def _finding(
    kept: Entrant, found: Difference | None, row: ResultRow, name: str, data: str
) -> str | None:
    """Return a sentence about a group and its baseline."""
    if found is None:
        return None
    text = f"{kept.name} minus random: {row.difference} of {name} on {data}"
    if found.low is None or found.high is None:
        return f"{text}, in one run, which says nothing about chance."
    reads = (
        "includes 0: these runs do not tell the two apart"
        if found.low <= 0 <= found.high
        else "does not include 0"
    )
    return f"{text}, the mean of {found.spread.n} runs. Its 95 % interval, {row.interval}, {reads}."


def _note(pairs: Sequence[int], kind: str) -> str:
    """Return what a reader has to know of the tests."""
    most = max(pairs, default=0)
    if most < 1:
        told = "No random architecture was trained in the same way, to compare with"
        trains_one = kind == RETRAIN.name
        return f"{told}{'; nasrun run trains one (baseline=true)' if trains_one else ''}."
    if most < 2:
        return "Run more seeds for an interval and a test."
    return (
        "Pairs are the choice and the random architecture of one run, trained in the same way. "
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
