"""The display of a running stage: a live line, or plain lines without a terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.control import Control
from rich.live import Live as Redrawn
from rich.progress import track
from rich.segment import ControlType
from rich.text import Text

from nasrun.display.tables import Exhibit, table
from nasrun.display.words import Said, duration, said, summary
from nasrun.machine import memory_gib
from nasrun.stage import Metrics, Observer, Stage

Item = TypeVar("Item")
OFTEN = 0.1
"""Seconds between two drawings of the live line."""
SELDOM = 1.0
"""Seconds between two plain lines."""
BAR = 20
ECHO = 3
"""Columns left free for a terminal's ^C, which would break a full line."""


def say(console: Console, text: str) -> None:
    """Print a line as it is; only a terminal folds it."""
    console.print(text, highlight=False, markup=False, soft_wrap=not console.is_terminal)


def tell(console: Console, told: Iterable[Exhibit | str]) -> None:
    """Print tables, and lines of text."""
    for each in told:
        if isinstance(each, Exhibit):
            table(console, each.title, each.columns, each.rows)
        else:
            say(console, each)


class Pace:
    """The time per round of a stage since it began here."""

    def __init__(self, stage: Stage) -> None:
        self.started, self.first, self.stage = time.monotonic(), stage.round, stage

    def left(self, done: float) -> str:
        """Return how long the remaining rounds will take after `done` rounds."""
        each = (time.monotonic() - self.started) / (done - self.first)
        return duration(each * (self.stage.rounds - done))


class Lines(Observer):
    """A plain line per round, for logs and pipes; at most one per second, and the last one."""

    def __init__(self, console: Console, title: str) -> None:
        self.console, self.title = console, title
        self.waiting, self.printed = "", -math.inf

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *exception: object) -> None: ...

    def begin(self, stage: Stage, settings: dict[str, Any]) -> None:
        self.pace = Pace(stage)
        if 0 < stage.round < stage.rounds:
            self.console.print(f"{self.title}  continues after round {stage.round}", markup=False)

    def step(self, done: int, total: int) -> None: ...

    def round(self, stage: Stage, metrics: Metrics) -> None:
        self.waiting = (
            f"{self.title}  round {stage.round}/{stage.rounds}  {summary(metrics, stage.largest)}  "
            f"left {self.pace.left(stage.round)}  mem {memory_gib():.2f} GiB"
        )
        if time.monotonic() - self.printed >= SELDOM:
            self._print()

    def finish(self, result: dict[str, Any]) -> None:
        self._print()

    def fail(self, error: BaseException) -> None:
        self._print()

    def _print(self) -> None:
        if self.waiting:
            self.console.print(self.waiting, markup=False, highlight=False, soft_wrap=True)
            self.waiting, self.printed = "", time.monotonic()


class Live(Observer):
    """A bar over the rounds with the last metrics, redrawn in place, for terminals.

    On a narrow terminal the line omits memory first, then metrics, and the accuracy last.
    """

    def __init__(self, console: Console, title: str) -> None:
        self.console, self.title = console, title
        self.metrics: list[Said] = []
        self.memory = self.left = ""
        self.done, self.rounds, self.part = 0, 0, 0.0
        self.drawn, self.length = -math.inf, 0
        self.redrawn = Redrawn(console=console, auto_refresh=False, get_renderable=self._line)

    def __enter__(self) -> Live:
        self.redrawn.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.redrawn.stop()

    def begin(self, stage: Stage, settings: dict[str, Any]) -> None:
        self.done, self.rounds, self.pace = stage.round, stage.rounds, Pace(stage)
        self.left = "left -" if stage.rounds else "at work"
        self.draw()

    def step(self, done: int, total: int) -> None:
        if not self.rounds:
            return
        self.part = min(0.999, done / max(1, total))
        self.left = f"left {self.pace.left(self.done + self.part)}"
        if time.monotonic() - self.drawn >= OFTEN:
            self.draw()

    def round(self, stage: Stage, metrics: Metrics) -> None:
        self.done, self.rounds, self.part = stage.round, stage.rounds, 0.0
        self.left = f"left {self.pace.left(self.done)}"
        self.metrics = list(said(metrics, stage.largest))
        self.memory = f"{memory_gib():.2f} GiB"
        self.draw()

    def finish(self, result: dict[str, Any]) -> None:
        self.left = "done"
        self.draw()

    def fail(self, error: BaseException) -> None:
        self.left, self.part = "", 0.0  # shows the round after which the same command continues
        self.draw()

    def draw(self) -> None:
        """Redraw the line with the current values."""
        # A terminal that has become narrower has folded the line that it shows.
        folded = -(-self.length // self.console.width) - 1
        if folded > 0:
            up = [(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)]
            self.console.control(Control(*up * folded))
        self.redrawn.refresh()
        self.drawn = time.monotonic()

    def _line(self) -> Text:
        room = self.console.width - ECHO - cell_len(self.title)
        position = f"{math.floor(10 * (self.done + self.part)) / 10:g}/{self.rounds}"
        beside = [text for text in (position if self.rounds else "", self.left) if text]
        room -= sum(1 + cell_len(text) for text in beside)
        kept: set[int] = set()
        for place in sorted(range(len(self.metrics)), key=lambda place: self.metrics[place].rank):
            reserved = 1 + BAR // 2 if self.metrics[place].rank > 1 else 0
            if (size := 2 + cell_len(self.metrics[place].text)) <= room - reserved:
                kept.add(place)
                room -= size
        memory = self.memory if self.memory and 1 + BAR // 2 + 2 + len(self.memory) <= room else ""
        room -= 2 + len(memory) if memory else 0
        bar = min(BAR, room - 1) if self.rounds and room > BAR // 4 else 0
        full = round(bar * (self.done + self.part) / max(1, self.rounds))
        line = Text(self.title, "bold", no_wrap=True, overflow="crop")
        if bar:
            done, ahead = "=-" if self.console.options.ascii_only else "━─"
            line.append(" ", "none").append(done * full, "bar.complete")
            line.append(ahead * (bar - full), "bar.back")
        line.append("".join(f" {text}" for text in beside), "none")
        line.append("".join(f"  {self.metrics[place].text}" for place in sorted(kept)), "cyan")
        line.append(f"  {memory}" if memory else "", "none")
        self.length = line.cell_len
        return line


def watch(console: Console, title: str, progress: bool) -> Lines | Live:
    """Return the display for this console: live on a terminal if `progress`, else lines."""
    return Live(console, title) if progress and console.is_terminal else Lines(console, title)


def watched(items: Iterable[Item], text: str, total: int) -> Iterable[Item]:
    """Yield the items, with a progress bar on standard error if it is a terminal."""
    console = Console(stderr=True)
    hidden = not console.is_terminal
    return track(items, text, total, console=console, transient=True, disable=hidden)


@contextmanager
def telling() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows a status line on standard error if it is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status("") as status:
        yield status.update
