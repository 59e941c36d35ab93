"""The folder of a stage in a process that writes nothing, since another one writes for all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun.stage import Folder, Metrics, Stage

if TYPE_CHECKING:
    from torch import Tensor


class Unwritten(Folder):
    """Keeps a stage's rounds in memory; `path` is a folder for files that nobody reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Metrics] = []

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def restore(self, stage: Stage) -> None:
        """Do nothing: the world shares what the writing process has restored."""

    def metrics(self) -> list[Metrics]:
        return self.rows

    def log(self, round: int, metrics: Metrics) -> None:
        self.rows.append({"round": round, **metrics})

    def save(self, stage: Stage) -> None: ...

    def save_weights(self, tensors: dict[str, Tensor]) -> None: ...

    def write(self, name: str, content: Any) -> None: ...

    def finish(self, result: dict[str, Any]) -> None: ...
