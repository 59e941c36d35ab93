"""How long work will take that would take too long to try: a few small steps of it, scaled up.

Where a few real steps are affordable they are taken. Else of every batch only a share of its images
is, and of every pass over a data set only a few batches. A step then takes a + c n seconds for n
images: `a` and `c` come from steps on two shares, and n is that of the whole batch. So it is for a
pass, with `a` per batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from nasrun.data.portion import Portion
from nasrun.stage import Step

FIRST = 1 / 32
"""Of a batch's images in the very first step, which allocates and chooses algorithms."""
LEAST, MOST = 1 / 8, 1 / 2
"""Of a batch's images in the larger of the two steps that are compared, the other has half of them:
on fewer a CPU is less busy for each."""
GROWTH = 0.7
"""The power of its images that a step's seconds are guessed by; 0.6 to 0.7 was measured on CPUs."""
FEW = 2
"""Batches of a pass that is shortened."""
STEPS = 3
"""Steps that count, after one that does not."""


class _Enough(Exception):
    """The steps that are timed are taken."""


@dataclass(frozen=True)
class Tick:
    """After a step: the time, and the images so far, of whole batches and as taken."""

    time: float
    whole: int
    images: int


@dataclass
class Rehearsing:
    """Times work within `seconds` in all; `scaled` says whether any of it was scaled up.

    portion: what the data of the work are walked through by; `None` where all of them are taken.
    """

    portion: Portion | None
    seconds: float
    scaled: bool = False
    started: float = field(default_factory=lambda: time.perf_counter())

    @property
    def allowance(self) -> float:
        """Seconds for the next piece: a fifth of what is left, 1 at least."""
        left = self.seconds - (time.perf_counter() - self.started)
        return max(1.0, left / 5)

    def step(self, play: Callable[[Step], object]) -> tuple[float, int]:
        """Seconds of a step and the steps of a round, which is broken off and may run again."""
        if self.portion is None:
            return self._whole_steps(play)
        allowance = self.allowance
        affordable = allowance / (STEPS + 1)
        first, _, taken = self._steps(play, FIRST, 1)
        if taken in (0, 1) or first / taken**GROWTH <= affordable:
            return self._whole_steps(play)
        share = taken * (affordable / first) ** (1 / GROWTH)
        share = min(MOST, max(LEAST, share))
        few, _, half = self._steps(play, share / 2, 2)
        many, steps, taken = self._steps(play, share, STEPS if share > LEAST else 2)
        whole = _line((half, few), (taken, many))
        if whole <= affordable:
            return self._whole_steps(play)
        self.scaled = True
        return whole, steps

    def rest(self, rest: Callable[[], object]) -> float:
        """Seconds of what has no steps."""
        if self.portion is None:
            return _timed(rest)
        allowance = self.allowance
        first = self._pass(rest, LEAST / 2)
        if self.portion.complete:
            return first.seconds
        if first.guess() > allowance:
            if first.seconds < allowance / 3:  # else it matters little that it allocates
                first = self._pass(rest, LEAST / 2)
            share = first.taken / first.whole * (allowance / first.seconds / 2) ** (1 / GROWTH)
            whole = _plane(first, self._pass(rest, min(MOST, max(LEAST, share))))
            if whole > allowance:
                self.scaled = True
                return whole
        self.portion.take(1.0, None)
        return _timed(rest)

    def _whole_steps(self, play: Callable[[Step], object]) -> tuple[float, int]:
        portion = Portion() if self.portion is None else self.portion
        portion.take(1.0, None)
        ticks, steps = _ticks(play, portion, STEPS + 1)
        return _typical(ticks), steps

    def _steps(
        self, play: Callable[[Step], object], share: float, count: int
    ) -> tuple[float, int, float]:
        """Seconds of a step on a share, the steps of a round, and the share of images taken.

        That is 0 where there are no images.
        """
        assert self.portion is not None
        self.portion.take(share, None)
        ticks, steps = _ticks(play, self.portion, count)
        return _typical(ticks), steps, _share(ticks)

    def _pass(self, rest: Callable[[], object], share: float) -> Pass:
        assert self.portion is not None
        self.portion.take(share, FEW)
        seconds = _timed(rest)
        asked = [sum(each) for each in zip(*self.portion.asked, strict=True)] or [0, 0]
        return Pass(seconds, self.portion.batches, self.portion.images, self.portion.whole, *asked)


@dataclass(frozen=True)
class Pass:
    """A shortened pass: its seconds, batches and images; and what the whole one would have.

    whole: the images of its batches, had all been taken.
    """

    seconds: float
    batches: int
    taken: int
    whole: int
    all_batches: int
    all_images: int

    def guess(self) -> float:
        """Seconds of the whole pass."""
        return self.seconds * self.all_batches / self.batches * (self.whole / self.taken) ** GROWTH


def _ticks(play: Callable[[Step], object], portion: Portion, count: int) -> tuple[list[Tick], int]:
    """The ticks of the first `count` steps, and the number of steps in the round."""
    found = [Tick(time.perf_counter(), portion.whole, portion.images)]
    of_round = 1

    def step(done: int, total: int) -> None:
        nonlocal of_round
        of_round = total
        found.append(Tick(time.perf_counter(), portion.whole, portion.images))
        if len(found) > count:
            raise _Enough

    with suppress(_Enough):
        play(step)
    return found, of_round


def _typical(ticks: Sequence[Tick]) -> float:
    """The median of the steps after the first, or that one."""
    lasted = [after.time - before.time for before, after in pairwise(ticks)]
    return max(median(lasted[1:] or lasted), 1e-9)


def _share(ticks: Sequence[Tick]) -> float:
    """How much of their images the last step took, 0 where it has none."""
    before, after = ticks[-2:]
    whole = after.whole - before.whole
    return (after.images - before.images) / whole if whole else 0.0


def _line(few: tuple[float, float], many: tuple[float, float]) -> float:
    """Seconds of a step on all images, from steps on shares of them: (share, seconds)."""
    more = many[0] - few[0]
    each = max(0.0, (many[1] - few[1]) / more) if more else 0.0
    return many[1] + each * (1 - many[0])


def _plane(few: Pass, many: Pass) -> float:
    """Seconds of a whole pass, from shortened ones."""
    more = many.taken - few.taken
    each = max(0.0, (many.seconds - few.seconds) / more) if more else 0.0
    start = max(0.0, many.seconds - each * many.taken) / many.batches
    return start * many.all_batches + each * many.all_images


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
