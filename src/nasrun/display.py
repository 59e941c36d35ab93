"""What a user watches: a live line while a stage runs, plain lines where no terminal is, tables."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, track
from rich.table import Column, Table
from rich.text import Text

from nasrun.machine import memory_gib
from nasrun.shown import shown
from nasrun.stage import Metrics, Observer, Stage

SHOWN = {
    "train_loss": "loss",
    "penalty": "penalty",
    "validation_accuracy": "val",
    "best_validation_accuracy": "best",
    "entropy": "H",
    "entropy_normal": "H(normal)",
    "entropy_reduce": "H(reduce)",
    "changed_edges": "changed",
    "skip_share": "skip",
    "decided": "decided",
    "best_score": "best",
    "median_score": "median",
    "worst_score": "worst",
    "children": "children",
    "child_gain": "child gain",
}
Item = TypeVar("Item")
BARS = "▁▂▃▄▅▆▇█"


def summary(metrics: Metrics) -> str:
    """The metrics worth a glance, on one line."""
    parts = []
    for key, name in SHOWN.items():
        if key not in metrics:
            continue
        value = metrics[key]
        if key.endswith("accuracy"):
            text = percent(value)
        elif key == "skip_share":
            text = f"{value:.0%}"
        elif key in ("changed_edges", "decided", "children"):
            text = f"{value:.0f}"
        else:
            text = f"{value:.3f}"
        parts.append(f"{name} {text}")
    for key in metrics.keys() - SHOWN.keys():
        if f"best_{key}" in metrics:  # a score by a name of its own
            parts.append(f"{key} {metrics[key]:.4g}  best {metrics[f'best_{key}']:.4g}")
    if scores := [value for key, value in metrics.items() if re.fullmatch(r"score_\d+", key)]:
        parts.append(bars(scores))
    return "  ".join(parts)


def bars(scores: Sequence[float]) -> str:
    """A bar for each of a population's scores, in the members' order; a blank for one diverged.

    Bars span from the lowest quarter of the scores to the best.
    """
    known = sorted(score for score in scores if math.isfinite(score))
    if not known:
        return ""
    low, high = known[len(known) // 4], known[-1]
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    places = [round(max(0.0, score - low) * scale) if math.isfinite(score) else -1
              for score in scores]  # fmt: skip
    return "".join(BARS[place] if place >= 0 else " " for place in places)


def percent(fraction: float | None) -> str:
    """A fraction as percent, a dash for None."""
    return "-" if fraction is None else f"{100 * fraction:.2f}%"


def storage(gib: float) -> str:
    """A size in GiB, in MiB where it is less than one."""
    return f"{gib:.2f} GiB" if gib >= 1 else f"{1024 * gib:.1f} MiB"


def duration(seconds: float | None) -> str:
    """Seconds as a person would say them."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


class Pace:
    """How quickly a stage's rounds go by, from when it begins here."""

    def __init__(self, stage: Stage) -> None:
        self.started, self.first, self.rounds = time.monotonic(), stage.round, stage.rounds

    def left(self, done: float) -> str:
        """How long the rounds that are left will take, after so many."""
        each = (time.monotonic() - self.started) / (done - self.first)
        return duration(each * (self.rounds - done))


class Lines(Observer):
    """One plain line a round, for logs and pipes."""

    def __init__(self, console: Console, title: str) -> None:
        self.console, self.title = console, title

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *exception: object) -> None: ...

    def begin(self, stage: Stage, settings: dict[str, Any]) -> None:
        self.pace = Pace(stage)
        if 0 < stage.round < stage.rounds:
            self.console.print(f"{self.title}  continues after round {stage.round}", markup=False)

    def step(self, done: int, total: int) -> None: ...

    def round(self, stage: Stage, metrics: Metrics) -> None:
        self.console.print(
            f"{self.title}  round {stage.round}/{stage.rounds}  {summary(metrics)}  "
            f"left {self.pace.left(stage.round)}  mem {memory_gib():.2f} GiB",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    def finish(self, result: dict[str, Any]) -> None: ...

    def fail(self, error: BaseException) -> None: ...


class Live(Observer):
    """A bar over the rounds with the last metrics, redrawn in place, for terminals.

    What a narrow terminal has no room for are metrics.
    """

    def __init__(self, console: Console, title: str) -> None:
        self.title = title
        self.bar = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[position]}"),
            TextColumn("left {task.fields[left]}"),
            TextColumn("{task.fields[memory]}"),
            TextColumn(
                "{task.fields[metrics]}",
                style="cyan",
                markup=False,
                table_column=Column(no_wrap=True, ratio=1),
            ),
            console=console,
            expand=True,
        )

    def __enter__(self) -> Live:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def begin(self, stage: Stage, settings: dict[str, Any]) -> None:
        self.done = stage.round
        self.rounds = stage.rounds
        self.pace = Pace(stage)
        self.task = self.bar.add_task(
            self.title,
            total=max(1, stage.rounds),
            completed=stage.round if stage.rounds else 1,
            position=self._position(0.0),
            left="-",
            metrics="",
            memory="",
        )

    def step(self, done: int, total: int) -> None:
        part = min(1.0, done / max(1, total))
        self.bar.update(
            self.task,
            completed=self.done + 0.999 * part,
            position=self._position(part),
            left=self.pace.left(self.done + part),
        )

    def round(self, stage: Stage, metrics: Metrics) -> None:
        self.done = stage.round
        self.bar.update(
            self.task,
            completed=self.done,
            position=self._position(0.0),
            left=self.pace.left(self.done),
            metrics=summary(metrics),
            memory=f"{memory_gib():.2f} GiB",
        )

    def finish(self, result: dict[str, Any]) -> None: ...

    def fail(self, error: BaseException) -> None: ...

    def _position(self, part: float) -> str:
        return f"{min(self.done + part, self.rounds):.1f}/{self.rounds}"


def watch(console: Console, title: str, progress: bool) -> Lines | Live:
    """The display for this console: live on a terminal if wanted, lines otherwise."""
    return Live(console, title) if progress and console.is_terminal else Lines(console, title)


def watched(items: Iterable[Item], text: str, total: int) -> Iterable[Item]:
    """The items, with a bar on standard error while they come, where that is a terminal."""
    console = Console(stderr=True)
    hidden = not console.is_terminal
    return track(items, text, total, console=console, transient=True, disable=hidden)


@contextmanager
def telling() -> Iterator[Callable[[str], None]]:
    """Within, what is going on can be told: a line on standard error, where that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status("") as status:
        yield status.update


def table(
    console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Print a table as it is, nothing in it is markup; numbers to the right."""
    drawn = Table(title=Text(shown(title), "bold"), title_justify="left")
    for position, column in enumerate(columns):
        drawn.add_column(Text(column), justify="left" if position < 2 else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text("\n".join(map(shown, str(cell).split("\n")))) for cell in row))
    console.print(drawn)
