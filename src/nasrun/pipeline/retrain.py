"""Retraining of the chosen architecture, and of a random one in the same way."""

from __future__ import annotations

from collections.abc import Iterator

from nasrun.config.stages import RETRAIN
from nasrun.genotype import fingerprint
from nasrun.pipeline.training import train, warn_of_other_layout
from nasrun.pipeline.work import Chosen, Work
from nasrun.runs.stage_folder import StageFolder


def perform(work: Work) -> Iterator[StageFolder]:
    """Train the choice; the random architecture's training is not a result of the command."""
    plan = work.plan
    if work.selected is not None:
        warn_of_other_layout(plan, work.selected)
    trained = train(work, RETRAIN, work.chosen, work.ready_training)
    yield trained  # it is done, whatever becomes of the other one
    if plan.baseline:
        rival = Chosen("random", plan.rival, fingerprint(plan.rival.to_json()))
        train(work, RETRAIN, rival, None)
