"""What a command will need, from its composed configuration: built, and so checked, not begun.

All of it is built before the first stage begins, and nothing is written before that. A later verb
takes what is upstream of it from its parent's configuration.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nasrun import config as configuration
from nasrun.config import (
    GENOTYPES,
    Composed,
    build,
    conf_folder,
    did_you_mean,
    key_of,
)
from nasrun.data.table import header
from nasrun.genotype import Genotype
from nasrun.pipeline.source import (
    LAYOUT,
    Source,
    inherit,
    inherit_budget,
    inherit_layout,
    refuse_idle,
    refuse_left_out,
    refuse_other,
    refuse_search,
    refuse_unlike,
)
from nasrun.pipeline.stages import SCALE

if TYPE_CHECKING:
    from nasrun.budget import Budget
    from nasrun.costs.limits import Limits
    from nasrun.data.images import Data, Dataset
    from nasrun.engines.base import Engine
    from nasrun.retrain import Retrain
    from nasrun.selectors.base import Selector
    from nasrun.spaces.base import Layout, SearchSpace, Space
    from nasrun.stage import Stage
    from nasrun.strategies.base import Strategy
    from nasrun.tasks.base import Task


@dataclass(frozen=True)
class Command:
    """A verb with its composed configuration, the overrides as typed, and the trusted packages.

    One of `nasrun plan` is only to be foreseen.
    """

    verb: str
    composed: Composed
    typed: tuple[str, ...]
    trusted: tuple[str, ...]
    only_foreseen: bool = False


def prepare(command: Command, source: Source | None) -> Plan:
    """Check and build everything that the command needs."""
    verb, composed = command.verb, command.composed
    config = composed.config
    refuse_idle(verb, command.typed, limited=_limited(verb, config, source))
    if source is not None:
        refuse_other(config, command.typed, source.run)
        inherit(config, source.run)
    frame = configuration.frame(config)
    if frame.genotype is not None and source is None:
        refuse_search(command.typed)
    for package in command.trusted:
        import_trusted(package)
    stages = tuple(frame.stages) if verb == "run" else (verb,)
    _refuse_missing(config, stages)
    if source is not None and "search" in stages:
        inherit_budget(config, command.typed, source.run)
    limited = _limited(verb, config, source)
    if verb == "run":
        refuse_left_out(stages, command.typed, limited=limited)
    if source is not None and limited and {"search", "select"} & set(stages):
        inherit_layout(config, command.typed, source.run)

    def make(key: str) -> Any:
        return build(configuration.resolve(config[key]), key, command.trusted)

    plan = Plan(
        stages=stages,
        seed=frame.seed,
        outputs=Path(frame.outputs),
        progress=frame.progress,
        baseline=frame.baseline and verb == "run" and "retrain" in stages,
        discretisation=frame.discretisation,
        choices=composed.choices,
        settings={
            group: configuration.resolve(config[group])
            for group in ("space", "strategy", "dataset", "task", "selector", "retrain")
            if config.get(group) is not None
        },
        scale={key: config[key] for key in SCALE},
        budget=make("budget"),
        space=make("space"),
        dataset=make("dataset"),
        source=source,
    )
    plan.settings["budget"] = plan.budget.resolved
    unfinished = source is not None and "search" in stages and not source.run.search().finished
    if source is not None and unfinished:
        refuse_unlike(
            "budget", plan.budget.resolved, source.run.config["budget"], command.typed, source.run
        )
    plan.settings["space"].pop("table", None)  # for reports: the search is the same without it
    _add_search(plan, command, make)
    if plan.budget.limited or command.only_foreseen:
        _refuse_unforeseen(plan)
    _add_trainings(plan, command, make)
    if source is not None and unfinished and "layout" in source.run.config:
        theirs = source.run.config["layout"]
        refuse_unlike("retrain", plan.counted["layout"], theirs, command.typed, source.run)
    if frame.genotype is not None:
        plan.genotype_name, plan.genotype = named_genotype(
            frame.genotype, plan.space, plan.choices["space"], frame.seed
        )
    plan.check_data()
    return plan


def _add_search(plan: Plan, command: Command, make: Callable[[str], Any]) -> None:
    """Strategy, task, selector and engine, as far as the stages need them."""
    if not {"search", "select"} & set(plan.stages):
        return
    plan.task, plan.strategy = make("task"), make("strategy")
    assert plan.task is not None
    assert plan.strategy is not None
    _refuse_strangers(plan.choices, plan.strategy, plan.task, plan.space, plan.dataset)
    if "select" in plan.stages:
        plan.selector = make("selector")
        assert plan.selector is not None
        _refuse_mismatch(plan.choices, plan.selector, plan.strategy)
        _refuse_discretisation(command.typed, plan.choices, plan.strategy)
    _attach_engine((plan.strategy, plan.selector), make("engine"), plan.budget, command.typed)


def _add_trainings(plan: Plan, command: Command, make: Callable[[str], Any]) -> None:
    """The recipes of the stages that train, and the layout that limits are counted in."""
    if {"retrain", "transfer"} & set(plan.stages):
        _refuse_retraining(plan)
    if "retrain" in plan.stages:
        _refuse_idle_epochs(command)
        plan.retrain = make("retrain")
    if plan.stages == ("transfer",):
        _refuse_limits(plan.budget)
    if plan.budget.limited:  # they are the retrained network's, whichever verb asks for them
        plan.layout = (plan.retrain or make("retrain")).layout
    if "transfer" in plan.stages:
        node = configuration.resolve(command.composed.config["transfer"])
        plan.settings["transfer"] = dict(node)
        plan.transfer_dataset = build(node.pop("dataset"), "transfer.dataset", command.trusted)
        plan.transfer = build(node, "transfer", command.trusted)


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
            with table_key():
                header(Path(self.space.table))
        if self.transfer_dataset is not None:
            with transfer_keys():
                self.transfer_dataset.check()

    @cached_property
    def limits(self) -> Limits | None:
        """What the retrained network may cost; ValueError names what no genotype can meet."""
        if self.layout is None:
            return None
        from nasrun.costs.limits import Limits

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
    def counted(self) -> dict[str, Any]:
        """The layout that limits are counted in, as a part of a configuration; else nothing."""
        return {} if self.layout is None else {"layout": layout_of(self.layout)}

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
        if self.genotype is None:
            return config | self.counted
        return config | {"genotype": self.genotype.to_json()}


def layout_of(layout: Layout) -> dict[str, Any]:
    """What of a layout a network's cost depends on."""
    return {key: getattr(layout, key) for key in LAYOUT}


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


def _limited(verb: str, config: Mapping[str, Any], source: Source | None) -> bool:
    """Whether the found network's cost is, by the command or by the search that it goes on with."""
    from nasrun.budget import LIMITS

    budgets = [config.get("budget") or {}]
    if verb == "search" and source is not None:
        budgets.append(source.run.config["budget"])
    return any(budget.get(key) is not None for budget in budgets for key in LIMITS)


def _refuse_missing(config: Mapping[str, Any], stages: Sequence[str]) -> None:
    """A stage without its group, which null takes away, cannot be."""
    for group in ("space", "dataset", "budget", *stages):
        name = {"search": "strategy", "select": "selector"}.get(group, group)
        if config.get(name) is None:
            raise ValueError(
                f"{name}=null: needed here; leave a stage out with stages=[search,...]"
            )


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
        engine.check(budget)
        if budget.max_memory_gib is not None and engine.elsewhere:
            raise ValueError(
                f"budget.max_memory_gib={budget.max_memory_gib}: the memory of an engine's other "
                "processes is not counted; engine=serial would do, or max_memory_gib=null"
            )
        for user in users:
            user.engine = engine
        return
    idle = [override for override in typed if key_of(override).split(".")[0] == "engine"]
    if idle:
        raise ValueError(
            f"{idle[0]}: has no effect, an engine trains populations and candidates from scratch"
        )


def _refuse_limits(budget: Budget) -> None:
    """What is selected and retrained is limited, not what is transferred."""
    from nasrun.budget import LIMITS

    for key in LIMITS:
        if (limit := getattr(budget, key)) is not None:
            raise ValueError(
                f"budget.{key}={limit}: has no effect on `nasrun transfer`; it limits the network "
                "that is selected and retrained; leave it out"
            )


def _refuse_idle_epochs(command: Command) -> None:
    """The key of the frame is read by those recipes only that refer to it."""
    given = [override for override in command.typed if key_of(override) == "epochs"]
    if given and not configuration.refers(command.composed.config["retrain"], "epochs"):
        raise ValueError(
            f"{given[-1]}: has no effect, retrain={command.composed.choices['retrain']} has epochs "
            f"of its own; retrain.{given[-1]} would do"
        )


def _refuse_retraining(plan: Plan) -> None:
    """What a population trained needs no retraining, and the recipes train classifiers only."""
    from nasrun.data.images import Dataset
    from nasrun.spaces.base import SearchSpace

    if not isinstance(plan.dataset, Dataset):
        raise ValueError(f"dataset={plan.choices['dataset']}: retraining needs {Dataset.words}")
    if not isinstance(plan.space, SearchSpace):
        raise ValueError(
            f"space={plan.choices['space']}: its networks are trained when the search ends and "
            "need no retraining; the member chosen is in select/; stages=[search,select] for "
            "`nasrun run`"
        )


def _refuse_unforeseen(plan: Plan) -> None:
    """What a population's networks cost is not known before they train."""
    from nasrun.spaces.base import SearchSpace

    if not isinstance(plan.space, SearchSpace):
        raise ValueError(
            f"space={plan.choices['space']}: limits on the found network and `nasrun plan` need "
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


@contextmanager
def table_key() -> Iterator[None]:
    """Name the table's key as it is typed for a stage."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"space.{error}") from error


@contextmanager
def transfer_keys() -> Iterator[None]:
    """Name a data set's keys as they are typed for transfer."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            re.sub(r"(?<![\w./])dataset\.", "transfer.dataset.", str(error))
        ) from error
