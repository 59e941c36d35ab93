"""The results on a page: groups over seeds, each with its spread and its baseline."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nasrun.analysis.paired import Difference, Spread, holm
from nasrun.display import duration
from nasrun.genotype import fingerprint
from nasrun.pages.charts import NEUTRAL, Chart, Look, Series, Strip, scatter, strips
from nasrun.pipeline.stages import KINDS, RETRAIN, SEARCH, SELECT, TRANSFER
from nasrun.runs.comparison import Group, Seeded, told_apart
from nasrun.runs.report import Standing
from nasrun.runs.stage_folder import StageFolder
from nasrun.stage import Metrics

RANDOM = "random"
"""The source of a stage that trains a random architecture."""
NOTHING = "–"
Logged = Mapping[StageFolder, Sequence[Metrics]]
"""The rounds of stages."""


@dataclass(frozen=True)
class Entrant:
    """A stage of one configuration over its seeds, with its name on the page and its look."""

    name: str
    group: Group
    look: Look

    @property
    def scored(self) -> list[tuple[Seeded, Standing]]:
        """The finished runs whose score is that of the first one."""
        found = []
        for member in self.group.members:
            if member.result is not None:
                standing = Standing.of(member.result, self.group.kind)
                if standing is not None and standing.on == self.group.on and _known(standing.value):
                    found.append((member, standing))
        return found

    @property
    def data(self) -> str:
        """Name of the data that the stage trains on."""
        return data_of(self.group.members[0])

    @property
    def is_random(self) -> bool:
        """Return whether the stage trains random architectures: the baseline."""
        first = self.group.members[0].stage
        return KINDS[first.kind].trains and first.source == RANDOM


def _known(value: object) -> bool:
    """Return whether a value of a file is a number, also in percent."""
    return isinstance(value, int | float) and math.isfinite(100 * value)


def data_of(member: Seeded) -> str:
    """Return the name of the data of a stage."""
    stage, known = member.stage, (member.result or {}).get("data", {}).get("name")
    if known is None and stage.kind == TRANSFER.name:
        known = stage.branch.removeprefix(f"{stage.source}-")
    return str(known or member.run.record["choices"].get("dataset", "the data"))


def named(groups: Sequence[Group], letters: Mapping[str, str]) -> list[Entrant]:
    """Return the groups with distinct names: configuration, branch, and what tells them apart.

    Searches have a colour per configuration. Later stages have a colour per branch, a neutral one
    for random architectures, and a kind of line per configuration.
    """
    found, branches = [], dict[str, int]()
    for group, text in zip(groups, told_apart(groups), strict=True):
        stage, number = group.members[0].stage, [*letters].index(group.of)
        branch = stage.source if stage.kind == TRANSFER.name else stage.branch or stage.kind
        if stage.kind == SEARCH.name:
            look = Look(number % NEUTRAL)
        elif branch == RANDOM:
            look = Look(NEUTRAL, number)
        else:
            look = Look(branches.setdefault(branch, len(branches)) % NEUTRAL, number)
        letter = letters[group.of]
        words = (letter, branch, f"({text})" if text and not letter else "")
        found.append(Entrant(" ".join(filter(None, words)), group, look))
    return found


def measure(standing: Standing) -> str:
    """Return what a score is, in words."""
    if not standing.is_accuracy:
        return standing.on
    part, *more = standing.on.split(", ")
    if part == "table":
        return f"true accuracy{''.join(f' on {data}' for data in more)}, from a table"
    told = {"seen": "on images that trained the alphas", "supernet": "of the supernet"}
    return " ".join([f"{part} accuracy", *(told.get(word, f"of the {word}") for word in more)])


def told(standing: Standing | None) -> str:
    """Return a score with its unit."""
    return NOTHING if standing is None else str(standing).replace("%", " %")


def scaled(kept: Entrant) -> tuple[list[float], str]:
    """Return the scores of a group, accuracies in percent, and their unit."""
    accuracy = any(standing.is_accuracy for _, standing in kept.scored)
    scale = 100.0 if accuracy else 1.0
    return [scale * standing.value for _, standing in kept.scored], "%" if accuracy else ""


def spread_of(kept: Entrant) -> str:
    """Return mean and standard deviation of a group's scores, with their unit."""
    values, unit = scaled(kept)
    if not values:
        return NOTHING
    if unit:
        return f"{Spread.of(values).text()} {unit}"
    of = Spread.of(values)
    return f"{of.mean:.4g}" if of.std is None else f"{of.mean:.4g} ± {of.std:.4g}"


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
    """What one score says of all that have it, on one data set: a table and two charts."""

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
    about = ("fingerprint", "parent", "source", "genotype")
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
    return any((result or {}).get("higher_is_better") is False for result in kept.group.results)


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
        runs=_among(len(kept.scored), len(group.members)),
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


def _among(done: int, all_: int) -> str:
    return str(done) if done == all_ else f"{done} of {all_}"


def _amounts(group: Group, key: str) -> str:
    """Return mean and standard deviation of a count, in millions, or thousands if it is small."""
    values = [result[key] for result in group.done if _known(result.get(key))]
    scale, unit = _scale(values)
    digits = 3 if key == "params" and unit == "M" else 1
    return f"{Spread.of([v / scale for v in values]).text(digits)} {unit}" if values else NOTHING


def _scale(values: Sequence[float]) -> tuple[float, str]:
    return (1e3, "k") if max(values, default=0) < 1e5 else (1e6, "M")


def _finding(
    kept: Entrant, found: Difference | None, row: ResultRow, name: str, data: str
) -> str | None:
    """Return a sentence about a group and its baseline."""
    if found is None:
        return None
    text = f"{kept.name} less random: {row.difference} of {name} on {data}"
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
    by, short = _scale(sizes)
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


@dataclass(frozen=True)
class ScoreRow:
    """A row about a search or a selection: its score is not one on test images."""

    name: str
    runs: str
    score: str
    on: str
    time: str


def validated(every: Sequence[Entrant]) -> list[ScoreRow]:
    """Return the searches and selections, and trainings that have no score on test images."""
    return [
        ScoreRow(
            name=f"{kept.group.kind}: {kept.name}" if kept.group.kind != SEARCH.name else kept.name,
            runs=_among(len(kept.group.done), len(kept.group.members)),
            score=spread_of(kept),
            on=measure(kept.scored[0][1]) if kept.scored else NOTHING,
            time=duration(kept.group.seconds),
        )
        for kept in every
        if kept.group.on is not None and not kept.group.on.startswith("test")
    ]


DISCRETISED = {
    "supernet_accuracy": "supernet",
    "child_accuracy": "choice alone",
    "gap": "gap, points",
    "child_recalibrated_accuracy": "batch norms recalibrated",
    "child_tuned_accuracy": "after one epoch",
}
"""What a selection measured on validation images, in words."""


def discretised(every: Sequence[Entrant]) -> list[tuple[str, ...]]:
    """Return per selection the validation accuracies of its choice without retraining."""
    rows = []
    for kept in every:
        if kept.group.kind == SELECT.name and any("gap" in result for result in kept.group.done):
            rows.append((kept.name, *(_percent(kept.group, key) for key in DISCRETISED)))
    return rows


def _percent(group: Group, key: str) -> str:
    values = [100 * result[key] for result in group.done if _known(result.get(key))]
    return f"{Spread.of(values).text()}{'' if key == 'gap' else ' %'}" if values else NOTHING


@dataclass(frozen=True)
class SeedRow:
    """A stage of one run."""

    name: str
    stage: str
    run: str
    seed: str
    score: str
    on: str
    top5: str
    params: str
    macs: str
    rounds: str
    time: str
    finished: bool


def singles(
    every: Sequence[Entrant], labels: Mapping[str, str], logged: Logged
) -> Iterator[SeedRow]:
    """Yield every stage of every run."""
    for kept in every:
        kind = kept.group.kind
        for member in kept.group.members:
            result = member.result or {}
            standing = Standing.of(result, kind) if result else None
            seed, top5 = member.run.record.get("seed"), result.get("test_top5_accuracy")
            yield SeedRow(
                name=kept.name,
                stage=f"{kind} ({data_of(member)})" if KINDS[kind].trains else kind,
                run=labels[str(member.run.path)],
                seed=NOTHING if seed is None else str(seed),
                score=told(standing),
                on=NOTHING if standing is None else measure(standing),
                top5=NOTHING if top5 is None else f"{100 * top5:.2f} %",
                params=_amount(result, "params"),
                macs=_amount(result, "macs"),
                rounds=str(len(logged[member.stage])),
                time=NOTHING if not result else duration(result["seconds"]),
                finished=member.result is not None,
            )


def _amount(result: Mapping[str, Any], key: str) -> str:
    if (number := result.get(key)) is None:
        return NOTHING
    scale, unit = _scale([number])
    return f"{number / scale:.{3 if key == 'params' and unit == 'M' else 1}f} {unit}"
