"""A stage is a resumable sequence of rounds, and `drive` is THE loop that runs every one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

from nasrun.budget import Budget

Metrics = dict[str, float]
"""Named numbers of a round; accuracies are fractions."""

Item = TypeVar("Item")


Step = Callable[[int, int], None]
"""Told after every step of a round: how many of how many are done."""


def unseen(done: int, total: int) -> None:
    """A step that nobody watches."""


class Folder(Protocol):
    """Where a stage's state and results lie: `nasrun.runs.stage_folder.StageFolder`."""

    path: Path

    @property
    def settings(self) -> dict[str, Any]: ...
    def restore(self, stage: Stage) -> None: ...
    def log(self, round: int, metrics: Metrics) -> None: ...
    def save(self, stage: Stage) -> None: ...
    def finish(self, result: dict[str, Any]) -> None: ...


class Observer(ABC):
    """Who watches a stage run: the display, and whatever keeps its own record of runs."""

    @abstractmethod
    def begin(self, stage: Stage, settings: dict[str, Any]) -> None:
        """The stage goes on from its last saved round, configured like this."""

    @abstractmethod
    def step(self, done: int, total: int) -> None:
        """`done` of `total` steps of the running round are done."""

    @abstractmethod
    def round(self, stage: Stage, metrics: Metrics) -> None:
        """A round is done and saved."""

    @abstractmethod
    def finish(self, result: dict[str, Any]) -> None:
        """The stage is done; its result is written."""

    @abstractmethod
    def fail(self, error: BaseException) -> None:
        """The stage ends before it is done: by an error, an interruption, or a spent budget."""


class Stage(ABC):
    """Something that runs round by round and can stop after any of them.

    The constructor takes and validates settings; a subclass's `begin` gets the data and builds
    what trains. Rounds draw from torch's global random state, which the folder saves.
    """

    round: int = 0
    stopped: str | None = None
    """Why the stage ends before its last round; a round, or a restored state, may set it."""
    home: Path
    """The stage's folder, known before its first round; files of its own lie there, named in its
    state."""
    largest: Mapping[str, float] = MappingProxyType({})
    """How large a logged number can be, by its name, where that is worth knowing."""
    step: Step = staticmethod(unseen)
    """Receives the steps of a round."""

    def enter(self, home: Path, step: Step = unseen) -> None:
        """Take the folder that the rounds run in, and who is told of their steps."""
        self.home = home
        self.tell(step)

    def tell(self, step: Step) -> None:
        """Tell the steps of the rounds to come there."""
        self.step = step

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

    def play(self, step: Step) -> Metrics:
        """One round whose steps are reported to `step`."""
        before, self.step = self.step, step
        try:
            return self.run_round()
        finally:
            self.step = before

    def track(self, items: Iterable[Item], total: int) -> Iterator[Item]:
        """The items, with the position among `total` told to whoever watches."""
        return tracked(items, total, self.step)


def tracked(items: Iterable[Item], total: int, step: Step) -> Iterator[Item]:
    """The items, with the position among `total` told after each."""
    for position, item in enumerate(items, 1):
        yield item
        step(position, total)


class Rehearsal(NamedTuple):
    """One kind of work that lies ahead: so many `rounds` of `play`, and so many times `rest`.

    `play` does one round and tells of its steps, to be broken off after a few; `rest` is what has
    no steps, and is called after that. Both may be called several times. `None` is nothing of the
    kind.
    """

    rounds: float = 0
    play: Callable[[Step], object] | None = None
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
        """All that lies ahead, kind by kind; the stage cannot be used afterwards."""


def drive(stage: Stage, folder: Folder, budget: Budget, observers: Sequence[Observer] = ()) -> None:
    """Run the rounds that are left, each saved before the next, then finish.

    Raises BudgetSpent between two rounds when the hours are over.
    """

    def step(done: int, total: int) -> None:
        for observer in observers:
            observer.step(done, total)

    stage.enter(folder.path, step)
    folder.restore(stage)
    for observer in observers:
        observer.begin(stage, folder.settings)
    try:
        while not stage.done:
            metrics = stage.run_round()
            stage.round += 1
            folder.log(stage.round, metrics)
            folder.save(stage)
            for observer in observers:
                observer.round(stage, metrics)
            if not stage.done:
                budget.check()
        result = stage.finish(folder)
        folder.finish(result)
    except BaseException as error:
        for observer in observers:
            observer.fail(error)
        raise
    for observer in observers:
        observer.finish(result)
