"""Refuses combinations that do not fit, before anything begins: one function per rule."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nasrun.budget import LIMITS, MEMORY
from nasrun.config import key_of, root_of
from nasrun.config.stages import RETRAIN, SEARCH, SELECT, StageKind
from nasrun.keyed import keyed
from nasrun.pipeline.inheriting import refuse_unlike
from nasrun.runs.finding import Source
from nasrun.spaces.layout import layout_of
from nasrun.stage import Divided
from nasrun.world import Launched

if TYPE_CHECKING:
    from nasrun.budget import Budget
    from nasrun.data.base import Data
    from nasrun.engines.base import Engine
    from nasrun.pipeline.command import Command
    from nasrun.retrain import Retrain
    from nasrun.selectors.base import Selector
    from nasrun.spaces.base import Space
    from nasrun.spaces.layout import Layout
    from nasrun.stage import Stage
    from nasrun.strategies.base import Strategy
    from nasrun.tasks.base import Task


THREADS_PER_CORE = 8


def refuse_missing(config: Mapping[str, Any], kinds: Sequence[StageKind]) -> None:
    """Refuse a stage whose group is `null`."""
    groups = ("task", "engine") if {SEARCH, SELECT} & {*kinds} else ()
    for group in (*groups, "space", "dataset", "budget"):
        if config.get(group) is None:
            raise ValueError(f"{group}=null: needed here; choose one of `nasrun list {group}`")
    for place, kind in enumerate(kinds):
        if config.get(kind.made_of) is None:
            before = ",".join(each.name for each in kinds[:place])
            without = f", or leave the stage out with stages=[{before}]" if before else ""
            raise ValueError(
                f"{kind.made_of}=null: needed here; choose one of `nasrun list {kind.made_of}`"
                f"{without}"
            )


def refuse_mismatch(
    choices: dict[str, str], selector: Selector, strategy: Strategy, space: Space
) -> None:
    """Refuse a selector that cannot read what the strategy leaves."""
    for needed in selector.searches:
        refuse_incapable(f"selector={choices['selector']}", needed, choices, space)
    if not isinstance(strategy, selector.accepts):
        raise ValueError(
            f"selector={choices['selector']}: needs {selector.accepts.leaves}, and "
            f"strategy={choices['strategy']} leaves {strategy.leaves}; use "
            f"selector={strategy.read_by}"
        )


def refuse_strangers(
    choices: dict[str, str], strategy: Strategy, task: Task, space: Space, dataset: Data
) -> None:
    """Refuse strategy, space, task and data that do not fit together."""
    if not isinstance(task, strategy.learns):
        raise ValueError(
            f"task={choices['task']}: strategy={choices['strategy']} needs {strategy.learns.words}"
        )
    for needed in strategy.searches:
        refuse_incapable(f"strategy={choices['strategy']}", needed, choices, space)
    if not issubclass(space.makes, task.trains):
        raise ValueError(
            f"task={choices['task']} needs {task.trains.words}: space={choices['space']} has "
            f"{space.makes.words}; use {task.trains.spaces}, or {space.makes.tasks}"
        )
    if not isinstance(dataset, task.learns_from):
        raise ValueError(
            f"dataset={choices['dataset']}: task={choices['task']} learns from "
            f"{task.learns_from.words}, but this is {dataset.words}; use another data set"
        )


def refuse_incapable(
    who: str, needed: type[Space], choices: Mapping[str, str], space: Space
) -> None:
    """Refuse a space that `who` cannot use, naming spaces that fit."""
    if not isinstance(space, needed):
        raise ValueError(
            f"{who} needs {needed.words}: space={choices['space']} has none; use {needed.options}"
        )


def refuse_engine(
    stages: Sequence[Stage], engine: Engine, budget: Budget, typed: Sequence[str]
) -> None:
    """Check the engine if a stage uses it; refuse engine settings without effect otherwise."""
    from nasrun.engines.base import OnEngine

    if any(isinstance(stage, OnEngine) and stage.on_engine for stage in stages):
        engine.check(budget)
        if budget.max_memory_gib is not None and engine.elsewhere:
            raise ValueError(
                f"budget.max_memory_gib={budget.max_memory_gib}: the memory of an engine's other "
                "processes is not counted; use engine=serial, or max_memory_gib=null"
            )
        return
    for override in typed:
        if root_of(key_of(override)) == "engine":
            raise ValueError(
                f"{override}: has no effect, an engine trains populations and candidates from "
                "scratch; leave it out"
            )


def refuse_other_budget(
    command: Command,
    source: Source | None,
    kinds: Sequence[StageKind],
    ours: dict[str, Any],
    heeds: Sequence[str],
) -> None:
    """Refuse to continue an unfinished search with another budget.

    A memory limit may change if the strategy does not heed it; earlier versions recorded it, too.
    """
    if source is not None and _unfinished(source, kinds):
        free = set(MEMORY) - set(heeds)
        budget = source.run.config["budget"]
        theirs = {key: value for key, value in budget.items() if key not in free}
        refuse_unlike("budget", ours, theirs, command.typed, source.run)


def refuse_other_layout(
    command: Command, source: Source | None, kinds: Sequence[StageKind], layout: Layout | None
) -> None:
    """Refuse to continue an unfinished limited search with another layout for counting limits."""
    if source is None or layout is None or not _unfinished(source, kinds):
        return  # without limits, `refuse_other_budget` names those that the search had
    if (theirs := source.run.config.get("layout")) is not None:
        refuse_unlike(RETRAIN.name, layout_of(layout), theirs, command.typed, source.run)


def _unfinished(source: Source, kinds: Sequence[StageKind]) -> bool:
    return SEARCH in kinds and not source.run.search().finished


def refuse_threads(budget: Budget) -> None:
    """Refuse more threads than the machine can run."""
    most = THREADS_PER_CORE * (os.cpu_count() or 1)
    if budget.threads is not None and budget.threads > most:
        raise ValueError(
            f"budget.threads={budget.threads}: this machine has {os.cpu_count()} cores; use at "
            f"most {most}"
        )


def refuse_processes(command: Command, stages: Mapping[str, Stage | None], budget: Budget) -> None:
    """Refuse several processes for stages that they cannot share, and more than the machine has.

    stages: the object of each stage by its group.
    """
    size, launched = budget.size, Launched.here()
    if budget.processes not in ("auto", 1, size):
        raise ValueError(
            f"budget.processes={budget.processes}: torchrun has started {size}; use that, or leave "
            "it out"
        )
    if size == 1:
        return
    device, given = budget.resolved["device"], f"budget.processes={size}"
    if command.only_foreseen:
        raise ValueError(f"{given}: a plan is of one process; leave it out")
    if device == "mps":
        raise ValueError(f"{given}: processes cannot share device=mps; use 1, or device=cpu")
    most = THREADS_PER_CORE * (os.cpu_count() or 1)
    if device == "cuda":
        import torch

        most = torch.cuda.device_count()
    if (launched.beside if launched else size) > most:
        has = f"{most} GPUs" if device == "cuda" else f"{os.cpu_count()} cores"
        raise ValueError(f"{given}: this machine has {has}; use at most {most}")
    for group, stage in stages.items():
        if stage is None:
            continue
        if not isinstance(stage, Divided) or stage.smallest_batch is None:
            raise ValueError(
                f"{given}: {group}={command.composed.choices[group]} works in one process; use 1"
            )
        if stage.smallest_batch < size * (least := budget.smallest_slice):
            raise ValueError(
                f"{given}: {group} has batches of {stage.smallest_batch} images, and each process "
                f"needs {least}; use fewer processes, or a larger batch_size"
            )


def refuse_shared(budget: Budget) -> None:
    """Refuse several processes for each job of a sweep."""
    if budget.size > 1:
        raise ValueError(
            f"budget.processes={budget.size}: a job of a sweep has one process; use 1, or type "
            "the commands one by one"
        )


def refuse_limits_of_transfer(budget: Budget) -> None:
    """Refuse limits on transfer: they limit the selected and retrained network."""
    for key in LIMITS:
        if (limit := getattr(budget, key)) is not None:
            raise ValueError(
                f"budget.{key}={limit}: has no effect on `nasrun transfer`; it limits the network "
                "that is selected and retrained; leave it out"
            )


def refuse_retraining(choices: dict[str, str], space: Space, dataset: Data) -> None:
    """Refuse retraining of spaces whose networks are trained in the search, and without images."""
    from nasrun.data.base import Dataset
    from nasrun.spaces.base import ClassifierSpace

    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"dataset={choices['dataset']}: retraining needs {Dataset.words}; use another data set"
        )
    if not isinstance(space, ClassifierSpace):
        raise ValueError(
            f"space={choices['space']}: its networks are trained when the search ends and "
            "need no retraining; the selected member is in select/; use stages=[search,select] "
            "with `nasrun run`"
        )


def refuse_first_weights(
    kind: StageKind, recipe: Retrain | None, kinds: Sequence[StageKind]
) -> None:
    """Refuse weights to begin from that cannot be read, or whose network is still to be found."""
    if recipe is None or recipe.weights is None:
        return
    if SEARCH in kinds or SELECT in kinds:
        raise ValueError(
            f"{kind.name}.weights={recipe.weights}: they fit one architecture, and this command "
            f"has yet to choose one; search and select first, then type `nasrun {kind.name} "
            f"{kind.name}.weights=...`"
        )
    from nasrun import pretrained

    with keyed(kind.name):
        pretrained.read(recipe.weights)


def refuse_limits(
    choices: dict[str, str], space: Space, strategy: Strategy | None, budget: Budget
) -> None:
    """Refuse limits on the found network for spaces without a supernet, and for populations.

    The networks of a population are trained in the search, so the chosen one cannot be replaced by
    a smaller one.
    """
    from nasrun.spaces.supernet import SupernetSpace
    from nasrun.strategies.base import PopulationStrategy

    limits = [
        f"budget.{key}={value}" for key in LIMITS if (value := getattr(budget, key)) is not None
    ]
    if not limits:
        return
    who = f"{' '.join(limits)}: a limit on the found network"
    refuse_incapable(who, SupernetSpace, choices, space)
    if isinstance(strategy, PopulationStrategy):
        raise ValueError(
            f"{who} cannot be used with strategy={choices['strategy']}, a population; use "
            "strategy=evolution, or leave it out"
        )


def refuse_unforeseen(choices: dict[str, str], space: Space, strategy: Strategy | None) -> None:
    """Refuse plans without images, and of populations."""
    from nasrun.spaces.base import ClassifierSpace
    from nasrun.strategies.base import PopulationStrategy

    refuse_incapable("`nasrun plan`", ClassifierSpace, choices, space)
    if isinstance(strategy, PopulationStrategy):
        raise ValueError(
            f"strategy={choices['strategy']}: `nasrun plan` cannot foresee a population; use "
            "another strategy, or search without a plan"
        )


def refuse_discretisation(
    typed: Sequence[str], choices: dict[str, str], strategy: Strategy
) -> None:
    """Refuse `discretisation` for strategies without a supernet."""
    from nasrun.strategies.base import SupernetStrategy

    for override in typed:
        if key_of(override) == "discretisation" and not isinstance(strategy, SupernetStrategy):
            raise ValueError(
                f"{override}: has no effect on strategy={choices['strategy']}, which leaves "
                f"{strategy.leaves}; leave it out"
            )
