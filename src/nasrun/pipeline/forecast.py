"""What a run would take, before it is started: `nasrun plan`.

Memory is what this process takes before the first step, and the step's by shapes; where other
processes take the steps, each of them as much. Time comes from real steps: of every kind of round
the median of three after one that warms up, times the steps of all such rounds, and what a round
does besides. The disk holds the state after these steps, of a search twice. No step is taken
where the memory would not suffice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from io import BytesIO
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from nasrun.budget import LIMITS, Budget
from nasrun.costs.limits import Amounts, count_choices
from nasrun.genotype import Genotype
from nasrun.machine import resident_gib
from nasrun.spaces.base import Layout, SearchSpace
from nasrun.stage import Foreseen, Rehearsal, Stage, Step
from nasrun.strategies.base import Strategy, SupernetStrategy
from nasrun.tasks.base import Subset

if TYPE_CHECKING:
    from nasrun.retrain import Retrain
    from nasrun.selectors.base import Selector

STEPS = 3
"""Real steps whose median counts, after one."""
COPIES = {"search": 2}
"""Of a finished stage's state on disk: of a search the last one and that before, else one."""


@dataclass(frozen=True)
class Forecast:
    """One stage: GiB at the peak in all processes, seconds a step, hours in all, GiB on disk."""

    stage: str
    memory_gib: float | None
    step_seconds: float | None
    steps: int | None
    hours: float | None
    disk_gib: float | None = None
    refusal: str | None = None

    @classmethod
    def refused(cls, stage: str, reason: str) -> Forecast:
        """One of a stage that cannot be."""
        return cls(stage, None, None, None, None, refusal=reason)


class Process:
    """The process that forecasts, which the one that runs will resemble.

    To be asked for a peak before the first step is taken: what it takes by then is kept.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    @cached_property
    def gib(self) -> float:
        """What it takes without steps: interpreter, libraries, images."""
        if self.budget.resolved["device"] == "cuda":
            return 0.0  # the allocator's peak counts there
        taken = resident_gib()
        return self.budget.reserve_gib if taken is None else taken

    def peak(self, step_bytes: int, workers: int = 0) -> float:
        """GiB at a step of so many bytes by shapes, taken by each of so many `workers` if any."""
        return (1 + workers) * self.gib + max(1, workers) * step_bytes / 2**30


@dataclass(frozen=True)
class Outlook:
    """Facts of the space, by name, and a forecast of every stage."""

    facts: Mapping[str, str]
    stages: list[Forecast]

    @property
    def refusals(self) -> list[str]:
        """Why the run cannot be, nothing where it can."""
        return [forecast.refusal for forecast in self.stages if forecast.refusal]


def foresee(
    space: SearchSpace,
    layout: Layout | None,
    budget: Budget,
    genotype: Genotype | None,
    *,
    inputs: int,
    outputs: int,
    size: int,
    search: Callable[[], Strategy] | None,
    select: Callable[[], tuple[Selector, Strategy, Iterable[Rehearsal]]] | None,
    trainings: Mapping[str, Callable[[], Retrain]],
    baseline: bool,
) -> Outlook:
    """Begin each stage of a run on images of this kind, and take a few steps of it.

    `layout` is the retrained network's, None without retraining, `genotype` its own, None before it
    is selected. `search` and `select` begin these stages, None without them. A `baseline` is
    retrained besides, which takes as long as the found architecture.
    """
    budget.apply()
    process = Process(budget)
    stages = [] if search is None else [_search(search, process)]
    if select is not None and not (stages and stages[0].refusal):
        stages.append(_selection(select, process, stages[0].memory_gib if stages else None))
    for kind, begin in trainings.items():
        stages.append(_training(kind, begin, process))
        if kind == "retrain" and baseline and not stages[-1].refusal:
            stages.append(replace(stages[-1], stage="retrain random"))
    facts = _facts(space, layout, budget, genotype, inputs=inputs, outputs=outputs, size=size)
    return Outlook(facts, stages)


def _search(begin: Callable[[], Strategy], process: Process) -> Forecast:
    try:
        strategy = begin()
        if not isinstance(strategy, Foreseen):
            return _sum("search", None, strategy, [Rehearsal(strategy.rounds, strategy.play)])
        need = strategy.foreseen_bytes()
        process.budget.refuse_beyond(lambda: need, "this search")
    except ValueError as refused:
        return Forecast.refused("search", str(refused))
    memory = process.peak(need, strategy.workers)
    return _sum("search", memory, strategy, strategy.rehearsals())


def _sum(
    name: str, memory: float | None, stage: Stage, rehearsals: Iterable[Rehearsal]
) -> Forecast:
    """What all that lies ahead takes, from a few steps of each kind."""
    stepping = resting = steps = 0.0
    for rehearsal in rehearsals:
        if rehearsal.play is not None and rehearsal.rounds:
            seconds, each = timed(rehearsal.play)
            stepping += rehearsal.rounds * each * seconds
            steps += rehearsal.rounds * each
        if rehearsal.rest is not None and rehearsal.rests:
            started = time.perf_counter()
            rehearsal.rest()
            resting += rehearsal.rests * (time.perf_counter() - started)
    seconds_a_step = stepping / steps if steps else None
    hours = (stepping + resting) / 3600
    disk = COPIES.get(name, 1) * saved_bytes(stage.state_dict()) / 2**30
    return Forecast(name, memory, seconds_a_step, round(steps), hours, disk)


def _selection(
    begin: Callable[[], tuple[Selector, Strategy, Iterable[Rehearsal]]],
    process: Process,
    search_gib: float | None,
) -> Forecast:
    """What tunes and measures a supernet takes the search's memory; what trains others is open."""
    selector, strategy, rehearsals = begin()
    memory = None
    if selector.accepts is SupernetStrategy and isinstance(strategy, Foreseen):
        memory = search_gib or process.peak(strategy.foreseen_bytes())
    return _sum("select", memory, selector, rehearsals)


def saved_bytes(state: object) -> int:
    """What a state takes in a file."""
    file = BytesIO()
    torch.save(state, file)
    return file.tell()


def _training(kind: str, begin: Callable[[], Retrain], process: Process) -> Forecast:
    """A training's; a random genotype's costs about what one does that is still to be found."""
    try:
        stage = begin()
    except ValueError as refused:
        return Forecast.refused(kind, str(refused))
    rests, rest = (0, None) if stage.validation is None else (stage.rounds, stage.validate)
    training = Rehearsal(stage.rounds, stage.play, rests, rest)
    forecast = _sum(kind, process.peak(stage.step_bytes()), stage, [training, _test(stage)])
    weights = saved_bytes(stage.learner.network.state_dict()) / 2**30
    return replace(forecast, disk_gib=weights + (forecast.disk_gib or 0.0))


def _test(stage: Retrain) -> Rehearsal:
    """The test at the end, timed on a few training images: test images are counted, not seen."""
    together = 2 * stage.batch_size
    few = Subset(stage.train, torch.arange(min(len(stage.train), together)))
    times = stage.task.dataset.count_test() / len(few)
    return Rehearsal(rests=times, rest=lambda: stage.learner.evaluate(few, together))


class _Enough(Exception):
    """The steps that are timed are taken."""


class _Clock:
    """Looks at the time after every step."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.total = 1

    def step(self, done: int, total: int) -> None:
        self.times.append(time.perf_counter())
        self.total = total
        if len(self.times) > STEPS:
            raise _Enough


def timed(play: Callable[[Step], object]) -> tuple[float, int]:
    """Seconds of a step, and the steps of a round, which is broken off."""
    clock = _Clock()
    started = time.perf_counter()
    with suppress(_Enough):
        play(clock.step)
    lasted = [after - before for before, after in pairwise([started, *clock.times])]
    return median(lasted[1:] or lasted), clock.total


def _facts(
    space: SearchSpace,
    layout: Layout | None,
    budget: Budget,
    genotype: Genotype | None,
    *,
    inputs: int,
    outputs: int,
    size: int,
) -> dict[str, str]:
    """What the space holds, what the network costs, and whether its limits can be met."""
    with torch.device("meta"):
        supernet = space.network(inputs=inputs, outputs=outputs)
    held = sum(parameter.numel() for parameter in supernet.parameters())
    found = {
        "genotypes": f"{genotypes(space):.3g}",
        "parameters of the supernet": f"{held / 1e6:.3f} M",
    }
    if layout is not None:
        count = partial(count_choices, space, layout, inputs=inputs, outputs=outputs, size=size)
        amounts = count()
        own = [""] * len(amounts)
        if genotype is not None:
            its = count(like=genotype) if genotype.concat else amounts
            own = [f"{each.of(genotype):.3f} M, in the space " for each in its]
        for name, each, told in zip(("parameters", "multiply-adds"), amounts, own, strict=True):
            least, most = extremes(space, each)
            found[f"{name} when retrained"] = f"{told}{least:.3f} M to {most:.3f} M"
    for key in LIMITS:
        if (limit := getattr(budget, key)) is not None:
            found[f"budget.{key}"] = f"{limit}: can be met"
    return found


def genotypes(space: SearchSpace) -> float:
    """How many genotypes a space has: those that its limits keep are counted once."""
    tied = {name for limit in space.limits for name in limit.decisions}
    sizes = {d.name: len(space.candidates(d)) for d in space.decisions}
    count = math.prod(size for name, size in sizes.items() if name not in tied)
    for limit in space.limits:
        ways = [1] + [0] * limit.count  # ways[k]: k of the decisions so far are kept
        for name in limit.decisions:
            for kept in range(limit.count, 0, -1):
                ways[kept] += ways[kept - 1] * sizes[name]
        count *= ways[limit.count]
    return count


def extremes(space: SearchSpace, amounts: Amounts) -> tuple[float, float]:
    """The least and the most that a network of the space costs."""
    least = space.cheapest(lambda name, choice: amounts.each[name].get(choice, 0.0))
    most = space.cheapest(lambda name, choice: -amounts.each[name].get(choice, 0.0))
    return amounts.of(least), amounts.of(most)


def print_outlook(console: Any, title: str, outlook: Outlook) -> None:
    """The facts and the stages as tables."""
    from nasrun.display import duration, storage, table

    table(console, title, ("", ""), list(outlook.facts.items()))
    rows = [
        (
            forecast.stage,
            "-" if forecast.memory_gib is None else f"{forecast.memory_gib:.2f} GiB",
            "-" if forecast.step_seconds is None else f"{forecast.step_seconds:.3f} s",
            "-" if forecast.steps is None else f"{forecast.steps}",
            "-" if forecast.hours is None else duration(3600 * forecast.hours),
            "-" if forecast.disk_gib is None else storage(forecast.disk_gib),
        )
        for forecast in outlook.stages
    ]
    table(console, "forecast", ("stage", "peak memory", "a step", "steps", "time", "disk"), rows)
    hours = sum(forecast.hours or 0.0 for forecast in outlook.stages)
    disk = sum(forecast.disk_gib or 0.0 for forecast in outlook.stages)
    console.print(f"in all {duration(3600 * hours)}, {storage(disk)} on disk", highlight=False)
