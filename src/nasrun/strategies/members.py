"""The members of a population: what each is, the job that trains one, and its file."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nasrun.divergence import finite
from nasrun.files import refuse_flipped, write_whole
from nasrun.genotype import Genotype, fingerprint
from nasrun.score import Score
from nasrun.spaces.decision import DecisionSpace
from nasrun.stage import Metrics
from nasrun.strategies.base import Candidate
from nasrun.tasks.base import PopulationTask
from nasrun.trained import Trained


def rank(member: Member) -> tuple[float, int]:
    """The fittest first, members without a score last; ties go to the lower slot."""
    return (-member.score.merit, member.slot)


def folder_of(interval: int) -> str:
    """Where the members' files of an interval lie, in the home folder."""
    return f"members/{interval:04d}"


@dataclass(frozen=True)
class Member(Candidate):
    """One of the population: `slot` is its place, `file` what it has learned, in the home folder.

    `founders` says of each decision from which first member it comes. `born` is the interval after
    which it was made, `base_score` its base parent's score then.
    """

    slot: int
    file: str | None = None
    founders: Mapping[str, int] | None = None
    born: int = 0
    base_score: float = math.nan

    @property
    def sound(self) -> bool:
        """Whether it has a score: it was scored, and did not diverge."""
        return math.isfinite(self.score.value)

    def to_plain(self) -> dict[str, Any]:
        """As tensors, numbers, strings, lists and dicts."""
        return {
            "choices": dict(self.genotype),
            "score": self.score.value,
            "slot": self.slot,
            "file": self.file,
            "founders": dict(self.founders or {}),
            "born": self.born,
            "base_score": self.base_score,
        }

    @classmethod
    def from_plain(cls, space: str, score: str, plain: dict[str, Any]) -> Member:
        """The member of such a record; `score` is what its score is called."""
        rest = {key: value for key, value in plain.items() if key not in ("choices", "score")}
        return cls(Genotype(space, plain["choices"]), Score(score, plain["score"]), **rest)


def summary(
    members: Sequence[Member], found: Sequence[Metrics], objective: str, interval: int
) -> Metrics:
    """What a round says of all members, of which these metrics were found in the interval."""
    scores = [member.score.value for member in members]
    ranked = sorted(member.score.value for member in members if member.sound)
    born = [member for member in members if member.sound and member.born == interval > 0]
    sound = [metrics for metrics in found if math.isfinite(metrics[objective])]
    names = [name for name in sound[0] if name != objective]
    told = {name: statistics.fmean(each[name] for each in sound) for name in names}
    if lost := len(found) - len(sound):
        told["diverged"] = float(lost)
    told |= {
        "best_score": ranked[-1],
        "median_score": statistics.median(ranked),
        "worst_score": ranked[0],
        "distinct": float(len({member.genotype for member in members})),
    }
    if born:  # how far children are from their base parent's score, one interval after birth
        told["child_gain"] = statistics.fmean(m.score.value - m.base_score for m in born)
    return told | {f"score_{slot:02d}": score for slot, score in enumerate(scores)}


def shares(members: Sequence[Member]) -> list[float]:
    """How large a part of all decisions comes from each first member."""
    founders = [founder for member in members for founder in (member.founders or {}).values()]
    return [founders.count(slot) / len(founders) for slot in range(len(members))]


def sweep(home: Path, interval: int, kept: Collection[str | None]) -> None:
    """Delete members' files but those `kept`, of intervals before the last two states."""
    for folder in sorted((home / "members").glob("[0-9]*")):
        if int(folder.name) < interval - 1 and not folder.is_symlink():
            for file in folder.iterdir():
                if f"members/{folder.name}/{file.name}" not in kept:
                    file.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()


def stream(seed: int, interval: int, slot: int, purpose: str) -> int:
    """The seed of a random stream: no two of a search share one."""
    return int(fingerprint([seed, interval, slot, purpose]), 16)


@dataclass(frozen=True)
class Order:
    """One member's next interval: what to start from, and where to put what comes of it."""

    seed: int
    interval: int
    slot: int
    choices: Mapping[str, str]
    source: str | None
    target: str

    @property
    def mark(self) -> str:
        """What tells its result from that of another order."""
        return fingerprint([self.seed, self.interval, self.slot, dict(self.choices), self.source])


@dataclass(frozen=True)
class TrainMember:
    """The job that an engine runs: train one member for an interval, score it, keep it on disk.

    What is on disk already, of an interval that was interrupted, is not trained again.
    """

    space: DecisionSpace
    task: PopulationTask
    home: Path

    def __call__(self, order: Order) -> Metrics:
        target = self.home / order.target
        if target.exists():
            with suppress(ValueError):  # a damaged one is trained again
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
        metrics = {task.objective: -math.inf}  # of one that diverged, now or before
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
        torch.manual_seed(stream(order.seed, order.interval, order.slot, purpose))


def write(path: Path, trained: Trained, metrics: Metrics, mark: str) -> None:
    """Write what a member has learned, at once, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**vars(trained), "metrics": metrics, "mark": mark}
    write_whole(path, lambda file: torch.save(content, file))


def read(path: Path) -> tuple[Trained, Metrics, str]:
    """What `write` wrote."""
    try:
        refuse_flipped(path)
        saved = torch.load(path, map_location="cpu", weights_only=True)
        metrics, mark = saved.pop("metrics"), saved.pop("mark")
        return Trained(**saved), metrics, mark
    except FileNotFoundError as error:
        raise ValueError(f"{path}: a member's file is missing; put it back to continue") from error
    except Exception as error:
        raise ValueError(f"{path}: a member's file is damaged; put it back to continue") from error
