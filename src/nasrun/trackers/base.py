"""The interface of a tracker, and what it is told about a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from nasrun.stage import Metrics

Ending = Literal["finished", "stopped", "failed"]
"""How a command ends: with all its stages done, on request or with its hours spent, by an error."""
PATIENCE = 10
"""Seconds after which a call of a server has failed."""


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """A run as a tracker shows it.

    name: such as `digits-darts-darts/v001`. mark: twelve digits that no other run has, the same
    wherever the run's folder lies. sweep: the sweep that the command is a job of, or empty.
    settings: the resolved configuration of the search, flat, with the names of chosen options.
    facts: commit, machine and versions, as `run.json` records them.
    """

    name: str
    mark: str
    folder: Path
    sweep: str
    settings: Mapping[str, Any]
    facts: Mapping[str, str]


@dataclass(frozen=True)
class SavedRound:
    """The numbers of a round, and the time at which it was saved."""

    round: int
    time: float
    numbers: Metrics


@dataclass(frozen=True)
class StageEnd:
    """The end of a stage: its last round, its final numbers, its genotype and its pictures.

    genotype: the architecture as its space writes it, and the file with it; `None` if the stage has
    none.
    """

    round: int
    numbers: Metrics
    genotype: tuple[str, Path] | None
    pictures: Sequence[Path]


class Tracker(ABC):
    """Shows a run in another tool. The whole run is one tracked run, which `open` continues.

    Metrics have whole names, such as `search/validation_accuracy`.

    `check` is called before anything begins. All other methods are called by one thread that no
    stage waits for, and may raise any exception: later everything is tried again, from `open` on.
    """

    @abstractmethod
    def check(self) -> None:
        """Raise ValueError if the tracker cannot be used, such as for a missing package."""

    @abstractmethod
    def open(self, run: TrackedRun) -> Metrics:
        """Find or begin the tracked run, and return the last value of every number that it has.

        It need not send what is there already; if all is there, it writes nothing.
        """

    def spelled(self, name: str) -> str:
        """Return the name under which `open` returns a metric."""
        return name

    @abstractmethod
    def describe(self, stage: str, settings: Mapping[str, Any]) -> None:
        """Add the hyper-parameters of a stage behind the search; they may be there already."""

    @abstractmethod
    def log(self, stage: str, rounds: Sequence[SavedRound]) -> None:
        """Add rounds of a stage."""

    @abstractmethod
    def conclude(self, stage: str, end: StageEnd) -> None:
        """Add the end of a stage, its numbers last: they tell that all of it is there."""

    @abstractmethod
    def close(self, ending: Ending) -> None:
        """Write what is left and end the tracked run, if anything was added to it."""


def require(tracker: str, *packages: str) -> None:
    """Raise ValueError with the pip command if a tracker's package is not installed."""
    for package in packages:
        if find_spec(package) is None:
            raise ValueError(
                f"tracker={tracker}: {package} is missing; pip install 'nasrun[{tracker}]'"
            )
