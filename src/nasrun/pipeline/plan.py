"""The plan of a command: everything that it needs, built and checked, but not begun.

`preparing` builds it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun.config.given import random_genotype
from nasrun.config.stages import (
    INSIDE,
    RETRAIN,
    SEARCH,
    SELECT,
    TRANSFER,
    StageKind,
)
from nasrun.context import AnyContext, Context
from nasrun.files import absolute
from nasrun.genotype import Genotype
from nasrun.keyed import keyed
from nasrun.pipeline.benchmark import check_table
from nasrun.pipeline.named_files import digests
from nasrun.runs.finding import Source
from nasrun.spaces.layout import layout_of
from nasrun.streams import Streams

if TYPE_CHECKING:
    from nasrun.budget import Budget
    from nasrun.costs.limits import Limits
    from nasrun.data.base import Data, Dataset
    from nasrun.data.contents import Contents
    from nasrun.engines.base import Engine
    from nasrun.networks import Network
    from nasrun.retrain import Retrain
    from nasrun.selectors.base import Selector
    from nasrun.spaces.base import ClassifierSpace, Space
    from nasrun.spaces.layout import Layout
    from nasrun.spaces.supernet import SupernetSpace
    from nasrun.strategies.base import Strategy
    from nasrun.tasks.base import Task
    from nasrun.trackers.base import Tracker


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that `execute` needs to run stage by stage: all built, nothing begun."""

    kinds: tuple[StageKind, ...]
    seed: int
    outputs: Path
    progress: bool
    baseline: bool
    extend: bool
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
    trackers: Mapping[str, Tracker]
    trusted: tuple[str, ...]
    command: str

    def check_data(self) -> None:
        """Check that the data of every stage exist, and are those of the run that is continued.

        Images are not read.
        """
        self.dataset.check()
        if self.source is not None:
            self.source.run.refuse_other(self.contents)
        if self.space.table is not None and {SEARCH, SELECT} & {*self.kinds}:
            with keyed("space"):
                check_table(self.space, Path(self.space.table))
        if self.transfer_dataset is not None:
            with transfer_keys():
                self.transfer_dataset.check()

    def check_weights(self) -> None:
        """Check that the machine can hold the networks, by the shapes of their weights.

        A random architecture stands for one still to be found.
        """
        from nasrun.costs.weights import refuse_weights
        from nasrun.spaces.base import ClassifierSpace, DrawnSpace
        from nasrun.spaces.supernet import SupernetSpace
        from nasrun.strategies.base import SupernetStrategy

        space, genotype, images = self.space, self.genotype, 3  # the task's channels weigh little
        if genotype is None and isinstance(space, DrawnSpace):
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
                what = f"{kind.name}.channels={layout.channels}"
                if layout.layers is not None:
                    what += f" {kind.name}.layers={layout.layers}"
                refuse_weights(
                    partial(space.network, genotype, inputs=images, outputs=images, layout=layout),
                    what,
                    "fewer",
                )

    def look(self) -> None:
        """Check all images of all stages; ValueError names those that cannot be read."""
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
        """Limits on the retrained network; ValueError names a limit that no genotype can meet."""
        return self._limits(None)

    def limits_of(self, genotype: Genotype) -> Limits | None:
        """Return the limits for networks whose cells join the same nodes as this architecture's."""
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
        """Return the context of a stage on this task."""
        return Context(
            space=self.space if space is None else space,
            task=task,
            budget=self.budget,
            streams=self.streams,
            limits=self.limits,
            engine=self._engine,
        )

    @cached_property
    def streams(self) -> Streams:
        """Random streams of all stages."""
        return Streams(self.seed)

    @cached_property
    def _engine(self) -> Engine | None:
        """The engine of contexts; if several processes share the work, each runs a part of it."""
        from nasrun.engines.shared import Shared

        if self.engine is None or self.budget.world.size == 1:
            return self.engine
        return Shared(self.engine, self.budget.world)

    @cached_property
    def contents(self) -> Contents | None:
        """Files of the data set, if it consists of files."""
        return self.dataset.contents()

    @property
    def counted(self) -> dict[str, Any]:
        """The layout in which limits are counted, as a part of a configuration; else empty."""
        return {} if self.layout is None else {"layout": layout_of(self.layout)}

    @property
    def recipe(self) -> tuple[ClassifierSpace, Dataset]:
        """Space and images for a recipe; `prepare` has checked their types."""
        from nasrun.data.base import Dataset
        from nasrun.spaces.base import ClassifierSpace

        assert isinstance(self.space, ClassifierSpace)
        assert isinstance(self.dataset, Dataset)
        return self.space, self.dataset

    @property
    def counting(self) -> SupernetSpace:
        """The space for counting limits; `prepare` has checked its type."""
        from nasrun.spaces.supernet import SupernetSpace

        assert isinstance(self.space, SupernetSpace)
        return self.space

    @cached_property
    def rival(self) -> Genotype:
        """The random architecture that is retrained in the same way as the found one."""
        drawn = random_genotype(self.space, self.seed)
        return drawn if self.limits is None else self.limits.nearest(drawn)

    @property
    def family(self) -> str:
        """Name of the run's folder: data, space, and strategy or genotype."""
        if self.genotype is not None:
            last = [str(self.genotype_name)]
        else:
            last = [self.choices["strategy"], *self.inside.values()]
        return "-".join([self.choices["dataset"], self.choices["space"], *last])

    @property
    def inside(self) -> dict[str, str]:
        """Options of groups that are a part of the strategy."""
        found = {inner: self.choices.get(f"{inner}@{outer}") for inner, outer in INSIDE.items()}
        return {inner: option for inner, option in found.items() if option is not None}

    @property
    def heeded(self) -> dict[str, Any]:
        """Settings of the budget that change the results of a run's first stage."""
        memory = self.budget.memory
        return self.settings["budget"] | {key: memory[key] for key in self.heeds if key in memory}

    @property
    def heeds(self) -> Sequence[str]:
        """Keys of the memory limit that change the results of a run's first stage."""
        return () if self.strategy is None else self.strategy.heeds

    @property
    def config(self) -> dict[str, Any]:
        """Configuration from which a run's fingerprint is computed."""
        groups = ["space", "dataset"]
        if self.genotype is None:
            groups += ["task", "strategy"]
        config = {"seed": self.seed, **{group: self.settings[group] for group in groups}}
        config["budget"] = self.heeded
        config |= digests(config)
        if self.contents is not None:
            config["contents"] = self.contents.digest
        if self.genotype is None:
            return config | self.counted
        return config | {"genotype": self.genotype.to_json()}

    @property
    def record(self) -> dict[str, Any]:
        """Further facts about the command that a new run records."""
        groups = ("space", "dataset", *(() if self.genotype else ("strategy", "task")))
        inside = {} if self.genotype else self.inside
        return {
            "seed": self.seed,
            "choices": {**{group: self.choices[group] for group in groups}, **inside},
            "scale": self.scale,
            "genotype": self.genotype_name,
            "table": self.space.table and absolute(self.space.table),
        }


@contextmanager
def transfer_keys() -> Iterator[None]:
    """Replace a data set's keys in errors by those that are typed for transfer."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            re.sub(r"(?<![\w./])dataset\.", "transfer.dataset.", str(error))
        ) from error
