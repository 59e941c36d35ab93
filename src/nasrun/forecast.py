"""What a run would take, before it is started: `nasrun plan`.

Memory is predicted by shapes. Time comes from real steps: of every kind of round the median of
three after one that warms up, times the steps of all such rounds, and what a round does besides. No
step is taken where the memory would not suffice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from nasrun.budget import LIMITS, Budget
from nasrun.genotype import NONE
from nasrun.limits import Amounts, count_choices
from nasrun.memory import Ledger, optimizer_slots, sizes
from nasrun.spaces.base import Layout, SearchSpace
from nasrun.stage import Display, Foreseen, Metrics, Rehearsal, Stage
from nasrun.strategies.base import Strategy

if TYPE_CHECKING:
    from nasrun.retrain import Retrain

STEPS = 3
"""Real steps whose median counts, after one."""


@dataclass(frozen=True)
class Forecast:
    """One stage: its peak memory in GiB with the process, seconds a step, and hours in all."""

    stage: str
    memory_gib: float | None
    step_seconds: float | None
    steps: int | None
    hours: float | None
    refusal: str | None = None


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
    *,
    inputs: int,
    outputs: int,
    size: int,
    search: Callable[[], Strategy],
    select: Callable[[], Iterable[Rehearsal]] | None,
    trainings: Mapping[str, Callable[[], Retrain]],
) -> Outlook:
    """Begin each stage of a run on images of this kind, and take a few steps of it.

    `layout` is the retrained network's, null without retraining; `select` begins a selection, null
    without one.
    """
    budget.apply()
    stages = [_search(search, budget)]
    if select is not None and not stages[0].refusal:
        stages.append(_sum("select", stages[0].memory_gib, select()))
    stages += [_training(kind, begin, budget) for kind, begin in trainings.items()]
    facts = _facts(space, layout, budget, inputs=inputs, outputs=outputs, size=size)
    return Outlook(facts, stages)


def _search(begin: Callable[[], Strategy], budget: Budget) -> Forecast:
    try:
        strategy = begin()
    except ValueError as refused:
        return Forecast("search", None, None, None, None, str(refused))
    if not isinstance(strategy, Foreseen):
        return _sum("search", None, [Rehearsal(strategy.rounds, strategy.play)])
    need = strategy.foreseen_bytes()
    memory = None if need is None else budget.whole(need)
    return _sum("search", memory, strategy.rehearsals())


def _sum(stage: str, memory: float | None, rehearsals: Iterable[Rehearsal]) -> Forecast:
    """What all that lies ahead takes, from a few steps of each kind; no steps, no seconds of one.

    A selection tunes and measures the supernet, so its memory is the search's.
    """
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
    return Forecast(stage, memory, seconds_a_step, round(steps), (stepping + resting) / 3600)


def _training(kind: str, begin: Callable[[], Retrain], budget: Budget) -> Forecast:
    """A random genotype's, which costs about what a found one does."""
    try:
        stage = begin()
    except ValueError as refused:
        return Forecast(kind, None, None, None, None, str(refused))
    memory, most = budget.whole(_training_bytes(stage)), budget.max_memory_gib
    if most is not None and memory > most:
        refusal = f"budget.max_memory_gib={most}: {kind} needs about {memory:.3g} GiB"
        return Forecast(kind, memory, None, None, None, refusal)
    return _sum(kind, memory, [Rehearsal(stage.rounds, stage.play)])


def _training_bytes(stage: Retrain) -> int:
    """The most that a step takes by shapes: weights, optimizer, activations and gradients."""
    task, side = stage.task, stage.facts.size
    with torch.device("meta"):
        network = stage.space.network(
            stage.genotype, inputs=task.inputs, outputs=task.outputs, layout=stage.layout
        )
        labels = torch.empty(stage.batch_size, dtype=torch.long)
    weights = list(network.parameters())
    with Ledger(sizes([*weights, *network.buffers()])) as ledger:
        images = torch.empty(stage.batch_size, task.inputs, side, side, device="meta")
        loss = torch.stack([F.cross_entropy(y, labels) for y in network(images)]).sum()
        gradients = torch.autograd.grad(loss, weights)
        del gradients
    kept = 4 * sum(weight.numel() for weight in weights) * (1 + optimizer_slots(stage.optimizer))
    return round(kept) + ledger.most


class _Enough(Exception):
    """The steps that are timed are taken."""


class _Clock:
    """A display that looks at the time after every step."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.total = 1

    def begin(self, stage: Stage) -> None: ...

    def step(self, done: int, total: int) -> None:
        self.times.append(time.perf_counter())
        self.total = total
        if len(self.times) > STEPS:
            raise _Enough

    def round(self, stage: Stage, metrics: Metrics) -> None: ...


def timed(play: Callable[[Display], object]) -> tuple[float, int]:
    """Seconds of a step, and the steps of a round, which is broken off."""
    clock = _Clock()
    started = time.perf_counter()
    with suppress(_Enough):
        play(clock)
    lasted = [after - before for before, after in pairwise([started, *clock.times])]
    return median(lasted[1:] or lasted), clock.total


def _facts(
    space: SearchSpace, layout: Layout | None, budget: Budget, **size: int
) -> dict[str, str]:
    """What the space holds, and whether its limits can be met."""
    with torch.device("meta"):
        supernet = space.network(inputs=size["inputs"], outputs=size["outputs"])
    held = sum(parameter.numel() for parameter in supernet.parameters())
    found = {
        "genotypes": f"{genotypes(space):.3g}",
        "parameters of the supernet": f"{held / 1e6:.3f} M",
    }
    if layout is not None:
        params, macs = count_choices(space, layout, **size)
        for name, amounts in (("parameters", params), ("multiply-adds", macs)):
            least, most = extremes(space, amounts)
            found[f"{name} when retrained"] = f"{least:.3f} M to {most:.3f} M"
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
    ends = []
    for pick, sign in ((min, 1.0), (max, -1.0)):
        chosen = {
            d.name: pick(space.candidates(d), key=amounts.each[d.name].__getitem__)
            for d in space.decisions
        }
        for limit in space.limits:
            ranked = sorted(limit.decisions, key=lambda n: sign * amounts.each[n][chosen[n]])
            chosen |= dict.fromkeys(ranked[limit.count :], NONE)
        ends.append(amounts.of(chosen))
    return ends[0], ends[1]


def print_outlook(console: Any, title: str, outlook: Outlook) -> None:
    """The facts and the stages as tables."""
    from nasrun.display import duration, table

    table(console, title, ("", ""), list(outlook.facts.items()))
    rows = [
        (
            forecast.stage,
            "-" if forecast.memory_gib is None else f"{forecast.memory_gib:.2f} GiB",
            "-" if forecast.step_seconds is None else f"{forecast.step_seconds:.3f} s",
            "-" if forecast.steps is None else f"{forecast.steps}",
            "-" if forecast.hours is None else duration(3600 * forecast.hours),
        )
        for forecast in outlook.stages
    ]
    table(console, "forecast", ("stage", "peak memory", "a step", "steps", "time"), rows)
    total = sum(forecast.hours or 0.0 for forecast in outlook.stages)
    console.print(f"in all {duration(3600 * total)}", highlight=False)
