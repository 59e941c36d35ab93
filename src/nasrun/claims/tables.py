"""Tables of claims, on the screen and between the markers of a page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from nasrun.analysis.paired import Spread
from nasrun.claims.claim import Claim
from nasrun.claims.comparisons import Comparison, Outcome, Values
from nasrun.claims.measures import Gauge
from nasrun.claims.results import CONTROL, ResultLine, counts, values

HOLDS, OPPOSITE, NEITHER, FAILS = "holds", "the opposite", "no difference seen", "does not hold"
OPEN, FUTILE = "open", "cannot hold"
"""Verdicts before all runs are done that decide; the second one if the claim stopped for it."""
Grid = tuple[Sequence[str], Sequence[Sequence[str]]]
"""The heads of columns, and rows of texts."""
BLOCK = re.compile(r"(<!-- claim (?P<name>[\w-]+) -->\n).*?(<!-- /claim -->)", re.DOTALL)
LIST = re.compile(r"(<!-- claims -->\n).*?(<!-- /claims -->)", re.DOTALL)
LISTED = ("claim", "what it says", "state", "core-minutes")


@dataclass(frozen=True)
class Tested:
    """A comparison, what it found, and its p after the correction, `None` if it does not decide."""

    comparison: Comparison
    outcome: Outcome
    corrected: float | None
    verdict: str


@dataclass(frozen=True)
class Evidence:
    """The known results of a claim: its lines, of the protocol that is frozen."""

    name: str
    claim: Claim
    lines: Sequence[ResultLine]

    @cached_property
    def values(self) -> Values:
        """The values that count."""
        return values(self.claim, self.lines)

    @cached_property
    def tests(self) -> list[Tested]:
        """Its comparisons, with the correction over those that decide."""
        found = [(each, each.outcome(self.values)) for each in self.claim.comparisons]
        deciding = [(c, o) for c, o in found if c.decides and o.p is not None]
        chances = self.claim.corrected([o.p for _, o in deciding if o.p is not None])
        others = self.claim.corrected(
            [1.0 if o.opposite is None else o.opposite for _, o in deciding]
        )
        tested = []
        for comparison, outcome in found:
            corrected, verdict = None, ""
            if outcome.holds is not None:
                verdict = HOLDS if outcome.holds else FAILS
            elif (comparison, outcome) in deciding:
                place = deciding.index((comparison, outcome))
                corrected, verdict = chances[place], NEITHER
                if corrected <= self.claim.alpha:
                    verdict = HOLDS
                elif others[place] <= self.claim.alpha:
                    verdict = OPPOSITE
            if verdict and self.undecided:
                verdict = FUTILE if self.stopped else OPEN
            tested.append(Tested(comparison, outcome, corrected, verdict))
        return tested

    @property
    def runs(self) -> list[ResultLine]:
        """The lines of runs, without those of controls."""
        return [line for line in self.lines if line.seed is not None]

    @property
    def total(self) -> int:
        """The number of all runs of the protocol."""
        return self.claim.seeds * len(self.claim.arms)

    @cached_property
    def undecided(self) -> bool:
        """Whether runs are missing on which a comparison that decides depends."""
        deciding = {arm for each in self.claim.comparisons if each.decides for arm in each.arms}
        done = [line.arm for line in self.runs]
        return any(done.count(arm) < self.claim.seeds for arm in deciding)

    @cached_property
    def stopped(self) -> bool:
        """Whether the claim ends early, since no comparison that decides can hold any more."""
        begun = len(self.runs) < self.total
        return self.claim.curtailed and begun and not self.claim.can_hold(self.values)

    @property
    def state(self) -> str:
        """The progress of the claim, or its verdict, in a few words."""
        if not self.runs:
            if self.claim.earlier:
                return "to be measured again"
            return "protocol written" if self.claim.frozen else "protocol not frozen"
        if self.stopped:
            return f"measured: {FUTILE}, stopped after {len(self.runs)} of {self.total} runs"
        if len(self.runs) < self.total:
            return f"begun: {len(self.runs)} of {self.total} runs"
        read = [key for key, of in self.claim.measures.items() if of.needed]
        if any(key in line.facts and key not in line.values for line in self.runs for key in read):
            return "all runs done, the table is not read yet"
        verdicts = [test.verdict for test in self.tests if test.comparison.decides]
        if not verdicts:
            return "measured"
        if "" in verdicts:
            return "measured: too few seeds count"
        if len({*verdicts}) == 1:
            return f"measured: {verdicts[0]}"
        return f"measured: {verdicts.count(HOLDS)} of {len(verdicts)} hold"

    @property
    def known(self) -> str:
        """The state, with what runs that are gone had found as long as there are no others."""
        earlier = "" if self.runs or not self.claim.earlier else f"; earlier: {self.claim.earlier}"
        return f"{self.state}{earlier}"

    @property
    def unread(self) -> list[str]:
        """The measures that no run has, as if their keys were mistyped."""
        known = {key for line in self.runs for key in (*line.values, *line.facts)}
        return [key for key in self.claim.measures if self.runs and key not in known]

    @property
    def minutes(self) -> float:
        """Core-minutes that were spent, or those that all seeds will take."""
        spent = sum(line.core_seconds or 0.0 for line in self.runs) / 60
        return spent or self.claim.cost(self.claim.seeds)

    def arms(self) -> Grid:
        """Return the table of arms: number of seeds, measures, cost, published values."""
        claim = self.claim
        heads = ["arm", "n", *(of.text for of in self._measures.values()), "core-minutes"]
        rows = [self._row(arm) for arm in claim.arms]
        rows += [self._control(name) for name in dict.fromkeys(self._controls())]
        if claim.published:
            heads.append("published")
            rows = [[*row, claim.published.get(row[0], "")] for row in rows]
        return heads, rows

    def differences(self) -> Grid:
        """Return the table of comparisons."""
        heads = ["difference", "measure", "n", "mean ± std", "95 %", "larger in", "p"]
        heads += [f"p, {self.claim.correction}", ""]
        return heads, [[*self._compared(test)] for test in self.tests]

    @property
    def _measures(self) -> Mapping[str, Gauge]:
        """Its measures, without those that no run has a value of, once there is any value."""
        known = {key: of for key, of in self.claim.measures.items() if self.values.get(key)}
        return known or self.claim.measures

    def _row(self, arm: str) -> list[str]:
        own = [line for line in self.runs if line.arm == arm]
        counted = [line for line in own if counts(self.claim, line)]
        number = str(len(own)) if len(own) == len(counted) else f"{len(counted)} of {len(own)}"
        cells = []
        for key, of in self._measures.items():
            found = [of.scale * line.values.get(key, math.nan) for line in counted]
            cells.append(Spread.of([*filter(math.isfinite, found)]).text(of.digits))
        seconds = [line.core_seconds / 60 for line in own if line.core_seconds is not None]
        return [arm, number, *cells, Spread.of(seconds).text(1)]

    def _controls(self) -> Iterator[str]:
        return (line.arm for line in self.lines if line.seed is None)

    def _control(self, name: str) -> list[str]:
        cells = []
        for key, of in self._measures.items():
            value = self.values.get(key, {}).get(name, {}).get(CONTROL)
            cells.append("-" if value is None else f"{of.scale * value:.{of.digits}f}")
        return [f"{name} (control)", "-", *cells, "-"]

    def _compared(self, test: Tested) -> Iterator[str]:
        of, found = self.claim.measures[test.comparison.measure], test.outcome
        scaled = Spread(
            found.spread.n,
            *(None if x is None else of.scale * x for x in (found.spread.mean, found.spread.std)),
        )
        yield test.comparison.text
        yield of.text
        yield str(found.spread.n or "-")
        yield scaled.text(of.digits)
        known = found.low is not None and found.high is not None
        low, high = (of.scale * (x or 0.0) for x in (found.low, found.high))
        yield f"{low:.{of.digits}f} to {high:.{of.digits}f}" if known else "-"
        yield "-" if found.larger is None else str(found.larger)
        yield chance(found.p)
        yield chance(test.corrected)
        yield test.verdict if test.comparison.decides else "decides nothing"


def chance(p: float | None) -> str:
    """Return a p-value as text."""
    if p is None:
        return "-"
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def listed(claims: Sequence[Evidence]) -> Grid:
    """Return the table of claims."""
    rows = [(each.name, each.claim.told, each.state, f"{each.minutes:,.0f}") for each in claims]
    return LISTED, rows


def markdown(table: Grid) -> str:
    """Return a table as Markdown."""
    heads, rows = table
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def block(evidence: Evidence) -> str:
    """Return the tables of a claim as Markdown; its state alone without lines."""
    text = f"**`{evidence.name}`**: {evidence.claim.sentence}. **{capitalised(evidence.known)}.**\n"
    if not evidence.lines:
        return text
    text += f"\n{markdown(evidence.arms())}"
    return text + (f"\n{markdown(evidence.differences())}" if evidence.tests else "")


def capitalised(text: str) -> str:
    """Return a text with its first letter as a capital."""
    return text[:1].upper() + text[1:]


def page(text: str, claims: Mapping[str, Evidence]) -> str:
    """Return a page with the tables between its markers made anew; ValueError without markers."""

    def tables(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in claims:
            raise ValueError(f"<!-- claim {name} -->: there is no such claim; name another")
        return f"{found[1]}{block(claims[name])}{found[3]}"

    def overview(found: re.Match[str]) -> str:
        return f"{found[1]}{markdown(listed([*claims.values()]))}{found[2]}"

    if not BLOCK.search(text) and not LIST.search(text):
        raise ValueError("page: has no <!-- claim NAME --> and <!-- /claim --> lines; add some")
    return LIST.sub(overview, BLOCK.sub(tables, text))
