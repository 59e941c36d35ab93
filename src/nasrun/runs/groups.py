"""Stages of many runs, grouped over their seeds."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nasrun.config.stages import SEARCH, SELECT
from nasrun.genotype import fingerprint
from nasrun.runs.differences import Settings, as_typed, differing, settings
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder
from nasrun.runs.standing import Standing, signed


@dataclass(frozen=True)
class Seeded:
    """A stage of one run among those of its seeds; `result` is `None` until it is finished."""

    run: Run
    stage: StageFolder
    result: dict[str, Any] | None


Judging = Callable[[Mapping[str, Any], str], Standing | None]
"""From a result and the kind of its stage to its score."""


@dataclass
class Group:
    """One stage of one configuration over all its seeds, titled as in the first run.

    of: the fingerprint that the configurations of its runs share. settings: the configuration of
    the stage and of the search before it. judge: gives the score of a result of a kind of stage.
    """

    of: str
    settings: Settings
    members: list[Seeded] = field(default_factory=list)
    judge: Judging = Standing.of

    @property
    def first(self) -> Path:
        """Path of the first run."""
        return self.members[0].run.path

    @property
    def title(self) -> str:
        """The stage and its branch, as the first run names them."""
        return self.members[0].stage.title

    @property
    def kind(self) -> str:
        """One of search, select, retrain and transfer."""
        return self.members[0].stage.kind

    @property
    def results(self) -> list[dict[str, Any] | None]:
        """Results of all runs."""
        return [member.result for member in self.members]

    @property
    def run(self) -> str:
        """Path of the first run."""
        return str(self.first)

    @property
    def done(self) -> list[dict[str, Any]]:
        """Results of the runs that have finished the stage."""
        return [result for result in self.results if result is not None]

    @property
    def judged(self) -> list[tuple[Seeded, Standing]]:
        """The finished runs that are judged as the first one is, with their standings."""
        found = [(member, standing) for member in self.members if (standing := self._of(member))]
        return [(member, standing) for member, standing in found if standing.on == found[0][1].on]

    def _of(self, member: Seeded) -> Standing | None:
        return None if member.result is None else self.judge(member.result, self.kind)

    @property
    def standings(self) -> list[Standing]:
        """Standings of the finished runs that are judged as the first one is."""
        return [standing for _, standing in self.judged]

    def looked_up(self) -> Iterator[Group]:
        """Yield this group as a table judges it, per data set, where it is judged otherwise."""
        for data in dict.fromkeys(data for each in self.done for data in Standing.looked_up(each)):
            judged = replace(self, judge=_by_table(data))
            if judged.on != self.on:
                yield judged

    @property
    def like(self) -> tuple[Path, str]:
        """Key of comparable groups: the versions' folder and the stage."""
        return self.first.parent, re.sub(r"-\d+$", "", self.title)

    @property
    def on(self) -> str | None:
        """Name of the score, or the data that it is measured on."""
        return self.standings[0].on if self.standings else None

    @property
    def score(self) -> float | None:
        """Mean score."""
        scores = [standing.value for standing in self.standings]
        return statistics.fmean(scores) if scores else None

    @property
    def merit(self) -> float | None:
        """The mean score, or minus it if a smaller one is better."""
        return signed(self.score, not self.standings or self.standings[0].higher_is_better)

    @property
    def seconds(self) -> float | None:
        """Mean seconds."""
        return statistics.fmean(result["seconds"] for result in self.done) if self.done else None

    def row(self) -> tuple[str, ...]:
        """Return first run, stage, number of runs, mean and standard deviation, data, minutes."""
        standings, mean = self.standings, "-"
        if standings:
            scores = [standing.value for standing in standings]
            scale, unit, digits = (100, "%", ".2f") if standings[0].is_accuracy else (1, "", ".4g")
            mean = f"{scale * statistics.fmean(scores):{digits}}{unit}"
            if len(scores) > 1:
                mean += f" ± {scale * statistics.stdev(scores):{digits}}"
        # runs that another score judges are not in the mean
        count = len(standings) or len(self.done)
        among = f" of {len(self.results)}" if count < len(self.results) else ""
        minutes = "-" if self.seconds is None else f"{self.seconds / 60:.1f}"
        return self.run, self.title, f"{count}{among}", mean, self.on or "-", minutes


def _by_table(data: str) -> Judging:
    return lambda result, kind: Standing.looked_up(result).get(data)


Pairing = tuple[str, str, str]
"""Fingerprint of a run's configuration, kind of a stage, and fingerprint of its configuration."""


def grouped(
    paths: Sequence[Path], done: Collection[Path] | None = None
) -> tuple[list[Group], dict[Path, str]]:
    """Return the stages of runs, grouped over seeds, and the errors of runs that cannot be read.

    `done` are the folders of the stages that count, `None` for all.
    """
    groups: dict[Pairing, Group] = {}
    damaged: dict[Path, str] = {}
    for path in dict.fromkeys(paths):
        run = Run(path)
        try:
            found = [
                (key, _settings(run, stage), Seeded(run, stage, _result(stage)))
                for key, stage in _stages(run)
            ]
        except ValueError as error:
            damaged[path] = str(error)
            continue
        for key, made, member in found:
            if done is None or member.stage.path in done:
                groups.setdefault(key, Group(key[0], made)).members.append(member)
    return list(groups.values()), damaged


def _result(stage: StageFolder) -> dict[str, Any] | None:
    return stage.result if stage.finished else None


def _stages(run: Run) -> Iterator[tuple[Pairing, StageFolder]]:
    """Yield every stage with a key that its seeds share."""
    own = shared(run)
    chosen: dict[str, str] = {}  # by a selection's fingerprint, the one that its seeds share
    for stage in run.stages():
        mark = fingerprint(_common(stage, chosen))
        if stage.kind == SELECT.name:
            chosen[stage.fingerprint] = mark
        yield (own, stage.kind, mark), stage


def shared(run: Run) -> str:
    """Return the fingerprint of a run's configuration without what depends on the seed."""
    seeded = ("seed", "genotype") if run.record.get("genotype") == "random" else ("seed",)
    return fingerprint({key: value for key, value in run.config.items() if key not in seeded})


def _settings(run: Run, stage: StageFolder) -> Settings:
    """Return the settings of a stage and of the search before it, without the seed."""
    own = {} if stage.kind == SEARCH.name else stage.config
    found = settings(run.config, own, run.record["scale"])
    return {key: value for key, value in found.items() if key != "seed"}


def told_apart(groups: Sequence[Group]) -> list[str]:
    """Return for every group the settings in which it differs from comparable ones."""
    alike: dict[tuple[Path, str], list[Group]] = {}
    for group in groups:
        alike.setdefault(group.like, []).append(group)
    keys = {like: differing([each.settings for each in some]) for like, some in alike.items()}
    return [
        " ".join(as_typed(key, group.settings.get(key)) for key in keys[group.like])
        for group in groups
    ]


def _common(stage: StageFolder, chosen: Mapping[str, str]) -> dict[str, Any]:
    """Return a stage's own configuration without the parts that depend on the seed.

    The number in a folder's name, as in `perturb-2`, depends on what else was done in the run.
    """
    if stage.kind == SEARCH.name:
        return {}
    own = {k: v for k, v in stage.config.items() if k not in ("fingerprint", "parent")}
    if stage.kind == SELECT.name:
        return {**own, "option": stage.option}
    if stage.parent in chosen:
        own["source"] = chosen[stage.parent]
    elif stage.source != "random":
        return own
    return {key: value for key, value in own.items() if key != "genotype"}
