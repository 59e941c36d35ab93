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
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun import config as configuration
from nasrun.budget import LIMITS
from nasrun.config import DictConfig, build
from nasrun.context import AnyContext, Context
from nasrun.data import table
from nasrun.genotype import Genotype
from nasrun.pipeline.command import Command
from nasrun.pipeline.given import Given, random_genotype
from nasrun.pipeline.layout import layout_of
from nasrun.pipeline.refusals import (
    refuse_discretisation,
    refuse_engine,
    refuse_idle_key,
    refuse_incapable,
    refuse_limits,
    refuse_mismatch,
    refuse_missing,
    refuse_other_budget,
    refuse_other_layout,
    refuse_retraining,
    refuse_strangers,
    refuse_threads,
    refuse_unforeseen,
)
from nasrun.pipeline.source import (
    Source,
    inherit,
    inherit_budget,
    inherit_layout,
    refuse_idle,
    refuse_left_out,
    refuse_other,
    refuse_search,
)
from nasrun.pipeline.stages import (
    INSIDE,
    RETRAIN,
    RUN,
    SCALE,
    SEARCH,
    SELECT,
    TRANSFER,
    StageKind,
    kinds_of,
)

if TYPE_CHECKING:
    from nasrun.budget import Budget
    from nasrun.costs.limits import Limits
    from nasrun.data.contents import Contents
    from nasrun.data.images import Data, Dataset
    from nasrun.engines.base import Engine
    from nasrun.networks import Network
    from nasrun.retrain import Retrain
    from nasrun.selectors.base import Selector
    from nasrun.spaces.base import ClassifierSpace, Space
    from nasrun.spaces.layout import Layout
    from nasrun.spaces.supernet import SupernetSpace
    from nasrun.strategies.base import Strategy
    from nasrun.tasks.base import Task


def prepare(command: Command, source: Source | None) -> Plan:
    """Check and build everything that the command needs: its words, then its parts."""
    config = configured(command, source)
    frame = configuration.frame(config)
    kinds = kinds_of(command.verb, frame.stages)
    choices = command.composed.choices
    settings = {
        group: configuration.resolve(config[group])
        for group in ("space", "strategy", "dataset", "task", "selector", "retrain")
        if config.get(group) is not None
    }

    if source is None and SEARCH in kinds:
        refuse_idle_key(command, "alpha_lr", "strategy", "alpha_optimizer.lr")
    limited = _limited(command.verb, config, source)
    nodes = _nodes(config, kinds, limited=limited)
    configuration.check(nodes, command.trusted)  # all of them, before any takes its time

    def make(key: str) -> Any:
        return build(nodes[key], key, command.trusted)

    budget = make("budget")
    refuse_threads(budget)
    space, dataset = make("space"), make("dataset")
    settings["budget"] = budget.resolved
    settings["dataset"] = placed(settings["dataset"])
    settings["space"].pop("table", None)  # for reports: the search is the same without it
    parts = Parts(command, kinds, make, budget, space, dataset)
    searching = parts.searching()
    if budget.limited or command.only_foreseen:
        refuse_unforeseen(choices, space, searching["strategy"])
    training = parts.training()
    refuse_other_layout(command, source, kinds, training["layout"])
    if training["transfer"] is not None:
        transfer = configuration.resolve(config["transfer"])
        settings["transfer"] = {**transfer, "dataset": placed(transfer["dataset"])}
    from nasrun.spaces.decision import DecisionSpace

    given = None if frame.genotype is None else Given.find(frame.genotype)
    if given is not None and given.drawn:
        refuse_incapable(f"genotype={given.name}", DecisionSpace, choices, space)
    plan = Plan(
        kinds=kinds,
        seed=frame.seed,
        outputs=Path(frame.outputs),
        progress=frame.progress,
        baseline=frame.baseline and command.verb == RUN and RETRAIN in kinds,
        discretisation=frame.discretisation,
        choices=choices,
        settings=settings,
        scale={key: config[key] for key in SCALE},
        budget=budget,
        space=space,
        dataset=dataset,
        source=source,
        **searching,
        **training,
        genotype_name=None if given is None else given.short,
        genotype=None if given is None else given.within(space, choices["space"], frame.seed),
        command=command.text,
    )
    refuse_other_budget(command, source, kinds, plan.heeded, plan.heeds)
    plan.check_data()
    plan.check_weights()
    return plan


@dataclass(frozen=True)
class Parts:
    """What every command needs, from which the parts that only some stages need are made."""

    command: Command
    kinds: Sequence[StageKind]
    make: Callable[[str], Any]
    budget: Budget
    space: Space
    dataset: Data

    def searching(self) -> dict[str, Any]:
        """Strategy, task, selector and engine, as far as the stages need them."""
        parts: dict[str, Any] = dict.fromkeys(("task", "strategy", "selector", "engine"))
        if SEARCH not in self.kinds and SELECT not in self.kinds:
            return parts
        task, strategy = self.make("task"), self.make("strategy")
        refuse_strangers(self.command.composed.choices, strategy, task, self.space, self.dataset)
        stages, selector = [strategy], None
        if SELECT in self.kinds:
            selector = self.make("selector")
            refuse_mismatch(self.command.composed.choices, selector, strategy, self.space)
            refuse_discretisation(self.command.typed, self.command.composed.choices, strategy)
            stages.append(selector)
        engine = self.make("engine")
        refuse_engine(stages, engine, self.budget, self.command.typed)
        return {"task": task, "strategy": strategy, "selector": selector, "engine": engine}

    def training(self) -> dict[str, Any]:
        """The recipes of the stages that train, and the layout that limits are counted in."""
        parts: dict[str, Any] = dict.fromkeys(("retrain", "layout", "transfer", "transfer_dataset"))
        if any(kind.trains for kind in self.kinds):
            refuse_retraining(self.command.composed.choices, self.space, self.dataset)
        if RETRAIN in self.kinds:
            refuse_idle_key(self.command, "epochs", "retrain", "epochs")
            parts["retrain"] = self.make("retrain")
        if self.kinds == (TRANSFER,):
            refuse_limits(self.budget)
        if self.budget.limited:  # they are the retrained network's, whichever verb asks for them
            parts["layout"] = (parts["retrain"] or self.make("retrain")).layout
        if TRANSFER in self.kinds:
            parts["transfer_dataset"] = self.make("transfer.dataset")
            parts["transfer"] = self.make("transfer")
        return parts


def _nodes(
    config: DictConfig, kinds: Sequence[StageKind], *, limited: bool
) -> dict[str, dict[str, Any]]:
    """What is to be built, resolved, by its keys; the data set of transfer is one of its own."""
    groups = ["budget", "space", "dataset"]
    if SEARCH in kinds or SELECT in kinds:
        groups += ["task", "strategy", "engine"]
    groups += [kind.made_of for kind in kinds if kind != SEARCH]
    if limited:
        groups.append(RETRAIN.name)
    nodes = {group: configuration.resolve(config[group]) for group in groups}
    if TRANSFER in kinds:
        nodes["transfer.dataset"] = nodes["transfer"].pop("dataset", None)
    return nodes


def configured(command: Command, source: Source | None) -> DictConfig:
    """The composed configuration with what is inherited; no word is typed without effect."""
    verb, config = command.verb, command.composed.config
    refuse_idle(verb, command.typed, limited=_limited(verb, config, source))
    if source is not None:
        refuse_other(config, command.typed, source.run)
        inherit(config, command.typed, source.run)
    frame = configuration.frame(config)
    if frame.genotype is not None and source is None:
        refuse_search(command.typed)
    for package in command.trusted:
        import_trusted(package)
    kinds = kinds_of(verb, frame.stages)
    refuse_missing(config, kinds)
    if source is not None and SEARCH in kinds:
        inherit_budget(config, command.typed, source.run)
    limited = _limited(verb, config, source)
    if verb == RUN:
        refuse_left_out(kinds, command.typed, limited=limited)
    if source is not None and limited and (SEARCH in kinds or SELECT in kinds):
        inherit_layout(config, command.typed, source.run)
    return config


def _limited(verb: str, config: Mapping[str, Any], source: Source | None) -> bool:
    """Whether the found network's cost is, by the command or by the search that it goes on with."""
    budgets = [config.get("budget") or {}]
    if verb == SEARCH.name and source is not None:
        budgets.append(source.run.config["budget"])
    return any(budget.get(key) is not None for budget in budgets for key in LIMITS)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything built, nothing begun: what `execute` runs stage by stage."""

    kinds: tuple[StageKind, ...]
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
    task: Task | None
    strategy: Strategy | None
    selector: Selector | None
    engine: Engine | None
    retrain: Retrain | None
    layout: Layout | None
    transfer: Retrain | None
    transfer_dataset: Dataset | None
    genotype_name: str | None
    genotype: Genotype | None
    command: str

    def check_data(self) -> None:
        """Look whether the data of every stage are there, and are those of the run that goes on.

        Their images are not read.
        """
        self.dataset.check()
        if self.source is not None:
            self.source.run.refuse_other(self.contents)
        if self.space.table is not None:
            with table_key():
                table.check(Path(self.space.table))
        if self.transfer_dataset is not None:
            with transfer_keys():
                self.transfer_dataset.check()

    def check_weights(self) -> None:
        """Look whether the machine can hold the networks, by the shapes of their weights.

        A random architecture stands for one that is still to be found.
        """
        from nasrun.costs.weights import refuse_weights
        from nasrun.spaces.base import ClassifierSpace
        from nasrun.spaces.decision import DecisionSpace
        from nasrun.spaces.supernet import SupernetSpace
        from nasrun.strategies.base import SupernetStrategy

        space, genotype, images = self.space, self.genotype, 3  # of any task: they weigh little
        if genotype is None and isinstance(space, DecisionSpace):
            genotype = random_genotype(space, self.seed)
        if genotype is None:
            return
        searched: Callable[[], Network]
        searched = partial(space.network, genotype, inputs=images, outputs=images)
        what = f"space={self.choices['space']}"
        if isinstance(space, SupernetSpace):
            layout = space.search_layout
            what = f"space.channels={layout.channels} space.layers={layout.layers}"
            if isinstance(self.strategy, SupernetStrategy):
                searched = partial(space.network, inputs=images, outputs=images)
        if SEARCH in self.kinds:
            refuse_weights(searched, what, "a smaller width or depth")
        for kind, recipe in ((RETRAIN, self.retrain), (TRANSFER, self.transfer)):
            if recipe is not None and isinstance(space, ClassifierSpace):
                layout = recipe.layout
                refuse_weights(
                    partial(space.network, genotype, inputs=images, outputs=images, layout=layout),
                    f"{kind.name}.channels={layout.channels} {kind.name}.layers={layout.layers}",
                    "fewer",
                )

    def look(self) -> None:
        """Look at all images of all stages; ValueError names those that cannot be read."""
        from nasrun.display import watched

        looks = [self.dataset.look]
        if self.transfer_dataset is not None:
            looks.append(transfer_keys()(self.transfer_dataset.look))
        broken: list[str] = []
        for look in looks:
            try:
                look(watched)
            except ValueError as error:
                broken.append(str(error))
        if broken:
            raise ValueError("; ".join(broken))

    @cached_property
    def limits(self) -> Limits | None:
        """What the retrained network may cost; ValueError names what no genotype can meet."""
        return self._limits(None)

    def limits_of(self, genotype: Genotype) -> Limits | None:
        """The same, of networks whose cells join the nodes that this architecture's do."""
        return self._limits(genotype) if genotype.concat else self.limits

    def _limits(self, like: Genotype | None) -> Limits | None:
        if self.layout is None:
            return None
        from nasrun.costs.limits import Limits

        _, dataset = self.recipe
        facts = dataset.facts()
        return Limits.of(
            self.budget,
            self.counting,
            self.layout,
            inputs=facts.channels,
            outputs=facts.num_classes,
            size=facts.size,
            like=like,
        )

    def context(self, task: Task, space: Space | None = None) -> AnyContext:
        """What a stage on this task works with."""
        return Context(
            space=self.space if space is None else space,
            task=task,
            budget=self.budget,
            limits=self.limits,
            engine=self.engine,
        )

    @cached_property
    def contents(self) -> Contents | None:
        """The files of the data set, if it is made of files."""
        return self.dataset.contents()

    @property
    def counted(self) -> dict[str, Any]:
        """The layout that limits are counted in, as a part of a configuration; else nothing."""
        return {} if self.layout is None else {"layout": layout_of(self.layout)}

    @property
    def recipe(self) -> tuple[ClassifierSpace, Dataset]:
        """Space and images as a recipe takes them; `prepare` has looked that they are such."""
        from nasrun.data.images import Dataset
        from nasrun.spaces.base import ClassifierSpace

        assert isinstance(self.space, ClassifierSpace)
        assert isinstance(self.dataset, Dataset)
        return self.space, self.dataset

    @property
    def counting(self) -> SupernetSpace:
        """The space as limits count in it; `prepare` has looked that it is such."""
        from nasrun.spaces.supernet import SupernetSpace

        assert isinstance(self.space, SupernetSpace)
        return self.space

    @cached_property
    def rival(self) -> Genotype:
        """The random architecture that is retrained as the found one is."""
        drawn = random_genotype(self.space, self.seed)
        return drawn if self.limits is None else self.limits.nearest(drawn)

    @property
    def family(self) -> str:
        """The name of the run's folder: data, space, and strategy or genotype."""
        if self.genotype is not None:
            last = [str(self.genotype_name)]
        else:
            last = [self.choices["strategy"], *self.inside.values()]
        return "-".join([self.choices["dataset"], self.choices["space"], *last])

    @property
    def inside(self) -> dict[str, str]:
        """The options of groups that are a part of the strategy."""
        found = {inner: self.choices.get(f"{inner}@{outer}") for inner, outer in INSIDE.items()}
        return {inner: option for inner, option in found.items() if option is not None}

    @property
    def heeded(self) -> dict[str, Any]:
        """What of the budget changes the numbers of a run's first stage."""
        memory = self.budget.memory
        return self.settings["budget"] | {key: memory[key] for key in self.heeds if key in memory}

    @property
    def heeds(self) -> Sequence[str]:
        """Which keys of the limit on memory do so."""
        return () if self.strategy is None else self.strategy.heeds

    @property
    def config(self) -> dict[str, Any]:
        """What a run's fingerprint is made of."""
        groups = ["space", "dataset"]
        if self.genotype is None:
            groups += ["task", "strategy"]
        config = {"seed": self.seed, **{group: self.settings[group] for group in groups}}
        config["budget"] = self.heeded
        if self.contents is not None:
            config["contents"] = self.contents.digest
        if self.genotype is None:
            return config | self.counted
        return config | {"genotype": self.genotype.to_json()}

    @property
    def record(self) -> dict[str, Any]:
        """What a new run notes of the command besides its configuration."""
        groups = ("space", "dataset", *(() if self.genotype else ("strategy", "task")))
        inside = {} if self.genotype else self.inside
        return {
            "seed": self.seed,
            "choices": {**{group: self.choices[group] for group in groups}, **inside},
            "scale": self.scale,
            "genotype": self.genotype_name,
            "table": self.space.table,
        }


def placed(dataset: dict[str, Any]) -> dict[str, Any]:
    """The settings of a data set with its place as seen from anywhere."""
    root = dataset.get("root")
    return dataset if root is None else {**dataset, "root": absolute(root)}


def absolute(root: str) -> str:
    """A path from the top, `~` spelled out."""
    return os.path.abspath(Path(root).expanduser())


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
