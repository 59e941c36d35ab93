"""A stage is a resumable sequence of rounds; `drive` is the loop that runs every stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

from nasrun.budget import Budget
from nasrun.streams import Streams

Metrics = dict[str, float]
"""Named numbers of a round; accuracies are fractions."""

Item = TypeVar("Item")


Step = Callable[[int, int], None]
"""Called as `step(done, total)` after every step of a round."""


def unseen(done: int, total: int) -> None:
    """Ignore a step."""


class Folder(Protocol):
    """The folder of a stage's state and results: `nasrun.runs.stage_folder.StageFolder`."""

    path: Path

    @property
    def settings(self) -> dict[str, Any]: ...
    def restore(self, stage: Stage) -> None: ...
    def log(self, round: int, metrics: Metrics) -> None: ...
    def save(self, stage: Stage) -> None: ...
    def finish(self, result: dict[str, Any]) -> None: ...


class Observer(ABC):
    """An object that watches a stage, such as the live display or a tracker of runs."""

    @abstractmethod
    def begin(self, stage: Stage, settings: dict[str, Any]) -> None:
        """Handle the start of the stage at its last saved round; `settings` describe it."""

    @abstractmethod
    def step(self, done: int, total: int) -> None:
        """Handle the end of a step: `done` of the `total` steps of the running round."""

    @abstractmethod
    def round(self, stage: Stage, metrics: Metrics) -> None:
        """Handle the end of a round, which is saved."""

    @abstractmethod
    def finish(self, result: dict[str, Any]) -> None:
        """Handle the end of the stage, whose result is written."""

    @abstractmethod
    def fail(self, error: BaseException) -> None:
        """Handle an early end of the stage: an error, an interruption, or a spent budget."""


class Stage(ABC):
    """A resumable sequence of rounds, which can stop after any of them.

    The constructor validates settings; a subclass's `begin` loads the data and builds networks.
    A round draws from the streams of its context, which are those of the round, or from torch's
    global generator, which is seeded before every round.
    """

    round: int = 0
    stopped: str | None = None
    """Why the stage ends before its last round, or `None`; a round or a restored state sets it."""
    home: Path
    """The stage's folder, known before its first round; the stage's own files in it are named in
    its state."""
    largest: Mapping[str, float] = MappingProxyType({})
    """Largest possible values of logged numbers, by name, for those shown as a share of it."""
    step: Step = staticmethod(unseen)
    """Called after every step of a round."""

    def enter(self, home: Path, step: Step = unseen) -> None:
        """Set the stage's folder, and the function that is called after steps."""
        self.home = home
        self.tell(step)

    def tell(self, step: Step) -> None:
        """Set the function that is called after steps of later rounds."""
        self.step = step

    @property
    @abstractmethod
    def rounds(self) -> int:
        """Total number of rounds."""

    @abstractmethod
    def run_round(self) -> Metrics:
        """Run one round and return its metrics."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next round depends on; random streams begin with a round.

        It consists of tensors, numbers, strings, lists and dicts.
        """

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of a stage with the same configuration."""

    @abstractmethod
    def finish(self, folder: Any) -> dict[str, Any]:
        """Write the stage's results into its folder, and return the content of `result.json`."""

    @property
    def done(self) -> bool:
        """Return whether no round is left, or the stage stopped early."""
        return self.stopped is not None or self.round >= self.rounds

    def play(self, step: Step) -> Metrics:
        """Run one round whose steps are reported to `step`."""
        before, self.step = self.step, step
        try:
            return self.run_round()
        finally:
            self.step = before

    def track(self, items: Iterable[Item], total: int) -> Iterator[Item]:
        """Yield the items, and report each as a step of `total`."""
        return tracked(items, total, self.step)


def tracked(items: Iterable[Item], total: int, step: Step) -> Iterator[Item]:
    """Yield the items, and call `step` after each with its position and `total`."""
    for position, item in enumerate(items, 1):
        yield item
        step(position, total)


class Rehearsal(NamedTuple):
    """A kind of work that can be timed ahead: `rounds` times `play`, and `rests` times `rest`.

    `play` runs one round and reports its steps, so that it can be stopped after a few; `rest` has
    no steps and is called after it. Both may be called several times. `None` means no such work.
    """

    rounds: float = 0
    play: Callable[[Step], object] | None = None
    rests: float = 0
    rest: Callable[[], object] | None = None


class Foreseen(ABC):
    """A stage whose memory and time can be predicted after `begin`, before its first round."""

    @abstractmethod
    def foreseen_bytes(self) -> int:
        """Return the largest number of bytes of a step, by shapes."""

    @property
    def workers(self) -> int:
        """Number of other processes that run such steps side by side; 0 if this one runs them."""
        return 0

    @abstractmethod
    def rehearsals(self) -> Iterator[Rehearsal]:
        """Yield all work ahead by kind; the stage cannot be used afterwards."""


class Divided(ABC):
    """A stage whose work several processes can share: slices of every batch, or candidates."""

    @property
    @abstractmethod
    def smallest_batch(self) -> float | None:
        """Number of images in a batch that is divided, infinite if none is.

        `None` if the work cannot be shared with these settings.
        """


def drive(
    stage: Stage,
    folder: Folder,
    budget: Budget,
    streams: Streams,
    observers: Sequence[Observer] = (),
) -> None:
    """Run the remaining rounds, saving each before the next, and finish the stage.

    `streams` are those of the stage's context, at its beginning. Raises BudgetSpent between two
    rounds when `max_hours` have passed.
    """

    def step(done: int, total: int) -> None:
        for observer in observers:
            observer.step(done, total)

    stage.enter(folder.path, step)
    folder.restore(stage)
    budget.world.share(partial(_place, stage), partial(_go_to, stage))
    for observer in observers:
        observer.begin(stage, folder.settings)
    try:
        while not stage.done:
            streams.at(stage.round)
            metrics = stage.run_round()
            stage.round += 1
            folder.log(stage.round, metrics)
            folder.save(stage)
            for observer in observers:
                observer.round(stage, metrics)
            if not stage.done:
                budget.check()
        streams.at(stage.round)
        result = stage.finish(folder)
        folder.finish(result)
    except BaseException as error:
        for observer in observers:
            observer.fail(error)
        raise
    for observer in observers:
        observer.finish(result)


def _place(stage: Stage) -> tuple[int, dict[str, Any]]:
    return stage.round, stage.state_dict()


def _go_to(stage: Stage, place: tuple[int, dict[str, Any]]) -> None:
    stage.round, state = place
    stage.load_state_dict(state)
