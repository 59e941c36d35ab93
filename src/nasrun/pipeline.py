"""The composition root: from a composed configuration to stages that run in a folder.

    search -> select -> retrain -> transfer

Everything that a command will need is built, and so checked, before the first stage begins; nothing
is written before that. A later verb takes what is upstream of it from its parent's configuration.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nasrun import config as configuration
from nasrun.config import (
    GENOTYPES,
    SCALE,
    Composed,
    build,
    conf_folder,
    did_you_mean,
    key_of,
)
from nasrun.genotype import Genotype, fingerprint
from nasrun.run import Run, StageFolder, seed_everything
from nasrun.source import (
    Source,
    find_source,
    inherit,
    inherit_budget,
    refuse_idle,
    refuse_other,
    refuse_search,
)
from nasrun.tabular import Table, header

if TYPE_CHECKING:
    from rich.console import Console

    from nasrun.budget import Budget
    from nasrun.data.images import Data, Dataset
    from nasrun.engines.base import Engine
    from nasrun.forecast import Outlook
    from nasrun.limits import Limits
    from nasrun.predictor import Predictor
    from nasrun.retrain import Retrain
    from nasrun.selectors.base import Selector
    from nasrun.spaces.base import Layout, SearchSpace, Space
    from nasrun.stage import Metrics, Rehearsal, Stage
    from nasrun.strategies.base import Strategy, SupernetStrategy
    from nasrun.tasks.base import Task


@dataclass(frozen=True)
class Command:
    """A verb with its composed configuration, the overrides as typed, and the trusted packages."""

    verb: str
    composed: Composed
    typed: tuple[str, ...]
    trusted: tuple[str, ...]


def prepare(command: Command, source: Source | None) -> Plan:
    """Check and build everything that the command needs."""
    verb, composed = command.verb, command.composed
    refuse_idle(verb, command.typed)
    config = composed.config
    if source is not None:
        refuse_other(config, command.typed, source.run)
        inherit(config, source.run)
    frame = configuration.frame(config)
    if frame.genotype is not None and source is None:
        refuse_search(command.typed)
    for package in command.trusted:
        import_trusted(package)
    stages = tuple(frame.stages) if verb in ("run", "plan") else (verb,)

    def make(key: str, node: Any = None) -> Any:
        plain = configuration.resolve(config[key] if node is None else node)
        return build(plain, key, command.trusted)

    for group in ("space", "dataset", "budget", *stages):
        name = {"search": "strategy", "select": "selector"}.get(group, group)
        if config.get(name) is None:
            raise ValueError(
                f"{name}=null: needed here; leave a stage out with stages=[search,...]"
            )
    if source is not None and "search" in stages:
        inherit_budget(config, command.typed, source.run)
    budget = make("budget")
    space = make("space")
    dataset = make("dataset")
    plan = Plan(
        stages=stages,
        seed=frame.seed,
        outputs=Path(frame.outputs),
        progress=frame.progress,
        baseline=frame.baseline and verb in ("run", "plan") and "retrain" in stages,
        discretisation=frame.discretisation,
        choices=composed.choices,
        settings={
            group: configuration.resolve(config[group])
            for group in ("space", "strategy", "dataset", "task", "selector", "retrain")
            if config.get(group) is not None
        },
        scale={key: config[key] for key in SCALE},
        budget=budget,
        space=space,
        dataset=dataset,
        source=source,
    )
    plan.settings["budget"] = budget.resolved
    plan.settings["space"].pop("table", None)  # for reports: the search is the same without it
    if {"search", "select"} & set(stages):
        plan.task, plan.strategy = make("task"), make("strategy")
        assert plan.task is not None
        assert plan.strategy is not None
        _refuse_strangers(composed.choices, plan.strategy, plan.task, space, dataset)
    if "select" in stages:
        plan.selector = make("selector")
        assert plan.selector is not None
        assert plan.strategy is not None
        _refuse_mismatch(composed.choices, plan.selector, plan.strategy)
        _refuse_discretisation(command.typed, composed.choices, plan.strategy)
    if plan.strategy is not None:
        _attach_engine((plan.strategy, plan.selector), make("engine"), budget, command.typed)
    if {"retrain", "transfer"} & set(stages):
        _refuse_retraining(composed.choices, space, dataset)
    if "retrain" in stages:
        plan.retrain = make("retrain")
    if budget.limited or verb == "plan":
        _refuse_unforeseen(composed.choices, space)
    if budget.limited:  # they are the retrained network's, whichever verb asks for them
        plan.layout = (plan.retrain or make("retrain")).layout
    if "transfer" in stages:
        node = configuration.resolve(config["transfer"])
        plan.settings["transfer"] = dict(node)
        plan.transfer_dataset = build(node.pop("dataset"), "transfer.dataset", command.trusted)
        plan.transfer = build(node, "transfer", command.trusted)
    if frame.genotype is not None:
        plan.genotype_name, plan.genotype = named_genotype(
            frame.genotype, space, composed.choices["space"], frame.seed
        )
    plan.check_data()
    return plan


@dataclass
class Plan:
    """Everything built, nothing begun: what `execute` runs stage by stage."""

    stages: tuple[str, ...]
    seed: int
    outputs: Path
    progress: bool
    baseline: bool
    discretisation: bool
    choices: dict[str, str]
    settings: dict[str, Any]
    scale: dict[str, Any]
    budget: Budget
    space: Space
    dataset: Data
    source: Source | None
    task: Task | None = None
    strategy: Strategy | None = None
    selector: Selector | None = None
    retrain: Retrain | None = None
    layout: Layout | None = None
    transfer: Retrain | None = None
    transfer_dataset: Dataset | None = None
    genotype_name: str | None = None
    genotype: Genotype | None = None

    def check_data(self) -> None:
        """Look whether the data of every stage are there, without reading them."""
        self.dataset.check()
        if self.space.table is not None:
            with _table_key():
                header(Path(self.space.table))
        if self.transfer_dataset is not None:
            with _transfer_keys():
                self.transfer_dataset.check()

    @cached_property
    def limits(self) -> Limits | None:
        """What the retrained network may cost; ValueError names what no genotype can meet."""
        if self.layout is None:
            return None
        from nasrun.limits import Limits

        space, dataset = self.recipe
        facts = dataset.facts()
        return Limits.of(
            self.budget,
            space,
            self.layout,
            inputs=facts.channels,
            outputs=facts.num_classes,
            size=facts.size,
        )

    @property
    def recipe(self) -> tuple[SearchSpace, Dataset]:
        """Space and images as a recipe takes them; `prepare` has looked that they are such."""
        from nasrun.data.images import Dataset
        from nasrun.spaces.base import SearchSpace

        assert isinstance(self.space, SearchSpace)
        assert isinstance(self.dataset, Dataset)
        return self.space, self.dataset

    @cached_property
    def rival(self) -> Genotype:
        """The random architecture that is retrained as the found one is."""
        drawn = random_genotype(self.space, self.seed)
        return drawn if self.limits is None else self.limits.nearest(drawn)

    @property
    def family(self) -> str:
        """The name of the run's folder: data, space, and strategy or genotype."""
        last = self.genotype_name if self.genotype is not None else self.choices["strategy"]
        return f"{self.choices['dataset']}-{self.choices['space']}-{last}"

    @property
    def config(self) -> dict[str, Any]:
        """What a run's fingerprint is made of."""
        groups = ["space", "dataset", "budget"]
        if self.genotype is None:
            groups += ["task", "strategy"]
        config = {"seed": self.seed, **{group: self.settings[group] for group in groups}}
        if self.genotype is not None:
            config["genotype"] = self.genotype.to_json()
        return config


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
            ready = _begin_search(plan)
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
    from nasrun import forecast

    space, dataset = plan.recipe
    facts, rival = dataset.facts(), plan.rival
    return forecast.foresee(
        space,
        plan.retrain.layout if plan.retrain is not None else None,
        plan.budget,
        inputs=facts.channels,
        outputs=facts.num_classes,
        size=facts.size,
        search=lambda: _begin_search(plan),
        select=partial(_rehearse_selection, plan) if "select" in plan.stages else None,
        trainings={
            kind: partial(_begin_training, plan, kind, rival)
            for kind in plan.stages
            if kind in ("retrain", "transfer")
        },
        baseline=plan.baseline,
    )


def _stages(plan: Plan, run: Run, console: Console, ready: Stage | None) -> list[StageFolder]:
    driven = []
    if "search" in plan.stages:
        driven.append(_drive(plan, run.search(), console, lambda: ready or _begin_search(plan)))
    selected = plan.source.selected if plan.source else None
    if "select" in plan.stages:
        own = {"selector": plan.settings["selector"], "budget": plan.settings["budget"]}
        parent = run.search().fingerprint
        selected = run.branch("select", plan.choices["selector"], own, parent)
        driven.append(_drive(plan, selected, console, lambda: _begin_selection(plan, run)))
        _look_up(plan.space, selected)
        _draw(plan.space, selected)
    if "retrain" not in plan.stages and "transfer" not in plan.stages:
        return driven
    if plan.genotype is not None:
        name = str(plan.genotype_name)
        chosen = Chosen(name, plan.genotype, fingerprint(plan.genotype.to_json()))
    else:
        assert selected is not None
        chosen = Chosen(selected.branch, _read(selected, plan.space), selected.fingerprint)
    for kind in plan.stages:
        if kind in ("retrain", "transfer"):
            started = ready if plan.genotype else None
            driven.append(_train(plan, run, kind, chosen, console, started))
        if kind == "retrain" and plan.baseline:
            mark = fingerprint(plan.rival.to_json())
            _train(plan, run, kind, Chosen("random", plan.rival, mark), console, None)
    return driven


@dataclass(frozen=True)
class Chosen:
    """A genotype to train, its branch's name, and the fingerprint of where it comes from."""

    branch: str
    genotype: Genotype
    mark: str


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
    with _transfer_keys() if kind == "transfer" else nullcontext():
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


def _begin_selection(plan: Plan, run: Run) -> Selector:
    from nasrun.strategies.base import SupernetStrategy  # not above: it imports torch

    assert plan.selector is not None
    strategy = _begin_search(plan)
    run.search().load(strategy)
    _equip(plan)
    plan.selector.begin(strategy, plan.space)
    if plan.discretisation and isinstance(strategy, SupernetStrategy):
        plan.selector.measure = partial(_discretise, plan, run, strategy)
    return plan.selector


def _equip(plan: Plan) -> None:
    """Give the selector what it may need besides the strategy."""
    assert plan.selector is not None
    assert plan.task is not None
    plan.selector.limits, plan.selector.task = plan.limits, plan.task
    plan.selector.budget = plan.budget


def _rehearse_selection(plan: Plan) -> tuple[Selector, Iterator[Rehearsal]]:
    """The selector, and what it will do, on supernets that have not been trained."""
    assert plan.selector is not None
    return plan.selector, _selecting(plan, plan.selector)


def _selecting(plan: Plan, selector: Selector) -> Iterator[Rehearsal]:
    from nasrun.discretisation import rehearsals
    from nasrun.strategies.base import SupernetStrategy

    strategy = _begin_search(plan)
    if isinstance(strategy, SupernetStrategy):
        strategy.skip_ahead()
    _equip(plan)
    yield from selector.rehearsals(strategy, plan.space)
    if plan.discretisation and isinstance(strategy, SupernetStrategy):
        _begin_search(plan)  # the selector may have changed the supernet
        strategy.skip_ahead()
        yield from rehearsals(strategy)


def _discretise(plan: Plan, run: Run, strategy: SupernetStrategy, genotype: Genotype) -> Metrics:
    """What the choice loses in the supernet as the search left it, whatever a selector did to it.

    With random numbers of its own: it comes after all rounds, so a stop in it costs its repetition.
    """
    from nasrun.discretisation import discretise

    run.search().load(strategy)
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
    stage.begin(genotype, space, dataset, plan.budget)
    return stage


def _read(folder: StageFolder, space: Space) -> Genotype:
    return space.check(Genotype.read(folder.path / "genotype.json"))


def _look_up(space: Space, folder: StageFolder) -> None:
    """Add to a result what the space's table knows of the architecture, now that it is chosen."""
    if space.table is not None:
        with _table_key():
            known = Table.read(Path(space.table)).truth(space.render(_read(folder, space)))
        folder.amend({"true": known})


@contextmanager
def _table_key() -> Iterator[None]:
    """Name the table's key as it is typed for a stage."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"space.{error}") from error


def _draw(space: Space, folder: StageFolder) -> None:
    if not (folder.path / "cells.svg").exists():
        from nasrun.draw import draw_cells

        draw_cells(space.cells(_read(folder, space)), folder.path / "cells")


def random_genotype(space: Space, seed: int) -> Genotype:
    """The random rival of this seed."""
    import torch

    return space.sample(torch.Generator().manual_seed(seed))


def named_genotype(name: str, space: Space, space_name: str, seed: int) -> tuple[str, Genotype]:
    """The short name and the genotype of `random`, a published cell, or a file, in this space."""
    if name == "random":
        return name, random_genotype(space, seed)
    published = configuration.options(GENOTYPES)
    if name in published:
        record = yaml.safe_load((conf_folder() / GENOTYPES / f"{name}.yaml").read_text())
        try:
            return name, space.parse(record["cell"])
        except ValueError as error:
            raise ValueError(
                f"genotype={name}: space={space_name} does not fit: {error}"
            ) from error
    path = Path(name)
    if not path.is_file():
        hint = did_you_mean(name, published) or f"; there are {', '.join([*published, 'random'])}"
        raise ValueError(f"genotype={name}: neither a published cell nor a file{hint}")
    try:
        if path.suffix == ".json":
            return path.stem, space.check(Genotype.read(path))
        return path.stem, space.parse(path.read_text())
    except (ValueError, OSError) as error:
        text = str(error).removeprefix(f"genotype={name}: ")
        raise ValueError(f"genotype={name}: {text}") from error


@contextmanager
def _transfer_keys() -> Iterator[None]:
    """Name a data set's keys as they are typed for transfer."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            re.sub(r"(?<![\w./])dataset\.", "transfer.dataset.", str(error))
        ) from error


def _refuse_mismatch(choices: dict[str, str], selector: Selector, strategy: Strategy) -> None:
    """A selector that cannot read what the strategy leaves behind is refused at once."""
    if not isinstance(strategy, selector.accepts):
        raise ValueError(
            f"selector={choices['selector']}: needs {selector.accepts.leaves}, and "
            f"strategy={choices['strategy']} leaves {strategy.leaves}; use "
            f"selector={strategy.read_by}"
        )


def _refuse_strangers(
    choices: dict[str, str], strategy: Strategy, task: Task, space: Space, dataset: Data
) -> None:
    """Strategy, space, task and data that do not go together are refused at once."""
    if not isinstance(task, strategy.learns):
        raise ValueError(
            f"task={choices['task']}: strategy={choices['strategy']} needs {strategy.learns.words}"
        )
    if not isinstance(space, strategy.searches):
        raise ValueError(
            f"space={choices['space']}: strategy={choices['strategy']} needs "
            f"{strategy.searches.words}"
        )
    if not isinstance(dataset, task.learns_from):
        raise ValueError(
            f"dataset={choices['dataset']}: task={choices['task']} learns from "
            f"{task.learns_from.words}, and this is {dataset.words}"
        )


def _attach_engine(
    stages: Sequence[Stage | None], engine: Engine, budget: Budget, typed: Sequence[str]
) -> None:
    """Give whatever trains networks side by side its engine; else a typed one has no effect."""
    from nasrun.engines.base import OnEngine

    parts = [part for stage in stages for part in (stage, getattr(stage, "evaluator", None))]
    users = [part for part in parts if isinstance(part, OnEngine)]
    if users:
        engine.check()
        if budget.max_memory_gib is not None and engine.elsewhere:
            raise ValueError(
                f"budget.max_memory_gib={budget.max_memory_gib}: the memory of an engine's other "
                "processes is not counted; engine=serial would do, or null"
            )
        for user in users:
            user.engine = engine
        return
    idle = [override for override in typed if key_of(override).split(".")[0] == "engine"]
    if idle:
        raise ValueError(
            f"{idle[0]}: has no effect, an engine trains populations and candidates from scratch"
        )


def _refuse_retraining(choices: dict[str, str], space: Space, dataset: Data) -> None:
    """What a population trained needs no retraining, and the recipes train classifiers only."""
    from nasrun.data.images import Dataset
    from nasrun.spaces.base import SearchSpace

    if not isinstance(dataset, Dataset):
        raise ValueError(f"dataset={choices['dataset']}: retraining needs {Dataset.words}")
    if not isinstance(space, SearchSpace):
        raise ValueError(
            f"space={choices['space']}: its networks are trained when the search ends and need no "
            "retraining; the member chosen is in select/; stages=[search,select] for `nasrun run`"
        )


def _refuse_unforeseen(choices: dict[str, str], space: Space) -> None:
    """What a population's networks cost is not known before they train."""
    from nasrun.spaces.base import SearchSpace

    if not isinstance(space, SearchSpace):
        raise ValueError(
            f"space={choices['space']}: limits on the found network and `nasrun plan` need "
            f"{SearchSpace.words}"
        )


def _refuse_discretisation(
    typed: Sequence[str], choices: dict[str, str], strategy: Strategy
) -> None:
    """Only of a supernet a child can be cut out."""
    from nasrun.strategies.base import SupernetStrategy

    for override in typed:
        if key_of(override) == "discretisation" and not isinstance(strategy, SupernetStrategy):
            raise ValueError(
                f"{override}: has no effect on strategy={choices['strategy']}, which leaves "
                f"{strategy.leaves}; leave it out"
            )


def import_trusted(package: str) -> None:
    """Import a user's package, from the current folder too, so that what it registers is known."""
    if not re.fullmatch(r"\w+(\.\w+)*", package):
        raise ValueError(f"trust=[{package}]: expected the name of a package")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.split(".")[0]:
            raise
        raise ValueError(f"trust=[{package}]: no such package here or installed") from error


def trained_folder(path: Path, branch: str | None) -> StageFolder:
    """The finished retraining or transfer in a run (its newest, or a branch), or at its path."""
    source = find_source("search", path, str(path), None, None)
    assert source is not None
    trained = [s for s in source.run.stages() if s.kind in ("retrain", "transfer") and s.finished]
    if path.resolve() != source.run.path.resolve():
        trained = [stage for stage in trained if stage.path.resolve() == path.resolve()]
    if branch is not None:
        found = [stage for stage in trained if stage.branch == branch]
        if not found:
            names = ", ".join(stage.branch for stage in trained) or "none"
            raise ValueError(f"branch={branch}: not trained in {path}; trained are {names}")
        trained = found
    found = [stage for stage in trained if stage.branch != "random"] or trained
    if not found:
        raise ValueError(f"run={path}: nothing trained there, type `nasrun retrain` first")
    return max(found, key=lambda stage: (stage.kind == "retrain", stage.finished_at))


def load_search(run: str | Path, trust: Sequence[str] = ()) -> Strategy:
    """The strategy of a finished search as it ended, with its space and its data.

    `run` is a run's folder; `trust` lists the packages outside nasrun that its configuration names.
    """
    found = Run.open(Path(run))
    if not found.search().finished:
        raise ValueError(f"run={run}: no finished search there, type `nasrun search` first")
    for package in trust:
        import_trusted(package)
    config = found.config
    space, dataset, task, strategy = (
        build(config[key], key, trust) for key in ("space", "dataset", "task", "strategy")
    )
    defaults = configuration.resolve(configuration.compose([]).config["budget"])
    budget = build(defaults | config["budget"], "budget")
    budget.apply()
    seed_everything(config["seed"], "search")
    task.begin(dataset, budget)
    strategy.begin(space, task, budget)
    found.search().load(strategy)
    return strategy


def load(run: str | Path, branch: str | None = None, trust: Sequence[str] = ()) -> Predictor:
    """The trained network of a run with its preprocessing, in evaluation mode on the CPU.

    `run` is a run's folder, or one of its `retrain/` or `transfer/` folders; `branch` names one of
    several. `trust` lists the packages outside nasrun that the run's configuration names.
    """
    from nasrun.predictor import Predictor

    folder = trained_folder(Path(run), branch)
    for package in trust:
        import_trusted(package)
    own = folder.config
    space = build(Run.open(folder.path.parents[1]).config["space"], "space", trust)
    stage = {key: value for key, value in own[folder.kind].items() if key != "dataset"}
    layout = build(stage, folder.kind, trust).layout
    genotype = space.check(Genotype.from_json(own["genotype"]))
    return Predictor.restore(folder, space, genotype, layout)
