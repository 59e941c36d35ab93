"""A stage is a resumable sequence of rounds, and `drive` is THE loop that runs every one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from nasrun.budget import Budget

Metrics = dict[str, float]
"""Named numbers of a round; accuracies are fractions."""

Item = TypeVar("Item")


class Folder(Protocol):
    """Where a stage's state and results lie: `nasrun.runs.run.StageFolder`."""

    def restore(self, stage: Stage) -> None: ...
    def log(self, round: int, metrics: Metrics) -> None: ...
    def save(self, stage: Stage) -> None: ...
    def finish(self, result: dict[str, Any]) -> None: ...


class Display(Protocol):
    """What a user watches while a stage runs: `nasrun.display`."""

    def begin(self, stage: Stage) -> None: ...
    def step(self, done: int, total: int) -> None: ...
    def round(self, stage: Stage, metrics: Metrics) -> None: ...


class Silent:
    """A display that shows nothing."""

    def begin(self, stage: Stage) -> None: ...

    def step(self, done: int, total: int) -> None: ...

    def round(self, stage: Stage, metrics: Metrics) -> None: ...


class Stage(ABC):
    """Something that runs round by round and can stop after any of them.

    The constructor takes and validates settings; a subclass's `begin` gets the data and builds
    what trains. Rounds draw from torch's global random state, which the folder saves.
    """

    round: int = 0
    stopped: str | None = None
    """Why the stage ends before its last round; a round, or a restored state, may set it."""
    display: Display = Silent()
    home: Path
    """The stage's folder, known before its first round; files of its own lie there, named in its
    state."""

    @property
    @abstractmethod
    def rounds(self) -> int:
        """How many rounds the stage has in all."""

    @abstractmethod
    def run_round(self) -> Metrics:
        """Do one round and tell what came out."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything the next round depends on but the random state: tensors, numbers, strings."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of an equally configured stage."""

    @abstractmethod
    def finish(self, folder: Any) -> dict[str, Any]:
        """Write what the stage is for into its folder; returns what `result.json` holds."""

    @property
    def done(self) -> bool:
        """Whether no round is left, or the stage stopped early."""
        return self.stopped is not None or self.round >= self.rounds

    def play(self, display: Display) -> Metrics:
        """One round, its steps shown on this display."""
        self.display = display
        try:
            return self.run_round()
        finally:
            self.display = Silent()

    def track(self, items: Iterable[Item], total: int) -> Iterator[Item]:
        """The items, with the position among `total` shown on the display."""
        return tracked(items, total, self.display)


def tracked(items: Iterable[Item], total: int, display: Display) -> Iterator[Item]:
    """The items, with the position among `total` shown on a display."""
    for position, item in enumerate(items, 1):
        yield item
        display.step(position, total)


class Rehearsal(NamedTuple):
    """One kind of work that lies ahead: so many `rounds` of `play`, and so many times `rest`.

    `play` does one round and shows its steps on a display, to be broken off after a few; `rest` is
    what has no steps, and is called after that. Null is nothing of the kind.
    """

    rounds: float = 0
    play: Callable[[Display], object] | None = None
    rests: float = 0
    rest: Callable[[], object] | None = None


class Foreseen(ABC):
    """What can be known of a begun stage before its first round."""

    @abstractmethod
    def foreseen_bytes(self) -> int:
        """The most bytes that a step will take, by shapes."""

    @property
    def workers(self) -> int:
        """How many other processes will take such steps side by side; 0 where this one does."""
        return 0

    @abstractmethod
    def rehearsals(self) -> Iterator[Rehearsal]:
        """All that lies ahead, kind by kind; the stage is of no other use any more."""


def drive(stage: Stage, folder: Folder, budget: Budget) -> None:
    """Run the rounds that are left, each saved before the next, then finish.

    Raises BudgetSpent between two rounds when the hours are over.
    """
    folder.restore(stage)
    stage.display.begin(stage)
    while not stage.done:
        metrics = stage.run_round()
        stage.round += 1
        folder.log(stage.round, metrics)
        folder.save(stage)
        stage.display.round(stage, metrics)
        if not stage.done:
            budget.check()
    folder.finish(stage.finish(folder))
