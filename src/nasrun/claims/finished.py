"""The stages and analyses that an arm of a claim has finished, by their folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasrun.runs.environment import environment
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder


@dataclass(frozen=True)
class Finished:
    """The folders of the finished stages and analyses of an arm, in the order of its commands.

    trusted: the packages outside nasrun that its commands name. root: the place of its data,
    `None` for the one that its run has recorded.
    """

    folders: Sequence[Path]
    trusted: Sequence[str] = ()
    root: str | None = None

    @property
    def run(self) -> Run:
        """The run that the first command has made; ValueError if it makes none."""
        return Run.open(self._home)

    @property
    def record(self) -> Mapping[str, Any]:
        """The record of its run; without a run, that of this process."""
        run = Run(self._home)
        if run.exists:
            return run.record
        return {**environment(), "fingerprint": self.folders[0].name}

    def stages(self) -> list[StageFolder]:
        """Return the stages in the order of the commands."""
        there = {stage.path.resolve(): stage for stage in Run(self._home).stages()}
        own = dict.fromkeys(path.resolve() for path in self.folders)
        return [there[path] for path in own if path in there]

    def stage(self, kind: str, option: str | None = None) -> StageFolder | None:
        """Return the stage of a kind, and of an option; the last one of several, or `None`."""
        kinds = [stage for stage in self.stages() if stage.kind == kind]
        found = [stage for stage in kinds if option in (None, stage.option)]
        return found[-1] if found else None

    @property
    def _home(self) -> Path:
        """The folder of its run, whether there is one or not."""
        return StageFolder(self.folders[0], "").run
