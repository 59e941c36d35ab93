"""Transfer: training the chosen architecture on another data set."""

from __future__ import annotations

from nasrun.config.stages import TRANSFER
from nasrun.pipeline.training import train
from nasrun.pipeline.work import Work
from nasrun.runs.stage_folder import StageFolder


def perform(work: Work) -> list[StageFolder]:
    """Train the choice on the transfer set."""
    return [train(work, TRANSFER, work.chosen, work.ready_training)]
