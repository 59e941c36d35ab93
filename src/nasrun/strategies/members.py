"""Members of a population, the job that trains one, and its file."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from nasrun.divergence import finite
from nasrun.engines.base import refuse_unseen
from nasrun.files import refuse_flipped, write_whole
from nasrun.genotype import Genotype, fingerprint
from nasrun.score import Score
from nasrun.spaces.base import Space
from nasrun.stage import Metrics
from nasrun.strategies.base import Candidate
from nasrun.streams import named
from nasrun.tasks.base import PopulationTask
from nasrun.trained import Trained

Own = TypeVar("Own", bound="SavedCandidate")


def rank(member: Member) -> tuple[float, int]:
    """Sort key: the fittest first, members without a score last; ties go to the lower slot."""
    return (-member.score.merit, member.slot)


def folder_of(interval: int) -> str:
    """Return the folder of an interval's member files, relative to the home folder."""
    return f"members/{interval:04d}"


@dataclass(frozen=True)
class SavedCandidate(Candidate):
    """A candidate that a state holds, with fields of numbers, strings, tuples and mappings."""

    def to_plain(self) -> dict[str, Any]:
        """Return the candidate as numbers, strings, lists and dicts."""
        rest = {key: value for key, value in vars(self).items() if key not in ("genotype", "score")}
        rest = {key: list(each) if isinstance(each, tuple) else each for key, each in rest.items()}
        return {"choices": dict(self.genotype), "score": self.score.value, **rest}

    @classmethod
    def from_plain(cls: type[Own], space: str, score: str, plain: Mapping[str, Any]) -> Own:
        """Return the candidate from its plain form; `score` is the name of its score."""
        rest = {key: value for key, value in plain.items() if key not in ("choices", "score")}
        rest = {key: tuple(each) if isinstance(each, list) else each for key, each in rest.items()}
        return cls(Genotype(space, plain["choices"]), Score(score, plain["score"]), **rest)


@dataclass(frozen=True)
class Member(SavedCandidate):
    """A member of the population.

    `slot` is its place, `file` the path of what it has learned, relative to the home folder.
    `founders` maps each decision to the slot of the first member that it comes from. `born` is the
    interval after which it was made, `base_score` its base parent's score at that time.
    """

    slot: int
    file: str | None = None
    founders: Mapping[str, int] = field(default_factory=dict)
    born: int = 0
    base_score: float = math.nan

    @property
    def sound(self) -> bool:
        """Return whether the member was scored and did not diverge."""
        return math.isfinite(self.score.value)


def summary(
    members: Sequence[Member], found: Sequence[Metrics], objective: str, interval: int
) -> Metrics:
    """Return the metrics of a round; `found` has each member's metrics of the interval."""
    scores = [member.score.value for member in members]
    ranked = sorted(member.score.value for member in members if member.sound)
    born = [member for member in members if member.sound and member.born == interval > 0]
    sound = [each for each in found if math.isfinite(each[objective])]
    names = [name for name in sound[0] if name != objective]
    metrics = {name: statistics.fmean(each[name] for each in sound) for name in names}
    if lost := len(found) - len(sound):
        metrics["diverged"] = float(lost)
    metrics |= {
        "best_score": ranked[-1],
        "median_score": statistics.median(ranked),
        "worst_score": ranked[0],
        "distinct": float(len({member.genotype for member in members})),
    }
    if born:  # children's scores less their base parents', one interval after birth
        metrics["child_gain"] = statistics.fmean(m.score.value - m.base_score for m in born)
    return metrics | {f"score_{slot:02d}": score for slot, score in enumerate(scores)}


def shares(members: Sequence[Member]) -> list[float]:
    """Return the share of all decisions that comes from each first member."""
    founders = [founder for member in members for founder in member.founders.values()]
    return [founders.count(slot) / len(founders) for slot in range(len(members))]


def sweep(home: Path, interval: int, kept: Collection[str | None]) -> None:
    """Delete member files of intervals before the last two saved states, except those `kept`."""
    for folder in sorted((home / "members").glob("[0-9]*")):
        if int(folder.name) < interval - 1 and not folder.is_symlink():
            for file in folder.iterdir():
                if f"members/{folder.name}/{file.name}" not in kept:
                    file.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()


@dataclass(frozen=True)
class Order:
    """The order to train one member for an interval, from file `source` to file `target`."""

    seed: int
    interval: int
    slot: int
    choices: Mapping[str, str]
    source: str | None
    target: str

    @property
    def mark(self) -> str:
        """Fingerprint that distinguishes its result from another order's."""
        return fingerprint([self.seed, self.interval, self.slot, dict(self.choices), self.source])


@dataclass(frozen=True)
class TrainMember:
    """The engine's job: train one member for an interval, score it and write it to disk.

    A member that an interrupted interval already wrote is not trained again.
    """

    space: Space
    task: PopulationTask
    home: Path

    def __call__(self, order: Order) -> Metrics:
        refuse_unseen(self.home)
        target = self.home / order.target
        if target.exists():
            with suppress(ValueError):  # a damaged file is trained again
                _, metrics, mark = read(target)
                if mark == order.mark:
                    return metrics
        genotype = Genotype(self.space.name, order.choices)
        self._seed(order, "initialise")
        task = self.task
        network = self.space.network(genotype, inputs=task.inputs, outputs=task.outputs)
        learner = task.learner(network)
        if order.source is not None:
            learner.load(read(self.home / order.source)[0])
        metrics = {task.objective: -math.inf}  # if it diverges now, or did before
        if finite({}, learner.network):
            self._seed(order, "train")
            losses = learner.train_interval()
            if finite(losses, learner.network):
                self._seed(order, "evaluate")
                metrics = losses | learner.evaluate()
        write(target, learner.trained(), metrics, order.mark)
        return metrics

    @staticmethod
    def _seed(order: Order, purpose: str) -> None:
        torch.manual_seed(named(order.seed, order.interval, order.slot, purpose))


def write(path: Path, trained: Trained, metrics: Metrics, mark: str) -> None:
    """Write what a member has learned, as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**vars(trained), "metrics": metrics, "mark": mark}
    write_whole(path, lambda file: torch.save(content, file))


def read(path: Path) -> tuple[Trained, Metrics, str]:
    """Return what `write` wrote; ValueError if the file is missing or damaged."""
    try:
        refuse_flipped(path)
        saved = torch.load(path, map_location="cpu", weights_only=True)
        metrics, mark = saved.pop("metrics"), saved.pop("mark")
        return Trained(**saved), metrics, mark
    except FileNotFoundError as error:
        raise ValueError(f"{path}: a member's file is missing; put it back to continue") from error
    except Exception as error:
        raise ValueError(f"{path}: a member's file is damaged; put it back to continue") from error
