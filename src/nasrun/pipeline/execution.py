"""The pipeline: stages that run in a folder, one after the other, as a plan says.

search -> select -> retrain -> transfer
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun.data.table import Table
from nasrun.genotype import Genotype, fingerprint
from nasrun.pipeline.plan import Plan, layout_of, table_key, transfer_keys
from nasrun.runs.run import Run, StageFolder, seed_everything

if TYPE_CHECKING:
    from rich.console import Console

    from nasrun.pipeline.forecast import Outlook
    from nasrun.retrain import Retrain
    from nasrun.selectors.base import Selector
    from nasrun.spaces.base import Space
    from nasrun.stage import Metrics, Rehearsal, Stage
    from nasrun.strategies.base import Strategy, SupernetStrategy


def execute(plan: Plan, console: Console) -> tuple[Run, list[StageFolder]]:
    """Run the stages that are not finished yet.

    Returns the run, with its report written, and the command's stages in order.
    """
    plan.budget.apply()
    run = plan.source.run if plan.source else Run.find(plan.outputs, plan.family, plan.config)
    ready: Stage | None = None
    if run is None:
        Run.check_writable(plan.outputs)
        # reads the data: what is wrong with them leaves no folder
        if plan.genotype is None:
            ready = _start_search(plan)
        else:
            ready = _begin_training(plan, plan.stages[0], plan.genotype)
        groups = ("space", "dataset", *(() if plan.genotype else ("strategy", "task")))
        run = Run.claim(
            plan.outputs,
            plan.family,
            plan.config,
            {
                "seed": plan.seed,
                "choices": {group: plan.choices[group] for group in groups},
                "scale": plan.scale,
                "genotype": plan.genotype_name,
                "table": plan.space.table,
            },
        )
    console.print(str(run.path), style="bold", highlight=False, markup=False)
    with run.lock():
        run.touch()
        try:
            stages = _stages(plan, run, console, ready)
        finally:
            run.write_report()
    return run, stages


def foresee(plan: Plan) -> Outlook:
    """What the plan would take; ValueError names a limit that no genotype can meet."""
    from nasrun.pipeline import forecast

    _ = plan.limits  # it says which cannot be met
    space, dataset = plan.recipe
    facts, chosen = dataset.facts(), _chosen(plan, plan.source.selected if plan.source else None)
    genotype = None if chosen is None else chosen.genotype
    return forecast.foresee(
        space,
        plan.retrain.layout if plan.retrain is not None else None,
        plan.budget,
        genotype,
        inputs=facts.channels,
        outputs=facts.num_classes,
        size=facts.size,
        search=partial(_begin_search, plan) if "search" in plan.stages else None,
        select=partial(_rehearse_selection, plan) if "select" in plan.stages else None,
        trainings={
            kind: partial(_begin_training, plan, kind, genotype or plan.rival)
            for kind in plan.stages
            if kind in ("retrain", "transfer")
        },
        baseline=plan.baseline,
    )


def _stages(plan: Plan, run: Run, console: Console, ready: Stage | None) -> list[StageFolder]:
    driven = []
    if "search" in plan.stages:
        driven.append(_drive(plan, run.search(), console, lambda: ready or _start_search(plan)))
    selected = plan.source.selected if plan.source else None
    if "select" in plan.stages:
        own = {
            "selector": plan.settings["selector"],
            "budget": plan.settings["budget"],
            **plan.counted,
        }
        parent = run.search().fingerprint
        selected = run.branch("select", plan.choices["selector"], own, parent)
        driven.append(_drive(plan, selected, console, lambda: _begin_selection(plan, run)))
        _look_up(plan.space, selected)
        _draw(plan.space, selected)
    if "retrain" not in plan.stages and "transfer" not in plan.stages:
        return driven
    if plan.retrain is not None and plan.layout is None and selected is not None:
        _tell_other_layout(selected, layout_of(plan.retrain.layout))
    chosen = _chosen(plan, selected)
    assert chosen is not None
    for kind in plan.stages:
        if kind in ("retrain", "transfer"):
            started = ready if plan.genotype else None
            driven.append(_train(plan, run, kind, chosen, console, started))
        if kind == "retrain" and plan.baseline:
            mark = fingerprint(plan.rival.to_json())
            _train(plan, run, kind, Chosen("random", plan.rival, mark), console, None)
    return driven


def _tell_other_layout(selected: StageFolder, ours: dict[str, Any]) -> None:
    """Without limits any layout may be trained, but a choice within limits was for one."""
    theirs = selected.config.get("layout", ours)
    if theirs != ours:
        had, have = (
            " ".join(f"retrain.{key}={layout[key]}" for key in ours if ours[key] != theirs[key])
            for layout in (theirs, ours)
        )
        warnings.warn(
            f"{selected.path}: limits were counted with {had}; this trains {have}", stacklevel=2
        )


@dataclass(frozen=True)
class Chosen:
    """A genotype to train, its branch's name, and the fingerprint of where it comes from."""

    branch: str
    genotype: Genotype
    mark: str


def _chosen(plan: Plan, selected: StageFolder | None) -> Chosen | None:
    """The genotype that the command names, or that was selected; None before that."""
    if plan.genotype is not None:
        name = str(plan.genotype_name)
        return Chosen(name, plan.genotype, fingerprint(plan.genotype.to_json()))
    if selected is not None:
        return Chosen(selected.branch, _read(selected, plan.space), selected.fingerprint)
    return None


def _train(
    plan: Plan, run: Run, kind: str, chosen: Chosen, console: Console, ready: Stage | None
) -> StageFolder:
    """Retraining, or transfer, of one genotype."""
    name = chosen.branch
    if kind == "transfer":
        name = f"{name}-{plan.choices['dataset@transfer.dataset']}"
    own = {
        kind: plan.settings[kind],
        "budget": plan.settings["budget"],
        "source": chosen.branch,
        "genotype": chosen.genotype.to_json(),
    }
    folder = run.branch(kind, name, own, chosen.mark)
    return _drive(
        plan, folder, console, lambda: ready or _begin_training(plan, kind, chosen.genotype)
    )


def _drive(
    plan: Plan, folder: StageFolder, console: Console, begin: Callable[[], Stage]
) -> StageFolder:
    """Begin a stage if it is not finished and run its rounds under a display."""
    from nasrun.display import watch  # not above: a mistyped option must not wait for rich
    from nasrun.stage import drive
    from nasrun.strategies.base import PopulationStrategy

    if folder.finished:
        return folder
    stage = begin()
    if isinstance(stage, PopulationStrategy) and stage.needs:
        console.print(f"needs {stage.needs}", highlight=False, markup=False)
    seed_everything(plan.seed, f"{folder.kind} rounds")
    with watch(console, folder.title, plan.progress) as display:
        stage.display = display
        drive(stage, folder, plan.budget)
    return folder


def _begin_search(plan: Plan) -> Strategy:
    assert plan.strategy is not None
    assert plan.task is not None
    seed_everything(plan.seed, "search")
    plan.task.begin(plan.dataset, plan.budget)
    plan.strategy.limits = plan.limits
    plan.strategy.begin(plan.space, plan.task, plan.budget)
    return plan.strategy


def _start_search(plan: Plan) -> Strategy:
    """Begin a search that will run.

    ValueError if it would not fit into the memory, or could not be selected from as is asked.
    """
    from nasrun.stage import Foreseen

    strategy = _begin_search(plan)
    if isinstance(strategy, Foreseen):
        plan.budget.refuse_beyond(strategy.foreseen_bytes, "this search")
    if plan.selector is not None:
        plan.selector.check(strategy, plan.space)
    return strategy


def _begin_selection(plan: Plan, run: Run) -> Selector:
    from nasrun.strategies.base import SupernetStrategy  # not above: it imports torch

    assert plan.selector is not None
    strategy = _begin_search(plan)
    run.search().load(strategy)
    _equip(plan, strategy)
    plan.selector.begin(strategy, plan.space)
    if plan.discretisation and isinstance(strategy, SupernetStrategy):
        plan.selector.measure = partial(_discretise, plan, run, strategy)
    return plan.selector


def _equip(plan: Plan, strategy: Strategy) -> None:
    """Give the selector what it may need besides the strategy.

    Limits are on what a supernet still has, unless only others of the space can meet them.
    """
    from nasrun.strategies.base import SupernetStrategy

    assert plan.selector is not None
    assert plan.task is not None
    limits = plan.limits
    if limits is not None and isinstance(strategy, SupernetStrategy):
        limits = limits.inside(strategy.supernet.space) or limits
    plan.selector.limits, plan.selector.task = limits, plan.task
    plan.selector.budget = plan.budget


def _rehearse_selection(plan: Plan) -> tuple[Selector, Strategy, Iterator[Rehearsal]]:
    """The selector, what it reads, and what it will do, on supernets that are not trained."""
    assert plan.selector is not None
    strategy = _begin_search(plan)
    return plan.selector, strategy, _selecting(plan, plan.selector, strategy)


def _selecting(plan: Plan, selector: Selector, strategy: Strategy) -> Iterator[Rehearsal]:
    from nasrun.selectors.discretisation import rehearsals
    from nasrun.strategies.base import SupernetStrategy

    if isinstance(strategy, SupernetStrategy):
        strategy.skip_ahead()
    _equip(plan, strategy)
    yield from selector.rehearsals(strategy, plan.space)
    if plan.discretisation and isinstance(strategy, SupernetStrategy):
        _begin_search(plan)  # the selector may have changed the supernet
        strategy.skip_ahead()
        yield from rehearsals(strategy)


def _discretise(plan: Plan, run: Run, strategy: SupernetStrategy, genotype: Genotype) -> Metrics:
    """What the choice loses in the supernet as the search left it, whatever a selector did to it.

    With random numbers of its own: it comes after all rounds, so a stop in it costs its repetition.
    Nothing where limits led out of the supernet.
    """
    from nasrun.selectors.discretisation import discretise

    run.search().load(strategy)
    left = strategy.supernet.space.open_choices(None)
    if any(choice not in left[name] for name, choice in genotype.items()):
        return {}
    seed_everything(plan.seed, "discretisation")
    return discretise(strategy, genotype)


def _begin_training(plan: Plan, kind: str, genotype: Genotype) -> Retrain:
    (space, dataset), stage = plan.recipe, plan.retrain
    if kind == "transfer":
        assert plan.transfer_dataset is not None
        stage, dataset = plan.transfer, plan.transfer_dataset
    assert stage is not None
    limits = plan.limits if kind == "retrain" else None
    if limits is not None and not limits.allow(genotype):
        costs = limits.cost(genotype)
        raise ValueError(
            "; ".join(
                f"budget.{key}={most}: the network to retrain has {costs[key]:.4g}; that or more "
                "would do"
                for key, most in limits.maxima.items()
                if costs[key] > most
            )
        )
    seed_everything(plan.seed, kind)
    stage.round = 0
    with transfer_keys() if kind == "transfer" else nullcontext():
        stage.begin(genotype, space, dataset, plan.budget)
    return stage


def _read(folder: StageFolder, space: Space) -> Genotype:
    return space.check(Genotype.read(folder.path / "genotype.json"))


def _look_up(space: Space, folder: StageFolder) -> None:
    """Add to a result what the space's table knows of the architecture, now that it is chosen."""
    if space.table is not None:
        with table_key():
            known = Table.read(Path(space.table)).truth(space.render(_read(folder, space)))
        folder.amend({"true": known})


def _draw(space: Space, folder: StageFolder) -> None:
    if not (folder.path / "cells.svg").exists():
        from nasrun.pictures.cells import draw_cells

        draw_cells(space.cells(_read(folder, space)), folder.path / "cells")
