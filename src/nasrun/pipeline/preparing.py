"""From a command to its plan: words are checked, then every part is built, cheapest first.

Everything is built before the first stage begins, and nothing is written before that. A later verb
takes upstream settings from its parent's configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun import config as configuration
from nasrun.budget import LIMITS
from nasrun.config import DictConfig, Frame, build, import_trusted, key_of
from nasrun.config.given import Given
from nasrun.config.stages import (
    RETRAIN,
    RUN,
    SCALE,
    SEARCH,
    SELECT,
    STAGES,
    TRANSFER,
    StageKind,
    kinds_of,
)
from nasrun.data.contents import placed
from nasrun.pipeline.command import Command
from nasrun.pipeline.idle import (
    refuse_idle,
    refuse_idle_keys,
    refuse_left_out,
    refuse_search,
)
from nasrun.pipeline.inheriting import (
    inherit,
    inherit_budget,
    inherit_layout,
    of_another_version,
    refuse_other,
)
from nasrun.pipeline.named_files import located, refuse_other_files
from nasrun.pipeline.plan import Plan
from nasrun.pipeline.refusals import (
    refuse_discretisation,
    refuse_engine,
    refuse_first_weights,
    refuse_incapable,
    refuse_limits,
    refuse_limits_of_transfer,
    refuse_mismatch,
    refuse_missing,
    refuse_other_budget,
    refuse_other_layout,
    refuse_processes,
    refuse_retraining,
    refuse_strangers,
    refuse_threads,
    refuse_unforeseen,
)
from nasrun.runs.finding import Source

if TYPE_CHECKING:
    from nasrun.budget import Budget
    from nasrun.data.base import Data
    from nasrun.spaces.base import Space


def prepare(command: Command, source: Source | None) -> Plan:
    """Check the words of a command, and build everything that it needs."""
    config = configured(command, source)
    frame = configuration.frame(config)
    if frame.extend and command.only_foreseen:
        raise ValueError("extend=true: a plan is of a whole training; leave it out")
    kinds = kinds_of(command.verb, frame.stages)
    choices = command.composed.choices
    limited = _limited(command.verb, config, source)
    nodes = _nodes(config, kinds, limited=limited)
    with of_another_version(source, command.typed):
        configuration.check(nodes, command.trusted)  # all of them, before any slow step

    def make(key: str) -> Any:
        return build(nodes[key], key, command.trusted)

    trackers = {key.partition(".")[2]: make(key) for key in nodes if key.startswith("tracker.")}
    for tracker in trackers.values():
        tracker.check()
    budget = make("budget")
    refuse_threads(budget)
    space, dataset = make("space"), make("dataset")
    _refuse_idle_sizes(command, kinds, space, source)
    parts = Parts(command, kinds, make, budget, space, dataset)
    searching = parts.searching()
    refuse_limits(choices, space, searching["strategy"], budget)
    if command.only_foreseen:
        refuse_unforeseen(choices, space, searching["strategy"])
    training = parts.training()
    refuse_other_layout(command, source, kinds, training["layout"])
    made = searching | training
    refuse_processes(command, {kind.made_of: made[kind.made_of] for kind in STAGES}, budget)
    plan = Plan(
        kinds=kinds,
        seed=frame.seed,
        outputs=Path(frame.outputs),
        progress=frame.progress,
        baseline=frame.baseline and command.verb == RUN and RETRAIN in kinds,
        extend=frame.extend,
        discretisation=frame.discretisation,
        choices=choices,
        settings=_settings(config, kinds, budget),
        scale={key: config[key] for key in SCALE},
        budget=budget,
        space=space,
        dataset=dataset,
        source=source,
        **searching,
        **training,
        **_architecture(frame, choices, space),
        trackers=trackers,
        trusted=command.trusted,
        command=command.text,
    )
    if source is not None and (SEARCH in kinds or SELECT in kinds):
        read = ("strategy", "task", *(("budget",) if SEARCH in kinds else ()))
        refuse_other_files({group: plan.settings.get(group) for group in read}, source.run)
    refuse_other_budget(command, source, kinds, plan.heeded, plan.heeds)
    plan.check_data()
    plan.check_weights()
    return plan


@dataclass(frozen=True)
class Parts:
    """The parts that every command needs, and functions that make the parts of some stages."""

    command: Command
    kinds: Sequence[StageKind]
    make: Callable[[str], Any]
    budget: Budget
    space: Space
    dataset: Data

    def searching(self) -> dict[str, Any]:
        """Return strategy, task, selector and engine, as far as the stages need them."""
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
        """Return the recipes of training stages, and the layout in which limits are counted."""
        parts: dict[str, Any] = dict.fromkeys(("retrain", "layout", "transfer", "transfer_dataset"))
        if any(kind.trains for kind in self.kinds):
            refuse_retraining(self.command.composed.choices, self.space, self.dataset)
        if RETRAIN in self.kinds:
            parts["retrain"] = self.make("retrain")
        if self.kinds == (TRANSFER,):
            refuse_limits_of_transfer(self.budget)
        if self.budget.limited:  # limits are those of the retrained network for every verb
            parts["layout"] = (parts["retrain"] or self.make("retrain")).layout
        if TRANSFER in self.kinds:
            parts["transfer_dataset"] = self.make("transfer.dataset")
            parts["transfer"] = self.make("transfer")
        for kind in (RETRAIN, TRANSFER):
            refuse_first_weights(kind, parts[kind.name], self.kinds)
        return parts


def _refuse_idle_sizes(
    command: Command, kinds: Sequence[StageKind], space: Space, source: Source | None
) -> None:
    """Refuse typed sizes on which nothing that the command makes depends.

    The searches of a sweep share their scale, so it may be idle in one of them; that of a run's
    search is known to be equal. Without a search, a space only tells which genotypes it has.
    """
    shared = {*SCALE}
    if source is None:
        shared = shared - {"alpha_lr"} if SEARCH in kinds else set()
    own = [override for override in command.typed if key_of(override) not in shared]
    made = [*(kind.made_of for kind in kinds), "dataset"]
    other = ("space", "task") if SEARCH in kinds else (f"space.{key}" for key in space.bounded_by)
    refuse_idle_keys(own, command.composed, [*made, *other])


def _nodes(
    config: DictConfig, kinds: Sequence[StageKind], *, limited: bool
) -> dict[str, dict[str, Any]]:
    """Return the resolved nodes to build, by their keys; transfer's data set has its own key."""
    groups = ["budget", "space", "dataset"]
    if SEARCH in kinds or SELECT in kinds:
        groups += ["task", "strategy", "engine"]
    groups += [kind.made_of for kind in kinds if kind != SEARCH]
    if limited:
        groups.append(RETRAIN.name)
    nodes = {group: configuration.resolve(config[group]) for group in groups}
    if config.get("tracker") is not None:
        nodes |= {
            f"tracker.{name}": node
            for name, node in configuration.resolve(config["tracker"]).items()
        }
    if TRANSFER in kinds:
        nodes["transfer.dataset"] = nodes["transfer"].pop("dataset", None)
    return nodes


def _settings(config: DictConfig, kinds: Sequence[StageKind], budget: Budget) -> dict[str, Any]:
    """Return the groups that a run records, resolved, with absolute paths of data and tables."""
    settings = {
        group: configuration.resolve(config[group])
        for group in ("space", "strategy", "dataset", "task", "selector", "retrain")
        if config.get(group) is not None
    }
    settings["budget"] = budget.resolved
    settings["dataset"] = placed(settings["dataset"])
    settings["space"].pop("table", None)  # only for reports: the search does not depend on it
    if TRANSFER in kinds:
        transfer = configuration.resolve(config["transfer"])
        settings["transfer"] = {**transfer, "dataset": placed(transfer["dataset"])}
    return located(settings)


def _architecture(frame: Frame, choices: dict[str, str], space: Space) -> dict[str, Any]:
    """Return the architecture that `genotype=` means in the space, and its name."""
    if frame.genotype is None:
        return {"genotype_name": None, "genotype": None}
    given = Given.find(frame.genotype)
    if given.drawn:
        from nasrun.spaces.base import DrawnSpace

        refuse_incapable(f"genotype={given.name}", DrawnSpace, choices, space)
    genotype = given.within(space, choices["space"], frame.seed)
    return {"genotype_name": given.short, "genotype": genotype}


def configured(command: Command, source: Source | None) -> DictConfig:
    """Return the configuration with inherited settings; ValueError for words without effect."""
    verb, config = command.verb, command.composed.config
    refuse_idle(verb, command.typed, limited=_limited(verb, config, source))
    if source is not None:
        refuse_other(config, command.typed, source.run)
        inherit(config, command.typed, source.run)
    frame = configuration.frame(config)
    if frame.genotype is not None and source is None:
        refuse_search(command.typed)
    import_trusted(command.trusted)
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
    """Return whether the command, or the search that it continues, limits the network's costs."""
    budgets = [config.get("budget") or {}]
    if verb == SEARCH.name and source is not None:
        budgets.append(source.run.config["budget"])
    return any(budget.get(key) is not None for budget in budgets for key in LIMITS)
