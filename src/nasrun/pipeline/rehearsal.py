"""Estimates the time of long work from a few small steps, scaled up.

If a few real steps are affordable, they are timed. Else only a share of each batch's images is
used, and only a few batches of each pass over a data set. A step with n images is assumed to take a
+ c n seconds: `a` and `c` come from steps on two shares, and n is then the whole batch. The same
holds for a pass, with `a` per batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from nasrun.data.portion import Portion
from nasrun.machine import finish
from nasrun.stage import Step

FIRST = 1 / 32
"""Share of a batch's images in the very first step, which allocates and chooses algorithms."""
LEAST, MOST = 1 / 8, 1 / 2
"""Bounds of the share of a batch's images in the larger of the two compared steps.

The other step has half of it. With smaller shares, a CPU is less busy per image.
"""
GROWTH = 0.7
"""Assumed power of the number of images in a step's seconds; 0.6 to 0.7 was measured on CPUs."""
FEW = 2
"""Number of batches of a shortened pass."""
STEPS = 3
"""Number of timed steps, after one that is not timed."""


class _Enough(Exception):
    """All timed steps are done."""


@dataclass(frozen=True)
class Tick:
    """The time after a step, and the numbers of images so far, of whole batches and as used."""

    time: float
    whole: int
    images: int


@dataclass
class Rehearsing:
    """Times work within `seconds` in all; `scaled` says whether any of it was scaled up.

    portion: restricts the work's data; `None` if all data are used.
    """

    portion: Portion | None
    seconds: float
    scaled: bool = False
    started: float = field(default_factory=lambda: time.perf_counter())

    @property
    def allowance(self) -> float:
        """Seconds for the next piece: a fifth of the rest, at least 1."""
        left = self.seconds - (time.perf_counter() - self.started)
        return max(1.0, left / 5)

    def step(self, play: Callable[[Step], object]) -> tuple[float, int]:
        """Return the seconds of a step and the steps of a round, which is stopped early."""
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
        if few >= many:  # other work interrupted the smaller step
            few = min(few, self._steps(play, share / 2, 2)[0])
        whole = _line((half, few), (taken, many))
        if whole <= affordable:
            return self._whole_steps(play)
        self.scaled = True
        return whole, steps

    def rest(self, rest: Callable[[], object]) -> float:
        """Return the seconds of work that has no steps."""
        if self.portion is None:
            return _timed(rest)
        allowance = self.allowance
        first = self._pass(rest, LEAST / 2)
        if self.portion.complete:
            return first.seconds
        if first.guess() > allowance:
            if first.seconds < allowance / 3:  # else the time of allocation is negligible
                first = self._pass(rest, LEAST / 2)
            share = first.taken / first.whole * (allowance / first.seconds / 2) ** (1 / GROWTH)
            more = self._pass(rest, min(MOST, max(LEAST, share)))
            if first.seconds >= more.seconds:  # other work interrupted the shorter pass
                first = min(first, self._pass(rest, LEAST / 2), key=lambda each: each.seconds)
            whole = _plane(first, more)
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
        """Return the seconds of a step, the steps of a round, and the share of images used.

        The share is 0 if the work reads no images.
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
    """A shortened pass: its seconds, batches and images, and the numbers of the whole pass.

    whole: the number of images of its batches if all were used.
    """

    seconds: float
    batches: int
    taken: int
    whole: int
    all_batches: int
    all_images: int

    def guess(self) -> float:
        """Return the estimated seconds of the whole pass."""
        return self.seconds * self.all_batches / self.batches * (self.whole / self.taken) ** GROWTH


def _ticks(play: Callable[[Step], object], portion: Portion, count: int) -> tuple[list[Tick], int]:
    """Return the ticks of the first `count` steps, and the number of steps in the round."""
    found = [Tick(_now(), portion.whole, portion.images)]
    of_round = 1

    def step(done: int, total: int) -> None:
        nonlocal of_round
        of_round = total
        found.append(Tick(_now(), portion.whole, portion.images))
        if len(found) > count:
            raise _Enough

    with suppress(_Enough):
        play(step)
    return found, of_round


def _typical(ticks: Sequence[Tick]) -> float:
    """Return the median duration of the steps after the first, or that of the first."""
    lasted = [after.time - before.time for before, after in pairwise(ticks)]
    return max(median(lasted[1:] or lasted), 1e-9)


def _share(ticks: Sequence[Tick]) -> float:
    """Return the share of its images that the last step used, 0 if it has none."""
    before, after = ticks[-2:]
    whole = after.whole - before.whole
    return (after.images - before.images) / whole if whole else 0.0


def _line(few: tuple[float, float], many: tuple[float, float]) -> float:
    """Return the seconds of a step on all images, from (share, seconds) of two steps."""
    more = many[0] - few[0]
    each = _slope(many[1] - few[1], more, many[1] / many[0])
    return many[1] + each * (1 - many[0])


def _plane(few: Pass, many: Pass) -> float:
    """Return the seconds of a whole pass, from two shortened ones."""
    more = many.taken - few.taken
    each = _slope(many.seconds - few.seconds, more, many.seconds / many.taken)
    start = max(0.0, many.seconds - each * many.taken) / many.batches
    return start * many.all_batches + each * many.all_images


def _slope(seconds: float, more: float, most: float) -> float:
    """Return the seconds of one more, at least 0 and at most `most`: nothing starts in less than 0.

    So an interruption by other work is never scaled up by more than the share.
    """
    return min(most, max(0.0, seconds / more)) if more else 0.0


def _timed(work: Callable[[], object]) -> float:
    started = _now()
    work()
    return _now() - started


def _now() -> float:
    """Return the time at which a GPU has done all that it was given."""
    finish()
    return time.perf_counter()
