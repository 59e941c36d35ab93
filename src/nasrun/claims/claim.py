"""A claim of a paper with the protocol that tests it; a file of `conf/claim/` is one.

The protocol is what a result depends on. It is frozen before the first result: `frozen` is its
fingerprint, so that it cannot change afterwards without a trace.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nasrun.analysis.futility import EXACT_PAIRS
from nasrun.analysis.paired import bonferroni, holm
from nasrun.claims.comparisons import Comparison, Values
from nasrun.claims.measures import Gauge
from nasrun.config.keys import ROOT, TABLE
from nasrun.config.words import key_of
from nasrun.genotype import fingerprint

BEGIN = ("run", "search", "retrain", "analyze")
"""Verbs with which an arm can begin."""
CONTINUE = ("select", "retrain", "transfer", "analyze")
"""Verbs of its later commands, which continue its run."""
DATA = (ROOT, TABLE, "task.distance.weights")
"""Keys of data that a claim can need, which `nasrun reproduce` passes on."""
TOLD = ("frozen", "minutes", "earlier", "paper", "sentence", "published", "source")
"""Keys of a claim that are no part of its protocol."""
CORRECTIONS: Mapping[str, Callable[[Sequence[float]], list[float]]] = {
    "holm": holm,
    "bonferroni": bonferroni,
    "none": list,
}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of a paper, and the protocol that tests it.

    paper: its name and arXiv id. sentence: the claim in one sentence. published: published values,
        by arm. source: where they stand.
    needs: keys that a user has to type, such as `dataset.root`. words: words of the first command
        of every arm. arms: the commands of each arm, without a seed; later ones continue the run of
        the first. minutes: core-minutes that an arm takes per seed. alone: whether an arm needs all
        cores or the memory of the machine, so that arms run one after the other.
    measures: what is read from a finished arm. floor: the least value of a measure with which a
        seed counts. comparisons: the tests. alpha: the level of all tests that decide, after the
        `correction`. seeds: the number of seeds; first: the first seed of an arm, if it is not 0.
    curtailed: whether it stops once no comparison that decides can hold any more, whatever the
        missing runs find; this changes no verdict that holds (deterministic curtailment).
    earlier: what was measured before, if those runs are gone.
    """

    paper: str
    sentence: str
    arms: Mapping[str, Sequence[str]]
    measures: Mapping[str, Gauge]
    seeds: int
    frozen: str | None
    comparisons: Sequence[Comparison] = ()
    words: str = ""
    needs: Sequence[str] = ()
    floor: Mapping[str, float] = field(default_factory=dict)
    first: Mapping[str, int] = field(default_factory=dict)
    alpha: float = 0.05
    correction: str = "holm"
    alone: bool = False
    curtailed: bool = False
    minutes: Mapping[str, float] = field(default_factory=dict)
    published: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    earlier: str = ""

    def __post_init__(self) -> None:
        if not self.arms or not self.measures:
            raise ValueError("claim: it needs arms and measures; give one or more of each")
        if self.seeds < 1:
            raise ValueError(f"seeds={self.seeds}: use 1 or more")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha={self.alpha}: use more than 0, less than 1")
        if self.correction not in CORRECTIONS:
            known = ", ".join(CORRECTIONS)
            raise ValueError(f"correction={self.correction}: use one of {known}")
        if self.published and not self.source:
            raise ValueError("source: published values need one; name the paper and its table")
        self._check_words()
        self._check_names()
        self._check_comparisons()
        for arm in self.arms:
            self._check_commands(arm)

    def commands(self, arm: str) -> list[list[str]]:
        """Return the commands of an arm as words, without seed, data and folders."""
        first, *later = (shlex.split(command) for command in self.arms[arm])
        verb, *own = first
        return [[verb, *shlex.split(self.words), *own], *later]

    def seed(self, arm: str, place: int) -> int:
        """Return the seed of an arm in the pair of this place."""
        return self.first.get(arm, 0) + place

    @property
    def told(self) -> str:
        """The claim in one sentence, with the paper that makes it."""
        return f"{self.sentence} ({self.paper})"

    @property
    def looked_up(self) -> tuple[str, ...]:
        """The data sets whose true results its measures read, once each."""
        return tuple(dict.fromkeys(d for each in self.measures.values() for d in each.looked_up))

    @property
    def needed(self) -> tuple[str, ...]:
        """Those of them that a table has to have."""
        return tuple(dict.fromkeys(d for each in self.measures.values() for d in each.needed))

    def cost(self, seeds: int) -> float:
        """Return the core-minutes of this number of seeds, as far as they are known."""
        return seeds * sum(self.minutes.values())

    def corrected(self, chances: Sequence[float]) -> list[float]:
        """Return p-values corrected for their number."""
        return CORRECTIONS[self.correction](chances)

    def can_hold(self, values: Values) -> bool:
        """Return whether a comparison that decides can still hold, whatever missing runs find."""
        deciding = [each for each in self.comparisons if each.decides]
        least = self.corrected([each.least(values, self.seeds) for each in deciding])
        return any(p <= self.alpha for p in least)

    def _check_words(self) -> None:
        texts = {"words": self.words}
        for arm, commands in self.arms.items():
            texts |= {f"arms.{arm}[{place}]": text for place, text in enumerate(commands)}
        for key, text in texts.items():
            try:
                words = shlex.split(text)
            except ValueError as error:
                raise ValueError(f"{key}={text}: {error}; quote it as in a shell") from error
            if not words and key != "words":
                raise ValueError(f"{key} is empty; give a command, such as search")

    def _check_names(self) -> None:
        for key in self.needs:
            if key not in DATA:
                raise ValueError(f"needs=[{key}]: use some of {', '.join(DATA)}")
        for key in ("first", "minutes", "published"):
            for arm in getattr(self, key):
                if arm not in self.arms:
                    raise ValueError(f"{key}.{arm}: no such arm; use one of {', '.join(self.arms)}")
        for measure in self.floor:
            if measure not in self.measures:
                known = ", ".join(self.measures)
                raise ValueError(f"floor.{measure}: no such measure; use one of {known}")

    def _check_comparisons(self) -> None:
        for comparison in self.comparisons:
            comparison.check(self.arms, self.measures)
        if not self.curtailed:
            return
        if not any(comparison.decides for comparison in self.comparisons):
            raise ValueError("curtailed=true: no comparison decides; leave it out")
        if self.seeds > EXACT_PAIRS:
            raise ValueError(
                f"seeds={self.seeds}: curtailed=true tries every order of the missing pairs, and "
                f"more than {EXACT_PAIRS} pairs have too many; use at most {EXACT_PAIRS}, or "
                "curtailed=false"
            )
        if not self.can_hold({}):
            raise ValueError(f"seeds={self.seeds}: too few for a comparison to hold; use more")

    def _check_commands(self, arm: str) -> None:
        if not self.arms[arm]:
            raise ValueError(f"arms.{arm}=[]: give one command or more")
        for place, (verb, *words) in enumerate(self.commands(arm)):
            known = CONTINUE if place else BEGIN
            if verb not in known:
                raise ValueError(f"arms.{arm}[{place}]={verb}: begin with {', '.join(known)}")
            if trusts := [word for word in words if key_of(word) == "trust"]:
                raise ValueError(
                    f"arms.{arm}[{place}]: {trusts[0]} would let a file run code; type it on the "
                    "command line"
                )


def protocol(content: Mapping[str, Any]) -> str:
    """Return the fingerprint of all that a result depends on in the content of a file."""
    return fingerprint({key: value for key, value in content.items() if key not in TOLD})
