"""Charts of a page: the places of their lines, dots and ticks in SVG, without any colour.

The page's style sheet colours them, so that one picture is right on white paper and on a dark
screen; matplotlib would write the colours into it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

Place = tuple[float, float]
WIDTH, HEIGHT = 360.0, 216.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 12.0, 12.0, 36.0
"""Margins of the drawn area; all lengths are in CSS pixels."""
DIGIT = 7.0
"""The width of a digit, at most."""
NEUTRAL = 7
"""Number of the style sheet's neutral colour; those below it differ in hue."""
DASHES = 6
"""Number of its kinds of lines, and of fills of dots."""
ROW = 42.0
"""Height of a row of `strips`."""
MOST = 400
"""Largest number of points of a drawn line."""


MARKERS = (
    "m-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0-7.2 0z",
    "m-3.2-3.2h6.4v6.4h-6.4z",
    "m0-4.2l4.2 7.4h-8.4z",
    "m0-4.6l4.6 4.6l-4.6 4.6l-4.6-4.6z",
)
"""Dots of different shapes, so that colours are not all that tells them apart."""


@dataclass(frozen=True)
class Look:
    """How a series is drawn: numbers of a colour and of a kind of line."""

    colour: int
    dash: int = 0

    @classmethod
    def of(cls, number: int) -> Look:
        """Return the look of the thing with this number: a colour, then further kinds of lines."""
        return cls(number % NEUTRAL, number // NEUTRAL)

    @property
    def classes(self) -> str:
        """Names of its rules in the style sheet."""
        return f"c{self.colour} d{self.dash % DASHES}"

    def dot(self, x: float, y: float) -> Drawn:
        """Return a dot of its shape at a place."""
        return Drawn(f"dot {self.classes}", f"M{x:g} {y:g}{MARKERS[self.colour % len(MARKERS)]}")

    @property
    def sample(self) -> Drawn:
        """Return a piece of its line, for a legend."""
        return Drawn(f"line {self.classes}", "M1 6H25")


@dataclass(frozen=True)
class Series:
    """Curves of one thing, a curve per seed; a value that is not finite is a gap."""

    name: str
    look: Look
    curves: Sequence[Sequence[Place]]


@dataclass(frozen=True)
class Ruler:
    """A scale from values to places, and its ticks with their labels."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False

    @classmethod
    def over(
        cls,
        values: Iterable[float],
        start: float,
        end: float,
        *,
        whole: bool = False,
        logarithmic: bool = False,
        share: bool = False,
        most: int = 5,
    ) -> Ruler:
        """Return the axis of these values: round numbers are its ticks, at most `most` and one.

        The axis of a `share` has no room below 0 and above 100 %.
        """
        from matplotlib.ticker import LogLocator, MaxNLocator

        known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(known), max(known)
        if logarithmic and low > 0 and high / low >= 8:
            every = LogLocator(subs=(1, 2, 5)).tick_values(low, high)
            ticks = [tick for tick in every if low <= tick <= high]
            few = tuple((float(tick), f"{tick:,g}") for tick in ticks[:: len(ticks) // 6 + 1])
            room = (high / low) ** 0.04
            return cls(low / room, high * room, start, end, few, logarithmic=True)
        if low == high:
            room = abs(low) * 0.1 or 1.0
            low, high = (low - 1, high + 1) if whole else (low - room, high + room)
        room = 0.0 if whole else 0.04 * (high - low)
        low, high = low - room, high + room
        if share:
            low, high = min(max(low, 0.0), min(known)), max(min(high, 100.0), max(known))
        locator = MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10], integer=whole)
        ticks = [tick for tick in locator.tick_values(low, high) if low <= tick <= high]
        return cls(low, high, start, end, _labelled(ticks))

    def at(self, value: float) -> float:
        """Return the place of a value, rounded to a tenth."""
        low, high, here = self.low, self.high, value
        if self.logarithmic:
            low, high, here = math.log(low), math.log(high), math.log(value)
        return round(self.start + (here - low) / (high - low) * (self.end - self.start), 1)

    @property
    def marks(self) -> list[tuple[float, str]]:
        """Places of the ticks, and their labels."""
        return [(self.at(value), label) for value, label in self.ticks]

    @property
    def room(self) -> float:
        """Width that the labels need beside an upright axis."""
        return 10 + DIGIT * max((len(label) for _, label in self.ticks), default=0)


def _labelled(ticks: Sequence[float]) -> tuple[tuple[float, str], ...]:
    """Return ticks with labels of as many digits as tell them apart."""
    most = max(map(abs, ticks), default=0.0)
    if most < 1e6:
        for digits in range(5):
            if all(abs(tick - round(tick, digits)) <= 1e-6 * most for tick in ticks):
                return tuple((float(tick), f"{tick:,.{digits}f}") for tick in ticks)
    for digits in range(3, 18):
        labels = [f"{tick:.{digits}g}" for tick in ticks]
        if len({*labels}) == len(labels):
            break
    return tuple(zip(map(float, ticks), labels, strict=True))


@dataclass(frozen=True)
class Drawn:
    """A path, and the names of its rules in the style sheet."""

    classes: str
    path: str


@dataclass(frozen=True)
class Chart:
    """A chart with its axes; `words` says in words what it shows."""

    title: str
    words: str
    width: float
    height: float
    along: Ruler
    up: Ruler | None
    along_label: str
    up_label: str
    drawn: tuple[Drawn, ...]
    legend: tuple[tuple[str, Drawn], ...] = ()
    labels: tuple[tuple[float, str, str], ...] = ()


def lines(title: str, unit: str, every: Sequence[Series], along: str = "round") -> Chart | None:
    """Return curves over rounds, and the mean of each thing's curves; `None` without a number."""
    values = [y for each in every for curve in each.curves for _, y in curve if math.isfinite(y)]
    if not values:
        return None
    rounds = [x for each in every for curve in each.curves for x, _ in curve]
    y = Ruler.over(values, HEIGHT - BOTTOM, TOP, share=unit.endswith("%"))
    x = Ruler.over(rounds, max(LEFT, y.room), WIDTH - RIGHT, whole=True)
    drawn: list[Drawn] = []
    told = []
    for each in every:
        several = len(each.curves) > 1
        for curve in each.curves if several else ():
            drawn += _pieces(curve, x, y, each.look, "line seed")
        mean = means(each.curves)
        drawn += _pieces(mean, x, y, each.look, "line")
        told.append(_told(each.name, mean, len(each.curves), along))
    legend = tuple((each.name, each.look.sample) for each in every if each.name)
    words = f"{title}{f', {unit}' if unit else ''}, by {along}. {' '.join(filter(None, told))}"
    return Chart(title, words, WIDTH, HEIGHT, x, y, along, unit, tuple(drawn), legend)


def means(curves: Sequence[Sequence[Place]]) -> list[Place]:
    """Return the mean of curves at every x that all of them have."""
    if len(curves) == 1:
        return list(curves[0])
    tables = [dict(curve) for curve in curves]
    shared = [x for x in tables[0] if all(x in table for table in tables)]
    return [(x, math.fsum(table[x] for table in tables) / len(tables)) for x in shared]


def _told(name: str, mean: Sequence[Place], count: int, along: str) -> str:
    known = [(x, y) for x, y in mean if math.isfinite(y)]
    if not known:
        return ""
    (first, begins), (last, ends) = known[0], known[-1]
    of = f", mean of {count} runs" if count > 1 else ""
    until = f", {ends:.4g} in {along} {last:g}" if last > first else ""
    return f"{name}{': ' if name else ''}{begins:.4g} in {along} {first:g}{until}{of}."


def _pieces(
    curve: Sequence[Place], x: Ruler, y: Ruler, look: Look, classes: str
) -> Iterator[Drawn]:
    """Yield the pieces of a curve between its gaps, and a dot for a piece of one point."""
    step = -(-len(curve) // MOST)
    kept = [*curve[: -1 : step or 1], *curve[-1:]]
    for finite, piece in groupby(kept, key=lambda point: math.isfinite(point[1])):
        places = [(x.at(a), y.at(b)) for a, b in piece] if finite else []
        if len(places) == 1:
            yield look.dot(*places[0])
        elif places:
            path = "M" + "L".join(f"{a:g} {b:g}" for a, b in places)
            yield Drawn(f"{classes} {look.classes}", path)


@dataclass(frozen=True)
class Strip:
    """A row of dots: the numbers of one thing, a number per seed."""

    name: str
    look: Look
    values: Sequence[float]
    text: str


def strips(title: str, about: str, unit: str, rows: Sequence[Strip]) -> Chart:
    """Return rows of dots on one axis, each with a line at its mean; `about` says what they are."""
    height = TOP + ROW * len(rows) + BOTTOM
    values = [value for row in rows for value in row.values]
    x = Ruler.over(values, 14.0, WIDTH - 14.0, most=6, share=unit.endswith("%"))
    drawn: list[Drawn] = []
    labels = []
    for place, row in enumerate(rows):
        top = TOP + ROW * place
        labels.append((top + 10, row.name, row.text))
        base = top + 27
        drawn.append(Drawn("rule", f"M{x.start:g} {base:g}H{x.end:g}"))
        if row.values:
            mean = x.at(math.fsum(row.values) / len(row.values))
            path = f"M{mean:g} {base - 9:g}V{base + 9:g}"
            drawn.append(Drawn(f"mean {row.look.classes}", path))
        drawn += [row.look.dot(x.at(value), base) for value in row.values]
    words = f"{about}. " + " ".join(f"{row.name}: {row.text}." for row in rows)
    shape = (WIDTH, height, x, None, unit, "")
    return Chart(title, words, *shape, tuple(drawn), labels=tuple(labels))


def scatter(title: str, axes: tuple[str, str], every: Sequence[Series], words: str) -> Chart:
    """Return dots at (x, y), a colour per thing; x is logarithmic if it spans much."""
    points = [point for each in every for curve in each.curves for point in curve]
    x = Ruler.over((a for a, _ in points), LEFT, WIDTH - RIGHT, logarithmic=True)
    y = Ruler.over((b for _, b in points), HEIGHT - BOTTOM, TOP, share=axes[1].endswith("%"))
    drawn = tuple(
        each.look.dot(x.at(a), y.at(b)) for each in every for curve in each.curves for a, b in curve
    )
    legend = tuple((each.name, each.look.dot(13, 6)) for each in every)
    along = f"{axes[0]}, logarithmic" if x.logarithmic else axes[0]
    return Chart(title, words, WIDTH, HEIGHT, x, y, along, axes[1], drawn, legend)
