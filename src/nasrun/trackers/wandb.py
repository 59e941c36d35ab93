"""Weights & Biases: one run per nasrun run, online or offline.

W&B's own process keeps what is logged on disk and sends it, so `run.log` waits for no server. What
has been logged is noted beside it, since an offline run cannot be asked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING, Any, Literal

from nasrun.files import read_json, write_json
from nasrun.stage import Metrics
from nasrun.trackers.base import (
    PATIENCE,
    Ending,
    SavedRound,
    StageEnd,
    TrackedRun,
    Tracker,
    require,
)

if TYPE_CHECKING:
    import wandb

NOTED = "logged.json"


class WandB(Tracker):
    """A run in a W&B project; `mode=None` is `WANDB_MODE`, else online."""

    def __init__(
        self, *, project: str, entity: str | None, mode: Literal["online", "offline"] | None
    ) -> None:
        self.project, self.entity, self.mode = project, entity, mode
        self._run: wandb.Run | None = None
        self._stages: set[str] = set()

    def check(self) -> None:
        require("wandb", "wandb")
        if (self.mode or os.environ.get("WANDB_MODE", "online")) != "online":
            return
        import wandb

        if not wandb.login(prompt=False, verify=False):
            raise ValueError(
                "tracker=wandb: not logged in; type `wandb login`, or tracker.wandb.mode=offline"
            )

    def open(self, run: TrackedRun) -> Metrics:
        self._tracked, self._notes = run, run.folder / "wandb" / NOTED
        self._noted: dict[str, float] = {}
        if self._notes.exists():
            noted = read_json(self._notes)
            if noted.pop("project") == [self.entity, self.project]:
                self._noted = noted
        return self._noted

    def describe(self, stage: str, settings: Mapping[str, Any]) -> None:
        self._begun.config.update(dict(settings), allow_val_change=True)

    def log(self, stage: str, rounds: Sequence[SavedRound]) -> None:
        if stage not in self._stages:
            self._begun.define_metric(f"{stage}/*", step_metric=f"{stage}/round")
            self._stages.add(stage)
        for each in rounds:
            self._begun.log(dict(each.numbers))
        self._note(rounds[-1].numbers)

    def conclude(self, stage: str, end: StageEnd) -> None:
        import wandb

        if end.pictures:
            pictures = {f"{stage}/{path.stem}": wandb.Image(str(path)) for path in end.pictures}
            self._begun.log(pictures)
        if end.genotype is not None:
            written, file = end.genotype
            self._begun.summary[f"{stage}/genotype"] = written
            kept = Path(self._begun.dir, stage, file.name)
            kept.parent.mkdir(parents=True, exist_ok=True)
            copyfile(file, kept)
            self._begun.save(str(kept), base_path=self._begun.dir, policy="now")
        self._begun.summary.update(dict(end.numbers))
        self._note(end.numbers)

    def close(self, ending: Ending) -> None:
        if self._run is not None:
            run, self._run = self._run, None
            run.finish(exit_code=0 if ending == "finished" else 1)

    @property
    def _begun(self) -> wandb.Run:
        """The W&B run, begun or continued."""
        import wandb

        if self._run is None:
            tracked = self._tracked
            settings = wandb.Settings(
                mode=self.mode,
                silent=True,
                console="off",
                init_timeout=PATIENCE,
                finish_timeout=PATIENCE,
                finish_timeout_raises=True,
                x_disable_stats=True,
            )
            self._run = wandb.init(
                project=self.project,
                entity=self.entity,
                id=tracked.mark,
                name=tracked.name,
                group=tracked.sweep or None,
                resume="allow",
                reinit="create_new",
                dir=str(tracked.folder),
                config={**tracked.settings, "made": dict(tracked.facts)},
                settings=settings,
            )
            self._stages.clear()
        return self._run

    def _note(self, numbers: Metrics) -> None:
        """Note what has been logged, for a later command."""
        self._noted.update(numbers)
        write_json(self._notes, {"project": [self.entity, self.project], **self._noted})
