"""Opens a finished run: its trained network, or its strategy at the end of the search."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun import config as configuration
from nasrun.budget import ARITHMETIC
from nasrun.config import build, build_all, import_trusted
from nasrun.config.stages import KINDS, RETRAIN, SEARCH, SELECT, TRANSFER
from nasrun.context import Context
from nasrun.data.contents import placed
from nasrun.genotype import Genotype
from nasrun.machine import devices
from nasrun.runs.finding import find_run
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder
from nasrun.streams import Streams

if TYPE_CHECKING:
    from nasrun.runs.network import TrainedNetwork
    from nasrun.strategies.base import Strategy

PREFERRED = (SELECT.name, TRANSFER.name, RETRAIN.name)
"""Stages with trained networks; of several in a run, a later one here is loaded."""


def trained_folder(path: Path, branch: str | None, *, searched: bool = False) -> StageFolder:
    """Return the finished retraining or transfer at `path`, or the newest or a branch in a run.

    With `searched`, also a selection whose classifier the search has trained.
    """
    run = find_run(str(path))
    begun = [
        stage
        for stage in run.stages()
        if KINDS[stage.kind].trains or (searched and _classifies(stage))
    ]
    if path.resolve() != run.path.resolve():
        begun = [stage for stage in begun if stage.path.resolve() == path.resolve()]
        if not begun:
            raise ValueError(
                f"run={path}: is no training; name the run or a folder of retrain/ or transfer/"
            )
    trained = [stage for stage in begun if stage.finished]
    if branch is not None:
        found = [stage for stage in trained if stage.branch == branch]
        if not found:
            names = ", ".join(stage.branch for stage in trained) or "none"
            raise ValueError(f"branch={branch}: no such training in {path}; there are {names}")
        trained = found
    elif torn := [stage.path for stage in begun if not stage.finished and stage.trained]:
        raise ValueError(
            f"{torn[0] / 'result.json'}: missing beside the weights; repeat the command that "
            "trained them, which writes it, or name another by branch="
        )
    chosen = [each for each in trained if each.kind == SELECT.name or each.source != "random"]
    found = chosen or trained
    if not found:
        if kept := sorted(run.path.glob(f"{SELECT.name}/*/weights.safetensors")):
            raise ValueError(
                f"run={path}: nothing is retrained there, and the search has trained no classifier "
                f"that can be loaded; read the weights from {kept[-1]}"
            )
        raise ValueError(f"run={path}: nothing trained there; type `nasrun retrain` first")
    return max(found, key=lambda stage: (PREFERRED.index(stage.kind), stage.finished_at))


def _classifies(stage: StageFolder) -> bool:
    """Return whether a selection has a trained classifier; earlier versions did not say so."""
    return stage.kind == SELECT.name and stage.finished and "data" in stage.result


def load_search(run: str | Path, trust: Sequence[str] = (), root: str | None = None) -> Strategy:
    """Return the strategy of a finished search in its final state, with its space and data.

    `run` is a run's folder; `trust` lists the packages outside nasrun that its configuration names.
    `root` is the place of its data if they were moved, which are compared by their contents. On a
    machine without the run's device, it computes by the budget's defaults, with a warning.
    """
    found = find_run(str(Path(run).expanduser()))
    if not found.search().finished:
        raise ValueError(f"run={run}: no finished search there; type `nasrun search` first")
    import_trusted(trust)
    from nasrun.engines.local import Serial  # not above: it imports torch

    config = found.config
    nodes = {key: config[key] for key in ("space", "dataset", "task", "strategy")}
    nodes["dataset"] = moved(nodes["dataset"], root)
    nodes["budget"] = _budget_here(run, config["budget"])
    space, dataset, task, strategy, budget = build_all(nodes, trust).values()
    budget.apply()
    found.refuse_other(dataset.contents())
    streams = Streams(config["seed"])
    streams.enter(SEARCH.name)
    task.begin(dataset, budget)
    strategy.begin(Context(space=space, task=task, budget=budget, streams=streams, engine=Serial()))
    found.search().load(strategy)
    return strategy


def moved(dataset: Mapping[str, Any], root: str | None) -> dict[str, Any]:
    """Return the settings of a data set at another place; ValueError if it has no place."""
    if root is None:
        return dict(dataset)
    if "root" not in dataset:
        raise ValueError(f"dataset.root={root}: these data lie in no folder; leave it out")
    return placed({**dataset, "root": root})


def _budget_here(run: str | Path, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's budget, with the default arithmetic if this machine lacks its device."""
    defaults = configuration.resolve(configuration.compose([]).config["budget"])
    budget = {**defaults, **recorded}
    if budget["device"] in ("auto", *devices()):
        return budget
    warnings.warn(
        f"run={run}: this machine has no device={budget['device']}, on which it was searched; "
        "another one measures it, so that numbers may differ a little",
        stacklevel=3,
    )
    return budget | {key: defaults[key] for key in ARITHMETIC}


def load(run: str | Path, branch: str | None = None, trust: Sequence[str] = ()) -> TrainedNetwork:
    """Return the trained network of a run with its preprocessing, in evaluation mode on the CPU.

    `run` is a run's folder, or one of its `retrain/` or `transfer/` folders, or a selection in it
    whose classifier the search has trained; `branch` names one of several. `trust` lists the
    packages outside nasrun that the run's configuration names.
    """
    from nasrun.runs.network import TrainedNetwork

    folder = trained_folder(Path(run).expanduser(), branch, searched=True)
    import_trusted(trust)
    space = Run.open(folder.path.parents[1]).config["space"]
    if folder.kind == SELECT.name:
        space = build(space, "space", trust)
        genotype = space.check(Genotype.read(folder.path / "genotype.json"))
        return TrainedNetwork.restore(folder, space, genotype, None)
    own = folder.config
    recipe = {key: value for key, value in own[folder.kind].items() if key != "dataset"}
    space, stage = build_all({"space": space, folder.kind: recipe}, trust).values()
    genotype = space.check(Genotype.from_json(own["genotype"]))
    return TrainedNetwork.restore(folder, space, genotype, stage.layout)
