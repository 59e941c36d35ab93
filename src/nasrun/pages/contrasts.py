"""Contrasts on a page: the scores of two entrants, seed by seed, if recipe and data agree.

A choice is compared with the random architecture of its own configuration, and choices with each
other. Of many, each is compared with the first one: it is the first that was named, so that no
result has chosen it. The best one would have been chosen by the numbers that are compared, which
would make its lead too large, whatever the correction.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, count

from nasrun.analysis.paired import Difference, holm
from nasrun.config.stages import KINDS
from nasrun.genotype import fingerprint
from nasrun.pages.entrants import NOTHING, RANDOM, Entrant, scaled
from nasrun.runs.groups import Seeded
from nasrun.runs.recorded import identity
from nasrun.runs.stage_folder import StageFolder

MOST = 5
"""Largest number of entrants that are all compared with each other, in ten rows."""
SMALL = 0.05
"""The p for which the page tells the number of seeds."""
COLUMNS = ("difference of", "seeds", "mean difference", "95 % interval", "p, Holm")


@dataclass(frozen=True)
class Contrast:
    """Scores of an entrant less those of another, on the seeds that both have."""

    first: Entrant
    second: Entrant
    found: Difference

    @classmethod
    def of(cls, first: Entrant, second: Entrant) -> Contrast | None:
        """Compare two entrants, accuracies in percent; `None` if they share no seed."""
        ours, theirs = _by_seed(first), _by_seed(second)
        seeds = [seed for seed in ours if seed in theirs]
        if not seeds:
            return None
        found = Difference.of([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])
        return cls(first, second, found)

    @property
    def seeds(self) -> int:
        """Number of seeds that both have."""
        return self.found.spread.n

    @property
    def better(self) -> float:
        """The p of the test that the first is better, whether higher or lower is better."""
        lower = any(not standing.higher_is_better for _, standing in self.first.scored)
        p = self.found.opposite if lower else self.found.p
        assert p is not None
        return p

    @property
    def unequal(self) -> float:
        """The p of the two-sided test."""
        assert self.found.two_sided is not None
        return self.found.two_sided

    @property
    def mean(self) -> str:
        """The mean difference with its unit."""
        assert self.found.spread.mean is not None
        return self._with_unit(self._signed(self.found.spread.mean))

    @property
    def interval(self) -> str:
        """The 95 % interval with its unit, if there are several seeds."""
        if self.found.low is None or self.found.high is None:
            return NOTHING
        return self._with_unit(f"{self._signed(self.found.low)} to {self._signed(self.found.high)}")

    def chance(self, corrected: float) -> str:
        """Return a corrected p, if there are several seeds."""
        if self.seeds < 2:
            return NOTHING
        return f"{corrected:.3f}" if corrected >= 0.0005 else "< 0.001"

    def _signed(self, value: float) -> str:
        """Return a difference with its sign; percentages have two digits."""
        text = f"{value:+.2f}" if scaled(self.first)[1] else f"{value:+.4g}"
        return text.replace("-", "−")

    def _with_unit(self, text: str) -> str:
        return f"{text} points" if scaled(self.first)[1] else text


def _by_seed(kept: Entrant) -> dict[object, float]:
    """Return the score of each seed: runs that repeat one are no further sample, so their mean."""
    found: dict[object, list[float]] = {}
    for (member, _), value in zip(kept.scored, scaled(kept)[0], strict=True):
        found.setdefault(_seed(member), []).append(value)
    return {seed: statistics.fmean(values) for seed, values in found.items()}


def _seed(member: Seeded) -> object:
    """Return the seed of a run; one that has none recorded shares it with no other run."""
    seed = member.run.record.get("seed")
    return str(member.run.path) if seed is None else seed


def with_random(kept: Entrant, some: Sequence[Entrant]) -> Contrast | None:
    """Compare a choice with the random architectures of its configuration, if there are any."""
    if kept.is_random:
        return None
    for other in some:
        alike = other.is_random and other.group.of == kept.group.of
        if alike and _conditions(other) == _conditions(kept):
            return Contrast.of(kept, other)
    return None


@dataclass(frozen=True)
class Contrasts:
    """The contrasts of a table: the cells of their rows, and what a reader has to know of them."""

    rows: tuple[tuple[str, ...], ...]
    note: str


def between(some: Sequence[Entrant]) -> Contrasts:
    """Compare choices with each other, or each of many with the first one.

    The random architecture that a run trains beside its choice is left out: it was drawn for that.
    """
    alike: dict[str, list[Entrant]] = {}
    for kept in some:
        if not kept.is_random or kept.group.members[0].run.record.get("genotype") == RANDOM:
            alike.setdefault(_conditions(kept), []).append(kept)
    pairs = [pair for rows in alike.values() for pair in _pairs(rows)]
    found = [each for pair in pairs if (each := Contrast.of(*pair)) is not None]
    corrected = holm([each.unequal for each in found])
    rows = tuple(
        (
            f"{each.first.name} minus {each.second.name}",
            str(each.seeds),
            each.mean,
            each.interval,
            each.chance(p),
        )
        for each, p in zip(found, corrected, strict=True)
    )
    told = list(_told(found, max(map(len, alike.values()), default=0)))
    if len(alike) > 1 or len(found) < len(pairs):
        told.append(
            "Choices are not compared if the recipes or the data of their trainings differ, if the "
            "true results are of different numbers of epochs, if one of their searches read the "
            "table, or if they share no seed."
        )
    return Contrasts(rows, " ".join(told))


def _pairs(rows: Sequence[Entrant]) -> list[tuple[Entrant, Entrant]]:
    """Return all pairs, or those with the first one if there are many."""
    if len(rows) <= MOST:
        return list(combinations(rows, 2))
    return [(other, rows[0]) for other in rows[1:]]


def _told(found: Sequence[Contrast], most: int) -> Iterator[str]:
    """Yield what the tests are, and what they can find; `most` can be compared."""
    if not found:
        return
    if most > MOST:
        yield (
            f"Of more than {MOST} choices, each is compared with the first one alone, which no "
            "result has chosen; name another run first to compare with that one."
        )
    else:
        yield "Every two choices are compared, on the seeds that both have."
    seeds, rows = max(each.seeds for each in found), len(found)
    if seeds < 2:
        yield "One seed says nothing about chance; run more for an interval and a test."
        return
    yield (
        "The interval is Student's t, uncorrected; p is that of Wilcoxon's two-sided "
        "signed-rank test, corrected by Holm for the rows of this table."
    )
    least = 0.5 ** (seeds - 1)
    text = f"With {seeds} seeds, no p before the correction can be below {least:.3g}"
    if rows > 1:
        text += f", and none after it below {min(1.0, rows * least):.3g}"
    if rows * least > SMALL:
        enough = next(n for n in count(2) if rows * 0.5 ** (n - 1) <= SMALL)
        text += f"; for {SMALL:g}, run at least {enough} seeds"
    yield f"{text}."


def _conditions(kept: Entrant) -> str:
    """Return the fingerprint of what has to agree: the recipe, and the data of the training.

    True results were trained by the authors of their space, for a number of epochs; a search that
    reads their table costs nothing. A network that a search has trained is tested without a recipe
    of its own.
    """
    first = kept.group.members[0]
    stage, config = first.stage, identity(first.run.config)
    if kept.is_looked_up:
        reads = ((config.get("strategy") or {}).get("evaluator") or {}).get("table") is not None
        epochs = sorted({str(standing.epochs) for standing in kept.group.standings})
        space = config["space"].get("_target_")
        return fingerprint({"space": space, "reads": reads, "epochs": epochs})
    of_search = {key: config.get(key) for key in ("dataset", "contents")}
    if not KINDS[stage.kind].trains:
        return fingerprint({**of_search, "task": config.get("task")})
    own_data = "dataset" in stage.config.get(stage.kind, {})
    return fingerprint({"recipe": _recipe(stage), **({} if own_data else of_search)})


def _recipe(stage: StageFolder) -> str:
    """Return the fingerprint of a training without its architecture."""
    about = ("fingerprint", "parent", "source", "genotype", "extend")
    own = {key: value for key, value in identity(stage.config).items() if key not in about}
    return fingerprint({**own, "extended": "extend" in stage.config})
