"""Retraining and transfer: one architecture trained from scratch, and tested."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from typing import Any

from nasrun.genotype import Genotype
from nasrun.pipeline.layout import layout_of
from nasrun.pipeline.plan import Plan, transfer_keys
from nasrun.pipeline.stages import RETRAIN, TRANSFER, StageKind
from nasrun.pipeline.work import Chosen, Work
from nasrun.retrain import Retrain
from nasrun.runs.randomness import seed_everything
from nasrun.runs.stage_folder import StageFolder


def train(work: Work, kind: StageKind, chosen: Chosen, ready: Retrain | None) -> StageFolder:
    """One stage that trains one genotype, unless that is done."""
    plan, name = work.plan, chosen.branch
    if kind is TRANSFER:
        name = f"{name}-{plan.choices['dataset@transfer.dataset']}"
    own = {
        kind.name: plan.settings[kind.name],
        "budget": plan.settings["budget"],
        "source": chosen.branch,
        "genotype": chosen.genotype.to_json(),
    }
    theirs = None
    if kind is TRANSFER:
        assert plan.transfer_dataset is not None
        theirs = plan.transfer_dataset.contents()
    folder = work.run.branch(kind.name, name, own, chosen.mark, theirs)
    work.tell_why_new(folder, own)
    return work.drive(folder, lambda: ready or begin_training(plan, kind, chosen.genotype))


def begin_training(plan: Plan, kind: StageKind, genotype: Genotype) -> Retrain:
    """The recipe with the data and the network that it trains."""
    (space, dataset), stage, limits = plan.recipe, plan.retrain, plan.limits_of(genotype)
    if kind is TRANSFER:
        assert plan.transfer_dataset is not None
        stage, dataset, limits = plan.transfer, plan.transfer_dataset, None
    assert stage is not None
    if limits is not None and not limits.allow(genotype):
        costs = limits.cost(genotype)
        raise ValueError(
            "; ".join(
                f"budget.{key}={most}: the network to retrain has {costs[key]:.4g}; allow that or "
                "more"
                for key, most in limits.maxima.items()
                if costs[key] > most
            )
        )
    seed_everything(plan.seed, kind.name)
    with transfer_keys() if kind is TRANSFER else nullcontext():
        stage.task.begin(dataset, plan.budget)
        stage.begin(plan.context(stage.task, space), genotype)
    return stage


def warn_of_other_layout(plan: Plan, selected: StageFolder) -> None:
    """Without limits any layout may be trained, but a choice within limits was for one."""
    if plan.retrain is None or plan.layout is not None:
        return
    ours = layout_of(plan.retrain.layout)
    theirs: dict[str, Any] = selected.config.get("layout", ours)
    if theirs != ours:
        had, have = (
            " ".join(f"{RETRAIN.name}.{key}={layout[key]}" for key in ours
                     if ours[key] != theirs[key])
            for layout in (theirs, ours)
        )  # fmt: skip
        warnings.warn(
            f"{selected.path}: limits were counted with {had}; this trains {have}", stacklevel=2
        )
