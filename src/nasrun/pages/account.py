"""The account of runs that a page gives in words: what was run, what is missing, how to repeat."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasrun.config import options
from nasrun.config.stages import KINDS, SEARCH, SELECT, STAGES
from nasrun.pages.entrants import NOTHING, Entrant, Logged, measure
from nasrun.runs.differences import by_kind, unlike
from nasrun.runs.groups import Group, shared
from nasrun.runs.log import LOG
from nasrun.runs.run import Run

MADE_WITH = ("dataset", "space", "strategy", "evaluator", "task")


@dataclass(frozen=True)
class Configuration:
    """Runs that differ in their seeds alone; `letter` names it among several."""

    letter: str
    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """Return the first run, which stands for all."""
        return self.runs[0]

    @property
    def seeds(self) -> list[str]:
        """Return the seeds of its runs."""
        return [str(run.record.get("seed")) for run in self.runs]


def configurations(runs: Sequence[Run]) -> dict[str, Configuration]:
    """Return the configurations by their fingerprints, with letters if there are several."""
    together: dict[str, list[Run]] = {}
    for run in runs:
        together.setdefault(shared(run), []).append(run)
    several = len(together) > 1
    return {
        mark: Configuration(_letter(place) if several else "", tuple(some))
        for place, (mark, some) in enumerate(together.items())
    }


def _letter(place: int) -> str:
    """Return A, B, ..., Z, AA, ..."""
    letters = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def labels(paths: Sequence[Path], least: int = 2) -> dict[str, str]:
    """Return a name per run: the last parts of its path, more than `least` where some are equal.

    Without more of the path, the same runs give the same page wherever they lie.
    """
    found: dict[str, str] = {}
    for depth in range(least, least + max(len(path.absolute().parts) for path in paths)):
        left = [path for path in paths if str(path) not in found]
        tails = Counter(_tail(path, depth) for path in left)
        found |= {str(path): _tail(path, depth) for path in left if tails[_tail(path, depth)] == 1}
    return {str(path): found.get(str(path), str(path)) for path in paths}


def _tail(path: Path, depth: int) -> str:
    return "/".join(path.absolute().parts[-depth:])


def title(every: Sequence[Configuration]) -> str:
    """Return the title of the page."""
    found = {key: _distinct(every, key) for key in ("strategy", "genotype", "space", "dataset")}
    what = found["strategy"] or found["genotype"] or ["An architecture"]
    where = f", in the space {_several(found['space'])}" if found["strategy"] else ""
    return f"{_several(what)} on {_several(found['dataset'] or ['its data'])}{where}"


def _distinct(every: Sequence[Configuration], key: str) -> list[str]:
    found = (_made(configuration.first).get(key) for configuration in every)
    return list(dict.fromkeys(str(value) for value in found if value is not None))


def _made(run: Run) -> dict[str, Any]:
    record = run.record
    return {**record["choices"], "genotype": record.get("genotype")}


def _several(names: Sequence[str], between: str = "and") -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {between} {names[-1]}"


def lead(every: Sequence[Configuration], kept: Sequence[Entrant]) -> list[str]:
    """Return sentences that say what was run."""
    count = sum(len(configuration.runs) for configuration in every)
    told = [_begins(every, count)]
    if searches := [each for each in kept if each.group.kind == SEARCH.name]:
        rounds = dict.fromkeys(_rounds(each.group) for each in searches)
        scores = dict.fromkeys(measure(each.scored[0][1]) for each in searches if each.scored)
        begun = sum(len(each.group.members) for each in searches)
        sentence = "Each run begins with a search" if count > 1 else "The run begins with a search"
        if begun < count:
            sentence = f"{begun} of {count} runs begin{'s' if begun == 1 else ''} with a search"
        if of := _several([str(number) for number in rounds if number], "or"):
            sentence += f" of {of} round{'' if of == '1' else 's'}"
        if scores:
            sentence += f", which is judged by {_several(list(scores), 'or')}"
        told.append(f"{sentence}.")
    if chosen := _branches(kept, SELECT.name):
        told.append(
            f"Then {_several(chosen)} {'chooses' if len(chosen) == 1 else 'each choose'} an "
            "architecture."
        )
    trained = [each for each in kept if KINDS[each.group.kind].trains and not each.is_random]
    if trained:
        names = _several(list(dict.fromkeys(each.data for each in trained)))
        what = "Each choice" if chosen else "The architecture"
        told.append(
            f"{what} is trained from scratch on {names}, and the test images are read once, when "
            "a training ends."
        )
    if any(each.is_random for each in kept):
        told.append("One random architecture per run is trained in the same way: the baseline.")
    return told


def _begins(every: Sequence[Configuration], count: int) -> str:
    seeds = list(dict.fromkeys(seed for each in every for seed in each.seeds if seed != "None"))
    of = f", with the seed{'s' if len(seeds) > 1 else ''} {_several(seeds)}" if seeds else ""
    runs = f"{count} run{'s' if count > 1 else ''}"
    if len(every) == 1:
        return f"This page is about {runs}{' of one configuration' if count > 1 else ''}{of}."
    letters = f"{every[0].letter} {'and' if len(every) == 2 else 'to'} {every[-1].letter}"
    return f"This page compares {len(every)} configurations, {letters}, in {runs}{of}."


def _rounds(group: Group) -> int | None:
    strategy = group.members[0].run.config.get("strategy")
    rounds = strategy.get("rounds") if isinstance(strategy, Mapping) else None
    return rounds if isinstance(rounds, int) else None


def _branches(kept: Iterable[Entrant], kind: str) -> list[str]:
    found = (each.group.members[0].stage for each in kept if each.group.kind == kind)
    return list(dict.fromkeys(stage.branch for stage in found))


def made_with(every: Sequence[Configuration]) -> list[tuple[str, str, str]]:
    """Return the chosen options of all configurations, each with what it is."""
    rows = []
    for key in MADE_WITH:
        for value in _distinct(every, key):
            rows.append((key, value, options(key).get(value, "")))
    for value in _distinct(every, "genotype"):
        rows.append(("genotype", value, "the architecture that is trained"))
    scale = [f"{name}={_several(values, 'or')}" for name, values in _scales(every).items()]
    return [*rows, ("scale", " ".join(scale), "")] if scale else rows


def _scales(every: Sequence[Configuration]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for configuration in every:
        for name, value in configuration.first.record["scale"].items():
            if value is not None and str(value) not in found.setdefault(name, []):
                found[name].append(str(value))
    return {name: values for name, values in found.items() if values}


def differing(every: Sequence[Configuration]) -> list[tuple[str, ...]]:
    """Return the settings in which configurations differ, with the value of each.

    Stages are compared by their kind, whatever the branches are called; a branch's recipe is
    compared only if all configurations have stages of its kind.
    """
    several = [by_kind(configuration.first) for configuration in every]
    kinds: list[set[str]] = [{kind.name for kind in STAGES} & {*each} for each in several]
    some = set[str]().union(*kinds) - kinds[0].intersection(*kinds)
    return [
        (key, *(each.get(key, NOTHING) for each in several))
        for key in unlike(several)
        if key != "seed" and not (" " in key and key.split()[0] in some)
    ]


def missing(
    every: Mapping[str, Configuration],
    kept: Sequence[Entrant],
    logged: Logged,
    names: Mapping[str, str],
) -> Iterator[str]:
    """Yield what runs do not have: stages that are not finished, and branches of other seeds."""
    for configuration in every.values():
        for run in configuration.runs:
            members = (member for each in kept for member in each.group.members)
            if not any(member.run.path == run.path for member in members):
                yield f"{names[str(run.path)]}: no stage has begun."
    for each in kept:
        for member in each.group.members:
            if member.result is None:
                place = f"{names[str(member.run.path)]}, {member.stage.title}"
                done, all_ = len(logged[member.stage]), _length(member.stage.settings, each)
                of = f" of {all_}" if all_ else ""
                why = _ending(member.run, member.stage.title)
                yield f"{place}: not finished, {done}{of} rounds are done{why}."
        runs = every[each.group.of].runs
        there = {str(member.run.path) for member in each.group.members}
        absent = [run for run in runs if str(run.path) not in there]
        if absent:
            seeds = [str(run.record.get("seed")) for run in absent]
            yield f"{each.title}: not begun with seed {_several(seeds)}."


def _length(settings: Mapping[str, Any], kept: Entrant) -> int | None:
    """Return the number of rounds that a stage will have, if its settings say it."""
    kind = KINDS[kept.group.kind]
    own = settings.get(kind.name) if kind.trains else settings.get(kind.made_of)
    if not isinstance(own, Mapping):
        return None
    rounds = own.get("rounds", own.get("epochs"))
    per = own.get("rounds_per_epoch", 1)
    known = isinstance(rounds, int) and isinstance(per, int)
    return rounds * per if known else None


def _ending(run: Run, stage: str) -> str:
    """Return how the last command ended before the stage was done, by the run's log."""
    path = run.path / LOG
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = [line for line in file if f"  {stage}  " in line]
    found = re.search(r"  ends before it is done: (.*)", lines[-1]) if lines else None
    return f"; it ended with {found[1].strip()}" if found else ""
