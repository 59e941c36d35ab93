"""The bench of the contract tests: it composes and builds everything as the command line does."""

import copy
import io
import shutil
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path

import pytest
from rich.console import Console

from nasrun import config as configuration
from nasrun.data.images import TensorDataset
from nasrun.pipeline.command import Command
from nasrun.pipeline.execution import execute
from nasrun.pipeline.inheriting import inherited_choices
from nasrun.pipeline.preparing import prepare
from nasrun.runs.finding import find_source
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder
from nasrun.strategies.base import PopulationStrategy
from nasrun.tasks.classification import Classification

SMALL = ["rounds=2", "width=2", "depth=3", "batch_size=16", "images=64"]
SMALL += ["space.nodes=1", "space.kept_edges=1", "budget.threads=1", "budget.device=cpu"]
SMALL += ["space.operations=[none,max_pool_3x3,skip_connect,sep_conv_3x3]"]
SMALLER = {
    "strategy.num_candidates": 2,
    "strategy.together": 1,
    "strategy.beam": 1,
    "strategy.population": 1,
    "strategy.tournament": 1,
    "strategy.initial": 1,
    "strategy.draws": 4,
    "strategy.evaluator.epochs": 1,
    "strategy.evaluator.images": 16,
    "strategy.evaluator.reference": 2,
    "strategy.warm_start.scored": 3,
    "strategy.warm_start.evaluator.images": 16,
    "selector.contestants": 2,
    "selector.evaluator.epochs": 1,
    "selector.evaluator.images": 16,
    "strategy.explore.updates": 2,
    "strategy.explore.samples": 2,
    "strategy.size": 4,
    "strategy.children": 1,
    "strategy.parents": 2,
    "strategy.intervals": 2,
    "strategy.patience": 1,
    "strategy.growth.coldest": 0.5,
    "task.steps": 2,
    "task.generator_batch": 8,
    "task.distance.epochs": 1,
    "task.distance.samples": 40,
    "task.distance.report_samples": 40,
    "space.hidden": 8,
    "space.encoder.channels": 2,
    "space.encoder.hidden": 8,
}
"""Settings that make an option small, if it has them."""
TABLE = ["space=nasbench201", "space.table={table}"]
ELSEWHERE = {"evaluator@strategy=tabular": TABLE}
"""Options that need another space than SMALL's, with that space."""


class Stop(Exception):
    """An interruption."""


class Bench:
    """Composes, builds and runs like a command, without output, and can be interrupted."""

    def __init__(self, folders, trusted, outputs, table):
        self.folders = [Path(folder).absolute() for folder in folders]
        self.trusted = tuple(trusted)
        self.outputs = outputs
        self.table = table

    def compose(self, *overrides):
        found = ",".join(f"file://{folder}" for folder in self.folders)
        found = [f"hydra.searchpath=[{found}]"] if found else []
        found.append("engine=serial")
        general = [word for word in overrides if word not in SMALL or word[:6] != "space."]
        composed = composed_once(*general, *found)
        if len(general) < len(overrides) and "nodes" in composed.config.space:
            composed = composed_once(*overrides, *found)
        # else a strategy that has a space of its own: its defaults are small
        config = copy.deepcopy(composed.config)
        shrink(config)
        return replace(composed, config=config)

    def node(self, group, option, *overrides):
        """Return a group's resolved settings with this option."""
        return configuration.resolve(self.compose(f"{group}={option}", *overrides).config[group])

    def plan(self, verb, *overrides, run=None):
        """Return everything that a command needs, built."""
        for option in ELSEWHERE.keys() & set(overrides):
            small = [override for override in overrides if not override.startswith("space.")]
            overrides = [*small, *(word.format(table=self.table) for word in ELSEWHERE[option])]
        typed = [*overrides, "progress=false"]
        path = None if run is None else str(run.path)
        source = None if run is None else find_source(verb, self.outputs, path, None, None)
        given = [] if source is None else inherited_choices(source, typed)
        composed = self.compose(*given, *typed)
        composed.config.outputs = str(self.outputs)
        return prepare(Command(verb, composed, tuple(typed), self.trusted), source)

    def run(self, verb, *overrides, run=None):
        """Run one command with new objects, and return its run.

        No test image may be read before the training of a network that will not change any more: a
        retrained network, or the selected member of a population.
        """
        plan = self.plan(verb, *overrides, run=run)
        ends = {"select"} if isinstance(plan.strategy, PopulationStrategy) else set()
        with pytest.MonkeyPatch.context() as patch:
            if not {"retrain", "transfer", *ends} & {kind.name for kind in plan.kinds}:
                patch.setattr(TensorDataset, "split", split_without_test)
            found, _ = execute(plan, Console(file=io.StringIO()))
        return found

    def interrupted(self, kind, begin, rounds):
        """Run in three parts: stopped after the first round and within the last one."""
        for after, inside in sorted([(1, False), (rounds - 1, True)]):
            with stopped(kind, after=after, inside=inside):
                begin()
        return begin()


split = TensorDataset.split


def split_without_test(dataset, *parts, device):
    """Return the parts of a set; a test fails if it asks for test images."""
    assert "test" not in parts, "test images are read before anything is retrained"
    return split(dataset, *parts, device=device)


@cache
def composed_once(*overrides):
    """Compose the same words only once, since it takes longer than a small search."""
    return configuration.compose(list(overrides))


def shrink(config):
    """Make the settings of a node small."""
    for key, value in SMALLER.items():
        *parents, name = key.split(".")
        node = config
        for parent in parents:
            node = node.get(parent) if node is not None else None
        if node is not None and node.get(name) is not None:
            node[name] = value


@contextmanager
def stopped(kind, *, after, inside):
    """Interrupt a stage once a round is saved, or `inside` the next round."""
    steps = -1
    restore, save, log = StageFolder.restore, StageFolder.save, StageFolder.log
    loss = Classification.loss

    def reached(folder, stage):
        nonlocal steps
        if folder.kind == kind and stage.round == after:
            if not inside:
                raise Stop
            steps = 0

    def restored(folder, stage):
        restore(folder, stage)
        reached(folder, stage)

    def saved(folder, stage):
        save(folder, stage)
        reached(folder, stage)

    def logged(folder, round, metrics):
        if steps >= 0:  # a stage that never asks for a loss
            raise Stop
        log(folder, round, metrics)

    def stepped(task, forward, batch):
        nonlocal steps
        if steps >= 0:
            steps += 1
        if steps == 2:
            raise Stop
        return loss(task, forward, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageFolder, "restore", restored)
        patch.setattr(StageFolder, "save", saved)
        patch.setattr(StageFolder, "log", logged)
        patch.setattr(Classification, "loss", stepped)
        with pytest.raises(Stop):
            yield


def names(config, group):
    """Return the options of a group, including those of --conf."""
    folders = [Path(folder) for folder in config.getoption("--conf")]
    return list(configuration.options(group, folders))


@cache
def settings(config):
    """Return the resolved settings of every strategy and selector, by group and option.

    They are composed together, below one key: composing each of them takes five times as long.
    """
    bench = Bench(config.getoption("--conf"), (), None, None)
    added = [
        f"+{group}@{group}.every.{name}={name}"
        for group in ("strategy", "selector")
        for name in names(config, group)
    ]
    found = bench.compose("space=darts", "task=classification", *added).config
    return {group: configuration.resolve(found[group].every) for group in ("strategy", "selector")}


def pairs(config):
    """Return each selector with two strategies, and each strategy with one selector."""
    folders = [Path(folder).absolute() for folder in config.getoption("--conf")]
    sys.path[:0] = [str(Path.cwd()), *(str(folder.parent) for folder in folders)]

    def target(node):
        module, _, name = node["_target_"].rpartition(".")
        return getattr(import_module(module), name)

    found = settings(config)
    strategies = {name: target(node) for name, node in found["strategy"].items()}
    accepted = {}
    for name, node in found["selector"].items():
        kinds = target(node).accepts
        accepted[name] = [
            strategy for strategy, kind in strategies.items() if issubclass(kind, kinds)
        ]
    return cover(accepted)


def families(config):
    """Return the first strategy of every class."""
    found = {}
    for strategy, node in settings(config)["strategy"].items():
        found.setdefault(node["_target_"], strategy)
    return list(found.values())


def cover(accepted):
    """Return few of the `accepted` pairs (row, column): every row twice, every column once."""
    rows, columns, found = Counter(), Counter(), []

    def take(row, column):
        found.append((column, row))
        rows[row] += 1
        columns[column] += 1

    for column in dict.fromkeys(chain(*accepted.values())):
        choices = [row for row, possible in accepted.items() if column in possible]
        take(min(choices, key=lambda row: (rows[row], len(accepted[row]))), column)
    for row, possible in accepted.items():
        new = sorted((c for c in possible if (c, row) not in found), key=columns.__getitem__)
        for column in new[: max(0, 2 - rows[row])]:
            take(row, column)
    return found


def searches_of(node):
    """Return the settings of every differentiable search that a strategy's node is or contains."""
    if isinstance(node, dict):
        if "level" in node:
            yield node
        for value in node.values():
            yield from searches_of(value)


def levels(config):
    """Return every kind of step of the strategies once: a strategy, and its search's settings."""
    found = {}
    for strategy, node in settings(config)["strategy"].items():
        for search in searches_of(node):
            found.setdefault(str(search), (strategy, search))
    return list(found.values())


def pytest_generate_tests(metafunc):
    for group in configuration.GROUPS:
        if group in metafunc.fixturenames:
            metafunc.parametrize(group, names(metafunc.config, group))
    if "pair" in metafunc.fixturenames:
        found = pairs(metafunc.config)
        metafunc.parametrize("pair", found, ids=["-".join(pair) for pair in found])
    if "family" in metafunc.fixturenames:
        metafunc.parametrize("family", families(metafunc.config))
    if "level" in metafunc.fixturenames:
        found = levels(metafunc.config)
        metafunc.parametrize("level", found, ids=[strategy for strategy, _ in found])


@pytest.fixture
def bench(request, tmp_path, monkeypatch, table, no_pictures):
    """A bench for this test."""
    for name in ("lineage", "shrinking_space"):
        monkeypatch.setattr(f"nasrun.pictures.plots.{name}", lambda *arguments: None)
    folders = request.config.getoption("--conf")
    for folder in ("", *(Path(folder).absolute().parent for folder in folders)):
        monkeypatch.syspath_prepend(folder)
    return Bench(folders, request.config.getoption("--trust"), tmp_path / "outputs", table)


@pytest.fixture
def node(request):
    """Return the resolved settings of a strategy or a selector."""
    return lambda group, option: settings(request.config)[group][option]


@pytest.fixture(scope="session")
def searches(tmp_path_factory):
    """The folder of finished searches for later tests."""
    return tmp_path_factory.mktemp("searches")


@pytest.fixture
def searched(bench, searches):
    """Return copies of finished searches, by strategy."""

    def copied(strategy, *overrides):
        kept = searches / strategy
        if not kept.exists():
            bench.run("search", f"strategy={strategy}", *SMALL, *overrides)
            shutil.move(bench.outputs, kept)
        shutil.copytree(kept, bench.outputs)
        (run,) = Run.all(bench.outputs)
        return run

    return copied


@pytest.fixture
def small():
    """Overrides of a search that takes a second."""
    return list(SMALL)
