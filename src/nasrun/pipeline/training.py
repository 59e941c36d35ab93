"""Retraining and transfer: training one architecture from scratch, and testing it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from nasrun.config.stages import RETRAIN, TRANSFER, StageKind
from nasrun.data.contents import Contents
from nasrun.display import say
from nasrun.files import digest_of
from nasrun.genotype import Genotype
from nasrun.pipeline.plan import Plan, transfer_keys
from nasrun.pipeline.work import Chosen, Work
from nasrun.retrain import Retrain
from nasrun.runs.differences import differing, settings, told
from nasrun.runs.recorded import identity
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder
from nasrun.spaces.layout import layout_of


def train(work: Work, kind: StageKind, chosen: Chosen, ready: Retrain | None) -> StageFolder:
    """Run a stage that trains one genotype, unless that is done."""
    plan, name = work.plan, chosen.branch
    if kind is TRANSFER:
        name = f"{name}-{plan.choices['dataset@transfer.dataset']}"
    own = {
        kind.name: _by_content(plan.settings[kind.name]),
        "budget": plan.settings["budget"],
        "source": chosen.branch,
        "genotype": chosen.genotype.to_json(),
    }
    theirs = None
    if kind is TRANSFER:
        assert plan.transfer_dataset is not None
        theirs = plan.transfer_dataset.contents()
    earlier = _earlier(work.run, kind, own, chosen.mark, theirs) if plan.extend else None
    if earlier is not None:
        own["extend"] = earlier.branch
    folder = work.run.branch(kind.name, name, own, chosen.mark, theirs, earlier)
    if earlier is None:
        work.tell_why_new(folder, own)
    elif not folder.begun:
        earlier.last_state()  # if it is gone, say so before anything of the new one exists
        say(work.console, f"{folder.title}: continues where {earlier.branch} ended")
    return work.drive(folder, lambda: ready or begin_training(plan, kind, chosen.genotype))


def _by_content(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a training with the digest of its first weights for their path."""
    if settings.get("weights") is None:
        return dict(settings)
    return {**settings, "weights": digest_of(Path(settings["weights"]))[:16]}


def _refuse_other_architecture(kind: StageKind, weights: Path, genotype: Genotype) -> None:
    """Refuse the weights of a training of another architecture, if its folder tells which it was.

    Their shapes may be equal, for instance those of two kinds of pooling.
    """
    theirs = None
    with suppress(ValueError):  # the file may lie in any folder
        theirs = StageFolder(weights.resolve().parent, "").config.get("genotype")
    if theirs is not None and theirs != genotype.to_json():
        raise ValueError(
            f"{kind.name}.weights={weights}: these weights are of another architecture than the "
            "one to train; use those of a training of the same one, or give its genotype="
        )


def _earlier(
    run: Run, kind: StageKind, own: Mapping[str, Any], parent: str, contents: Contents | None
) -> StageFolder:
    """Return the longest finished training that differs from `own` only in fewer epochs.

    When an extension is repeated, it is the one that was extended. ValueError if there is none.
    """
    digest = {} if contents is None else {"contents": contents.digest}
    ours, epochs = _but_epochs({**own, **digest, "parent": parent}, kind)
    found: dict[int, StageFolder] = {}
    unlike: list[StageFolder] = []
    for stage in run.stages():
        if stage.kind != kind.name:
            continue
        theirs, length = _but_epochs(stage.config, kind)
        if theirs != ours:
            unlike += [stage] if stage.finished and stage.source == own["source"] else []
            continue
        if length == epochs and (extended := stage.config.get("extend")) is not None:
            return StageFolder(stage.path.parent / extended, "")
        if length < epochs and stage.finished:
            found[length] = stage
    if not found:
        newest = sorted(unlike, key=lambda stage: stage.finished_at)[-1:]
        beside = "".join(_unlike(run, own, stage) for stage in newest)
        raise ValueError(
            f"extend=true: {run.path} has no finished {kind.name} of {own['source']} with fewer "
            f"than {epochs} epochs and otherwise these settings{beside}; leave it out, or give "
            "more epochs"
        )
    return found[max(found)]


def _unlike(run: Run, own: Mapping[str, Any], stage: StageFolder) -> str:
    """Return in which settings, but for its length, a training differs from `own`."""
    ours, theirs = (settings(run.config, each) for each in (own, stage.config))
    keys = [
        key for key in differing([theirs, ours]) if key.split(".")[-1] not in ("epochs", "extend")
    ]
    return f" (beside {stage.branch}: {told(keys, ours, theirs)})" if keys else ""


def _but_epochs(config: Mapping[str, Any], kind: StageKind) -> tuple[dict[str, Any], int]:
    """Return the identity of a training without its length, and its length in epochs."""
    apart = {"fingerprint", "extend"}
    rest = {key: value for key, value in config.items() if key not in apart}
    rest[kind.name] = _without_epochs(config[kind.name])  # a schedule may refer to them
    return identity(rest), int(config[kind.name]["epochs"])


def _without_epochs(config: Any) -> Any:
    if not isinstance(config, Mapping):
        return config
    return {key: _without_epochs(value) for key, value in config.items() if key != "epochs"}


def begin_training(plan: Plan, kind: StageKind, genotype: Genotype) -> Retrain:
    """Return the recipe with its data and its network."""
    (space, dataset), stage, limits = plan.recipe, plan.retrain, plan.limits_of(genotype)
    if kind is TRANSFER:
        assert plan.transfer_dataset is not None
        stage, dataset, limits = plan.transfer, plan.transfer_dataset, None
    assert stage is not None
    if stage.weights is not None:
        _refuse_other_architecture(kind, stage.weights, genotype)
    if limits is not None and not limits.allow(genotype):
        raise ValueError(limits.refusal("the network to retrain", genotype))
    plan.streams.enter(kind.name)
    with transfer_keys() if kind is TRANSFER else nullcontext():
        stage.task.begin(dataset, plan.budget)
        stage.begin(plan.context(stage.task, space), genotype)
    return stage


def warn_of_other_layout(plan: Plan, selected: StageFolder) -> None:
    """Warn if a choice within limits is now retrained, without limits, in another layout."""
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
            f"{selected.path}: this selection is within the limits for a network with {had}, but "
            f"this command trains one with {have}; repeat it with {had} to stay within them",
            stacklevel=2,
        )
