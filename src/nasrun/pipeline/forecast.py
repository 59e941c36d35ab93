"""Predicts what a run will need before it starts: `nasrun plan`.

Memory is what this process needs before the first step, plus that of the step by shapes; if other
processes run the steps, it is multiplied. All stages are asked for their memory first; if one does
not have enough, no step is run. Time comes from real steps, or from smaller ones that are scaled up
(`rehearsal`): for every kind of round, the seconds of a step times the number of all such steps,
plus the work outside of steps. The disk holds the state after these steps, twice for a search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any

import torch

from nasrun.budget import Budget
from nasrun.config.stages import RETRAIN, SEARCH, SELECT
from nasrun.machine import resident_gib
from nasrun.pipeline.rehearsal import Rehearsing
from nasrun.stage import Foreseen, Rehearsal, Stage
from nasrun.strategies.base import Strategy, SupernetStrategy
from nasrun.tasks.base import Subset

if TYPE_CHECKING:
    from nasrun.retrain import Retrain
    from nasrun.selectors.base import Selector

COPIES = {SEARCH.name: 2}
"""Number of states that a finished stage keeps on disk; 1 if it is not listed."""


@dataclass(frozen=True)
class Forecast:
    """One stage: peak GiB in all processes, seconds per step, total hours, GiB on disk.

    scaled: the seconds are scaled up from smaller steps. refusal: why the stage cannot run.
    """

    stage: str
    memory_gib: float | None = None
    step_seconds: float | None = None
    steps: int | None = None
    hours: float | None = None
    disk_gib: float | None = None
    scaled: bool = False
    refusal: str | None = None


class Process:
    """The process that forecasts; its memory without steps stands for that of the real run.

    Ask for a peak before the first step: the memory at that time is remembered.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    @cached_property
    def gib(self) -> float:
        """GiB without steps: interpreter, libraries, images."""
        if self.budget.resolved["device"] == "cuda":
            return 0.0  # the allocator's peak counts there
        taken = resident_gib()
        return self.budget.reserve_gib if taken is None else taken

    def peak(self, step_bytes: int, workers: int = 0) -> float:
        """Return the GiB of a step of `step_bytes`, which each of `workers` processes runs."""
        return (1 + workers) * self.gib + max(1, workers) * step_bytes / 2**30


@dataclass(frozen=True)
class Outlook:
    """Facts about the space and a forecast per stage; `known` is the note that they come from."""

    facts: Mapping[str, str]
    stages: list[Forecast]
    known: str | None = None

    @property
    def refusals(self) -> list[str]:
        """Reasons why the run cannot start; empty if it can."""
        return [f"{each.stage}: {each.refusal}" for each in self.stages if each.refusal]


Report = Callable[[str], None]
"""Receives progress messages."""


@dataclass(frozen=True)
class Ahead:
    """The stages of a run as functions that begin them; `None` for a stage that is not run.

    With a `baseline`, a random architecture is retrained, too, which takes as long as the found
    one.
    """

    search: Callable[[], Strategy] | None
    select: Callable[[], tuple[Selector, Strategy, Iterable[Rehearsal]]] | None
    trainings: Mapping[str, Callable[[], Retrain]]
    baseline: bool


def foresee_stages(
    ahead: Ahead, process: Process, rehearsing: Rehearsing, report: Report
) -> list[Forecast]:
    """Begin each stage, predict its memory, and time a few steps of it if all stages can run."""
    strategy: Strategy | None = None
    stages: dict[str, Retrain] = {}
    found: dict[str, Forecast] = {}
    if ahead.search is not None:
        report("search: reading the data, counting the memory")
        try:
            strategy = ahead.search()
            found[SEARCH.name] = Forecast(SEARCH.name, _search_gib(strategy, process))
        except ValueError as refused:
            found[SEARCH.name] = Forecast(SEARCH.name, refusal=str(refused))
    for kind, begin in ahead.trainings.items():
        report(f"{kind}: reading the data, counting the memory")
        try:
            stages[kind] = begin()
            found[kind] = Forecast(kind, process.peak(stages[kind].step_bytes()))
        except ValueError as refused:
            found[kind] = Forecast(kind, refusal=str(refused))
    if any(forecast.refusal for forecast in found.values()):
        return list(found.values())

    timed: list[Forecast] = []
    if strategy is not None:
        report("search: timing a few steps")
        timed.append(_timed(found[SEARCH.name], strategy, _searching(strategy), rehearsing))
    if ahead.select is not None:
        report("select: timing a few steps")
        selector, strategy, rehearsals = ahead.select()
        memory = None  # unknown for selectors that train other networks
        if selector.accepts is SupernetStrategy and isinstance(strategy, Foreseen):
            searched = found.get(SEARCH.name)
            memory = searched.memory_gib if searched else process.peak(strategy.foreseen_bytes())
        timed.append(_timed(Forecast(SELECT.name, memory), selector, rehearsals, rehearsing))
    for kind, stage in stages.items():
        report(f"{kind}: timing a few steps")
        training = _timed(found[kind], stage, _training(stage), rehearsing)
        weights = saved_bytes(stage.learner.network.state_dict()) / 2**30
        timed.append(replace(training, disk_gib=weights + (training.disk_gib or 0.0)))
        if kind == RETRAIN.name and ahead.baseline:
            timed.append(replace(timed[-1], stage="retrain random"))
    return timed


def _searching(strategy: Strategy) -> Iterable[Rehearsal]:
    if isinstance(strategy, Foreseen):
        return strategy.rehearsals()
    return [Rehearsal(strategy.rounds, strategy.play)]


def _search_gib(strategy: Strategy, process: Process) -> float | None:
    """Return the GiB of a search; ValueError if the budget has less."""
    if not isinstance(strategy, Foreseen):
        return None
    need = strategy.foreseen_bytes()
    process.budget.refuse_beyond(lambda: need, "this search")
    return process.peak(need, strategy.workers)


def _timed(
    forecast: Forecast, stage: Stage, rehearsals: Iterable[Rehearsal], rehearsing: Rehearsing
) -> Forecast:
    """Return the forecast with time and disk of all work ahead, from a few steps of each kind."""
    rehearsing.scaled = False
    stepping = resting = steps = 0.0
    for rehearsal in rehearsals:
        if rehearsal.play is not None and rehearsal.rounds:
            seconds, each = rehearsing.step(rehearsal.play)
            stepping += rehearsal.rounds * each * seconds
            steps += rehearsal.rounds * each
        if rehearsal.rest is not None and rehearsal.rests:
            resting += rehearsal.rests * rehearsing.rest(rehearsal.rest)
    return replace(
        forecast,
        step_seconds=stepping / steps if steps else None,
        steps=round(steps),
        hours=(stepping + resting) / 3600,
        disk_gib=COPIES.get(forecast.stage, 1) * saved_bytes(stage.state_dict()) / 2**30,
        scaled=rehearsing.scaled,
    )


def saved_bytes(state: object) -> int:
    """Return the size of a state in a file."""
    file = BytesIO()
    torch.save(state, file)
    return file.tell()


def _training(stage: Retrain) -> Iterable[Rehearsal]:
    """Yield the rehearsals of a training; a random genotype stands for one still to be found."""
    rests, rest = (0, None) if stage.validation is None else (stage.rounds, stage.validate)
    return [Rehearsal(stage.rounds, stage.play, rests, rest), _test(stage)]


def _test(stage: Retrain) -> Rehearsal:
    """Return the rehearsal of the test on a few training images: test images are only counted."""
    together = 2 * stage.batch_size
    few = Subset(stage.train, torch.arange(min(len(stage.train), together)))
    times = stage.task.dataset.count_test() / len(few)
    return Rehearsal(rests=times, rest=lambda: stage.learner.evaluate(few, together))


def print_outlook(console: Any, title: str, outlook: Outlook) -> None:
    """Print the facts and the stages as tables."""
    from nasrun.display import duration, storage, table

    table(console, title, ("", ""), list(outlook.facts.items()))
    rows = []
    for stage in outlook.stages:
        about = "~" if stage.scaled else ""
        rows.append(
            (
                stage.stage,
                "-" if stage.memory_gib is None else f"{stage.memory_gib:.2f} GiB",
                "-" if stage.step_seconds is None else f"{about}{stage.step_seconds:.3f} s",
                "-" if stage.steps is None else f"{stage.steps}",
                "-" if stage.hours is None else about + duration(3600 * stage.hours),
                "-" if stage.disk_gib is None else storage(stage.disk_gib),
            )
        )
    table(console, "forecast", ("stage", "peak memory", "per step", "steps", "time", "disk"), rows)
    if outlook.refusals:
        return
    hours = sum(stage.hours or 0.0 for stage in outlook.stages)
    disk = sum(stage.disk_gib or 0.0 for stage in outlook.stages)
    lines = [f"in all {duration(3600 * hours)}, {storage(disk)} on disk"]
    if any(stage.scaled for stage in outlook.stages):
        lines.append("~ scaled up from steps on fewer images")
    if outlook.known is not None:
        lines.append(f"measured before; to measure again, delete {outlook.known}")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
