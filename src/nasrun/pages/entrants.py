"""The entrants of a page: stages of one configuration over seeds, with name, look and score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nasrun.analysis.paired import Spread
from nasrun.config.stages import KINDS, SEARCH, TRANSFER
from nasrun.pages.charts import NEUTRAL, Look
from nasrun.runs.groups import Group, Seeded, told_apart
from nasrun.runs.stage_folder import StageFolder
from nasrun.runs.standing import Standing
from nasrun.stage import Metrics

RANDOM = "random"
"""The source of a stage that trains a random architecture."""
NOTHING = "–"
Logged = Mapping[StageFolder, Sequence[Metrics]]
"""The rounds of stages."""


@dataclass(frozen=True)
class Entrant:
    """A stage of one configuration over its seeds, with its name on the page and its look."""

    name: str
    group: Group
    look: Look

    @property
    def scored(self) -> list[tuple[Seeded, Standing]]:
        """The finished runs whose score is that of the first one."""
        return [each for each in self.group.judged if is_number(each[1].value)]

    @property
    def title(self) -> str:
        """Its name among stages of all kinds; a search is named by its configuration alone."""
        kind = self.group.kind
        return self.name if kind == SEARCH.name else f"{kind} {self.name}"

    @property
    def data(self) -> str:
        """Name of the data that the stage trains on, or that its true results are of."""
        known = next((standing.true_on for standing in self.group.standings), None)
        return known or data_of(self.group.members[0])

    @property
    def is_looked_up(self) -> bool:
        """Return whether its scores are true results from a table."""
        return any(standing.true_on is not None for standing in self.group.standings)

    @property
    def of_choices(self) -> bool:
        """Return whether its scores are results of architectures: on test images, or true ones."""
        return self.is_looked_up or (self.group.on or "").startswith("test")

    @property
    def is_random(self) -> bool:
        """Return whether the stage trains random architectures: the baseline."""
        first = self.group.members[0].stage
        return KINDS[first.kind].trains and first.source == RANDOM


def is_number(value: object) -> bool:
    """Return whether a value of a file is a number, also in percent."""
    return isinstance(value, int | float) and math.isfinite(100 * value)


def data_of(member: Seeded) -> str:
    """Return the name of the data of a stage."""
    stage, known = member.stage, (member.result or {}).get("data", {}).get("name")
    if known is None and stage.kind == TRANSFER.name:
        known = stage.branch.removeprefix(f"{stage.source}-")
    return str(known or member.run.record["choices"].get("dataset", "the data"))


def named(groups: Sequence[Group], letters: Mapping[str, str]) -> list[Entrant]:
    """Return the groups with distinct names: configuration, branch, and what tells them apart.

    Searches have a look per configuration, later stages one per name; that of the baseline of one
    configuration alone is neutral.
    """
    found, places = [], dict[str, int]()
    for group, text in zip(groups, told_apart(groups), strict=True):
        stage, letter = group.members[0].stage, letters[group.of]
        branch = stage.source if stage.kind == TRANSFER.name else stage.branch or stage.kind
        words = (letter, branch, f"({text})" if text and not letter else "")
        name = " ".join(filter(None, words))
        if stage.kind == SEARCH.name:
            look = Look.of([*letters].index(group.of))
        elif name == RANDOM:
            look = Look(NEUTRAL)
        else:
            look = Look.of(places.setdefault(name, len(places)))
        found.append(Entrant(name, group, look))
    return found


def judged_by_tables(every: Sequence[Entrant]) -> list[Entrant]:
    """Return the entrants, and those with true results once more per data set of a table."""
    return [
        replace(kept, group=group)
        for kept in every
        for group in (kept.group, *kept.group.looked_up())
    ]


def measure(standing: Standing) -> str:
    """Return what a score is, in words, and on which data if it is from a table."""
    data = standing.true_on
    return quantity(standing) if data is None else f"{quantity(standing)} on {data}, from a table"


def quantity(standing: Standing) -> str:
    """Return what a score is, in words."""
    if standing.true_on is not None:
        return "true accuracy" if standing.is_accuracy else "true result"
    if not standing.is_accuracy:
        return standing.on
    part, *more = standing.on.split(", ")
    told = {"seen": "on images that trained the alphas", "supernet": "of the supernet"}
    return " ".join([f"{part} accuracy", *(told.get(word, f"of the {word}") for word in more)])


def told(standing: Standing | None) -> str:
    """Return a score with its unit."""
    return NOTHING if standing is None else str(standing).replace("%", " %")


def scaled(kept: Entrant) -> tuple[list[float], str]:
    """Return the scores of a group, accuracies in percent, and their unit."""
    accuracy = any(standing.is_accuracy for _, standing in kept.scored)
    scale = 100.0 if accuracy else 1.0
    return [scale * standing.value for _, standing in kept.scored], "%" if accuracy else ""


def spread_of(kept: Entrant) -> str:
    """Return mean and standard deviation of a group's scores, with their unit."""
    values, unit = scaled(kept)
    if not values:
        return NOTHING
    if unit:
        return f"{Spread.of(values).text()} {unit}"
    of = Spread.of(values)
    return f"{of.mean:.4g}" if of.std is None else f"{of.mean:.4g} ± {of.std:.4g}"


def among(done: int, all_: int) -> str:
    """Return how many of all are done."""
    return str(done) if done == all_ else f"{done} of {all_}"


def unit_of(values: Sequence[float]) -> tuple[float, str]:
    """Return the scale and the unit in which counts are told: thousands, or millions."""
    return (1e3, "k") if max(values, default=0) < 1e5 else (1e6, "M")
