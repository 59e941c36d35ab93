"""Shows a run in its trackers while it is at work, without a stage ever waiting for one.

Each tracker has a thread of its own. The run itself is the queue: the thread asks the tracker what
it has, and sends what it lacks, of the running stage from memory and of finished ones from their
files. So nothing piles up, a tracker that fails loses nothing that a later call or a repeated
command does not send, and a run that is continued is shown once.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

from nasrun.budget import BudgetSpent
from nasrun.config import leaves_but_lists
from nasrun.genotype import fingerprint
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder
from nasrun.stage import Metrics, Observer, Stage
from nasrun.trackers.base import Ending, SavedRound, StageEnd, TrackedRun, Tracker

LAST = 30
"""Seconds that the end of a command waits for its trackers."""
SENT = 500
"""Rounds that are sent at once."""
LONGEST = 200
"""Characters of an error that a warning shows."""
NO_SETTINGS = ("fingerprint", "parent", "genotype", "contents", "files", "budget", "extend")
"""Keys of a later stage's configuration that are no settings of its own."""
NO_NUMBERS = ("finished_ns", "data", "digests", "sizes")
"""Keys of a result with descriptions."""


@dataclass
class Account:
    """A stage to be shown: its saved rounds, `None` while they are only in its files.

    done: whether all its files are written.
    """

    folder: StageFolder
    rounds: list[SavedRound] | None = None
    done: bool = False

    @property
    def stage(self) -> str:
        """The stage as names begin with it: `search`, `retrain/magnitude`."""
        return self.folder.title.replace(" ", "/")

    @property
    def settings(self) -> dict[str, Any]:
        """The stage's own settings, flat, named after it; empty for the search."""
        if not self.folder.branch:
            return {}
        own = {key: x for key, x in self.folder.config.items() if key not in NO_SETTINGS}
        settings = {**own.pop(self.folder.kind, {}), **own}
        return {f"{self.stage}/{key}": value for key, value in flat(settings).items()}

    def all_rounds(self) -> list[SavedRound]:
        """Return the saved rounds; ValueError if they cannot be read."""
        if self.rounds is None:
            self.take(self.folder.metrics())
        assert self.rounds is not None
        return self.rounds

    def take(self, rows: Sequence[Metrics]) -> None:
        """Take over rows of the log as all rounds that are saved."""
        now = time.time()
        self.rounds = [self.logged(row, now) for row in rows]

    def logged(self, row: Metrics, when: float) -> SavedRound:
        """Return a row of the log with whole names."""
        numbers = {f"{self.stage}/{name}": value for name, value in row.items()}
        return SavedRound(int(row["round"]), when, numbers)

    def end(self) -> StageEnd:
        """Return the stage's end; ValueError if its files cannot be read."""
        result = self.folder.result
        numbers = {
            f"result/{self.stage}/{key.replace('.', '/')}": float(value)
            for key, value in leaves_but_lists(
                {k: result[k] for k in result if k not in NO_NUMBERS}
            )
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        file = self.folder.path / "genotype.json"
        text = result.get("genotype")
        return StageEnd(
            round=len(self.all_rounds()),
            numbers=numbers,
            genotype=(text, file) if text is not None and file.exists() else None,
            pictures=sorted(self.folder.path.glob("*.png")),
        )


class Reporter(Observer):
    """Notes the saved rounds of a stage, and wakes the mirrors."""

    def __init__(self, account: Account, mirrors: Mapping[str, Mirror]) -> None:
        self.account, self.mirrors = account, mirrors

    def begin(self, stage: Stage, settings: dict[str, Any]) -> None:
        self.account.take(self.account.folder.saved)

    def step(self, done: int, total: int) -> None: ...

    def round(self, stage: Stage, metrics: Metrics) -> None:
        row = {"round": stage.round, **metrics}
        self.account.all_rounds().append(self.account.logged(row, time.time()))
        for mirror in self.mirrors.values():
            mirror.wake()

    def finish(self, result: dict[str, Any]) -> None: ...

    def fail(self, error: BaseException) -> None: ...


@dataclass
class Tracking:
    """The mirrors of a run during a command."""

    run: Run
    mirrors: Mapping[str, Mirror]
    accounts: dict[Path, Account]

    def observers(self, folder: StageFolder) -> list[Observer]:
        """Return the observers of a stage that is to run."""
        if not self.mirrors:
            return []
        account = self.accounts[folder.path] = Account(folder)
        return [Reporter(account, self.mirrors)]

    def catch_up(self, but: Sequence[str] = ()) -> None:
        """Show the finished stages of the run, except those of these kinds."""
        if not self.mirrors:
            return
        with suppress(ValueError):  # of a damaged branch, which the report names
            for folder in self.run.stages():
                if folder.finished and folder.kind not in but:
                    self.accounts.setdefault(folder.path, Account(folder)).done = True
        for mirror in self.mirrors.values():
            mirror.wake()


@contextmanager
def tracking(trackers: Mapping[str, Tracker], run: Run, sweep: str = "") -> Iterator[Tracking]:
    """Show a run in these trackers in the context, and for at most `LAST` seconds after it."""
    accounts: dict[Path, Account] = {}
    tracked = tracked_run(run, sweep) if trackers else None
    mirrors = {
        name: Mirror(name, tracker, tracked, accounts)
        for name, tracker in trackers.items()
        if tracked is not None
    }
    ending: Ending = "failed"
    try:
        yield Tracking(run, mirrors, accounts)
        ending = "finished"
    except (BudgetSpent, KeyboardInterrupt):
        ending = "stopped"
        raise
    finally:
        for mirror in mirrors.values():
            mirror.end(ending)
        last = time.monotonic() + LAST
        for mirror in mirrors.values():
            mirror.join(last - time.monotonic())


def tracked_run(run: Run, sweep: str) -> TrackedRun:
    """Return what trackers are told about a run."""
    record, config = run.record, run.config
    config.pop("genotype", None)
    config.pop("contents", None)
    config.pop("files", None)
    named = {"genotype": record["genotype"]} if record.get("genotype") else {}
    name = f"{run.path.parent.name}/{run.path.name}"
    made = [record.get(key) for key in ("fingerprint", "created", "machine")]
    facts = {key: record.get(key) for key in ("git", "machine", "python", "created")}
    facts |= {f"versions.{key}": value for key, value in record.get("versions", {}).items()}
    return TrackedRun(
        name=name,
        mark=fingerprint([name, *made]),
        folder=run.path.absolute(),
        sweep=sweep,
        settings={**flat(config), **record["choices"], **named},
        facts={key: str(value) for key, value in facts.items() if value is not None},
    )


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by their dotted keys; a list is one value."""
    found = leaves_but_lists(settings)
    return {key: value for key, value in found if not key.endswith("_partial_")}


class Mirror:
    """Shows a run in one tracker, in a thread of its own.

    After a failure it leaves out one wake-up, then two, four and so on, and at the end it tries
    once more: a server that is gone is asked a few times, however many rounds there are.
    """

    def __init__(
        self, name: str, tracker: Tracker, run: TrackedRun, accounts: Mapping[Path, Account]
    ) -> None:
        self.name, self.tracker, self.run, self.accounts = name, tracker, run, accounts
        self.known: dict[str, float] | None = None
        self.described: set[str] = set()
        self.unread: set[str] = set()
        self.complete: set[str] = set()
        self.failures = self.left_out = 0
        self.told = False
        self.ending: Ending | None = None
        self.news = Event()
        self.thread = Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self.thread.start()

    def wake(self) -> None:
        """Tell that there is something to send."""
        self.news.set()

    def end(self, ending: Ending) -> None:
        """Let it send the rest and close the tracker."""
        self.ending = ending
        self.news.set()

    def join(self, seconds: float) -> None:
        """Wait for its end, but not longer than this."""
        self.thread.join(max(0.0, seconds))
        if self.thread.is_alive():
            self._tell("did not answer in time")

    def _work(self) -> None:
        while True:
            self.news.wait()
            self.news.clear()
            ending = self.ending
            if ending is None and self.left_out:
                self.left_out -= 1
                continue
            try:
                self._send()
                if ending is not None:
                    self.tracker.close(ending)
                self.failures = 0
            except Exception as error:  # noqa: BLE001  whatever a tracker does, the run goes on
                self.known = None
                self.left_out = 2**self.failures
                self.failures += 1
                self._tell(f"{type(error).__name__}: {error}")
            if ending is not None:
                return

    def _send(self) -> None:
        """Send what the tracker lacks."""
        if self.known is None:
            self.known = dict(self.tracker.open(self.run))
            self.described.clear()
        for account in list(self.accounts.values()):
            begun = account.done or account.rounds is not None
            if begun and account.stage not in self.unread:
                self._send_stage(account, self.known)

    def _send_stage(self, account: Account, known: dict[str, float]) -> None:
        stage = account.stage
        if self.tracker.spelled(f"result/{stage}/seconds") in known:
            self._send_amended(account, known)
            return
        last = known.get(self.tracker.spelled(f"{stage}/round"), 0)
        try:
            rounds = [one for one in account.all_rounds() if one.round > last]
            new = not last and stage not in self.described
            settings = account.settings if new else {}
            end = account.end() if account.done else None
        except (ValueError, OSError) as error:
            self.unread.add(stage)
            self._tell(str(error))
            return
        if settings:
            self.tracker.describe(stage, settings)
        self.described.add(stage)
        for start in range(0, len(rounds), SENT):
            sent = rounds[start : start + SENT]
            self.tracker.log(stage, sent)
            known[self.tracker.spelled(f"{stage}/round")] = sent[-1].round
        if end is not None:
            self.tracker.conclude(stage, end)
            known |= {self.tracker.spelled(name): value for name, value in end.numbers.items()}

    def _send_amended(self, account: Account, known: dict[str, float]) -> None:
        """Send the numbers that a result got after its stage was sent, such as a true accuracy."""
        if not account.done or account.stage in self.complete:
            return
        try:
            end = account.end()
        except (ValueError, OSError):
            return  # the run names damaged files itself
        later = {
            name: value
            for name, value in end.numbers.items()
            if self.tracker.spelled(name) not in known
        }
        if later:
            self.tracker.conclude(
                account.stage, replace(end, numbers=later, genotype=None, pictures=[])
            )
            known |= {self.tracker.spelled(name): value for name, value in later.items()}
        self.complete.add(account.stage)

    def _tell(self, reason: str) -> None:
        """Warn once per command."""
        if not self.told:
            self.told = True
            text = " ".join(reason.split())
            text = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
            warnings.warn(
                f"tracker={self.name}: {text}; the run goes on, repeat the command later to send "
                "the rest",
                stacklevel=2,
            )
