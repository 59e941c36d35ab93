"""Auto-Keras: Bayesian optimisation guides network morphism (1806.10282).

One network after the other is trained. Each grows from a trained one by morphs that keep its
function, so it starts with what its ancestor has learned. While it trains, the next one is chosen
from what is known by then: two orders of one engine, side by side or one after the other, with the
same bytes.

Where we differ from the released code: a trial keeps the state with its best score, and this score
is its result; the released code keeps the last state, with the mean of the last five scores.
Parameters that survive a morph keep their optimizer's state. Every random number belongs to a
stream named by trial and purpose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch

from nasrun.budget import MEMORY
from nasrun.context import Context
from nasrun.engines.base import given
from nasrun.genotype import Genotype
from nasrun.score import Score
from nasrun.spaces.morph import MorphSpace
from nasrun.spaces.morphs import read as read_morph
from nasrun.spaces.morphs import replayed
from nasrun.stage import Metrics
from nasrun.strategies.base import Candidate, PopulationStrategy
from nasrun.strategies.delivery import Delivery
from nasrun.strategies.grown_trial import GrownTrial
from nasrun.strategies.growth import Grown, Growth, Tried
from nasrun.strategies.members import Order, TrainMember, read, write
from nasrun.strategies.next_trial import Answer, Choose, Question, TrainOrChoose
from nasrun.streams import named
from nasrun.tasks.base import ImageMembersTask
from nasrun.trained import Trained


class AutoKeras(PopulationStrategy):
    """`trials` networks, one after the other, each chosen by `growth` and grown from a trained one.

    A trial lasts `intervals`, or ends once its score has not risen for `patience` of them (`None`:
    never). With `inherit`, a network starts with the weights of its ancestor, else from scratch. A
    training that diverges or runs out of memory ends its trial; after the latter, networks of its
    size are not chosen any more. The search stops early when no network is left to grow, and after
    `seconds` of training (`None`: never), which do not depend on the seed alone.
    """

    searches = (MorphSpace,)
    learns = ImageMembersTask
    heeds = MEMORY

    def __init__(
        self,
        *,
        trials: int,
        intervals: int,
        patience: int | None,
        seconds: float | None,
        inherit: bool,
        growth: Growth,
    ) -> None:
        if trials < 1 or intervals < 1:
            raise ValueError(f"trials={trials} intervals={intervals}: use at least 1 of each")
        if seconds is not None and not seconds > 0:
            raise ValueError(f"seconds={seconds}: use more than 0, or null for no limit")
        if patience is not None and not 1 <= patience < intervals:
            raise ValueError(
                f"patience={patience}: use 1 or more, but less than intervals={intervals}, or null "
                "for all intervals"
            )
        self.num_trials = trials
        self.intervals = intervals
        self.patience = patience
        self.seconds = seconds
        self.inherit = inherit
        self.growth = growth
        self.trials: list[GrownTrial] = []
        self.next: Grown | None = None
        self.bound: int | None = None
        self.refused = 0
        self.former: list[str] = []

    @property
    def rounds(self) -> int:
        ended = [trial for trial in self.trials if trial.ended]
        spent = sum(len(trial.scores) for trial in ended)
        return spent + self.intervals * (self.num_trials - len(ended))

    @property
    def candidates(self) -> Sequence[GrownTrial]:
        return [trial for trial in self.trials if trial.ended and trial.score.sound]

    @property
    def delivery(self) -> Delivery:
        return Delivery(self.space, self.task, self.seed, self.num_trials * self.intervals)

    def begin(self, context: Context[MorphSpace, ImageMembersTask]) -> None:
        self.space, self.task, self.budget = context.space, context.task, context.budget
        self.engine, self.streams = given(context.engine), context.streams
        (self.seed,) = self.streams.numbers("trials", 1)
        self.starts = self.space.starts()
        network = self.delivery.network(self.starts[0], self._stream(0, "check"))
        self.task.check(network)
        self.needs = self.task.needs(network, self.num_trials, self.intervals)
        choose = Choose(self.growth, self.space, self.task, self.budget)
        self.budget.refuse_beyond(lambda: choose.step_bytes(self.starts[0]), "the first network")

    def run_round(self) -> Metrics:
        self._sweep()
        former = self._referenced()
        trial = self.trials[-1] if self.trials and not self.trials[-1].ended else self._started()
        order = self._order(trial)
        asks = not trial.scores and self._chooses(trial.number + 1)
        trained, *answers = self._run([order, *([self._question()] if asks else [])])
        if full := trained is None:
            self.bound = self.space.size(trial.genotype) - 1
            trained = {self.task.objective: -math.inf, "out_of_memory": 1.0}, 0.0
        metrics, seconds = trained
        score = metrics.pop(self.task.objective)
        self.trials[-1] = trial = trial.after(score, seconds, order.target)
        if self._is_over(trial):
            self.trials[-1] = trial = replace(trial, ended=True)
        for answer in answers:
            self._hear(answer)
        if trial.ended:
            self._end(trial, full=full)
        self.former = former
        told = {self.task.score: score} if math.isfinite(score) else {"diverged": 1.0}
        best = max(each.score.merit for each in self.trials)
        return {
            "trial": float(trial.number),
            "interval": float(len(trial.scores)),
            **metrics,
            **told,
            **({f"best_{self.task.score}": best} if math.isfinite(best) else {}),
        }

    def _is_over(self, trial: GrownTrial) -> bool:
        """Return whether a trial ends after this interval."""
        stale = self.patience is not None and trial.stale >= self.patience
        return len(trial.scores) == self.intervals or stale or self._out_of_time

    @property
    def _out_of_time(self) -> bool:
        return self.seconds is not None and self.spent >= self.seconds

    @property
    def spent(self) -> float:
        """Seconds of training so far."""
        return sum(sum(trial.seconds) for trial in self.trials)

    def _end(self, trial: GrownTrial, *, full: bool) -> None:
        """Choose the next network if that was not possible yet, or end the search.

        full: the trial's training ended because memory ran out.
        """
        if not self.candidates:
            self.engine.close()
            happened = "the first training diverged; the rounds before it are kept"
            advice = "use a smaller task.optimizer.lr"
            if full:
                happened = "the first network's training needs more memory than there is"
                advice = "use a smaller task.batch_size, or a smaller width"
            raise ValueError(f"round {self.round + 1}: {happened}; {advice}")
        if self._out_of_time:
            self.stopped = f"seconds={self.seconds} of training are spent"
        elif self._chooses(trial.number + 1):
            if self.next is not None and self._too_large(self.next.genotype):
                self.next = None
            if self.next is None:
                (answer,) = self._run([self._question()])
                self._hear(answer)
            if self.next is None:
                self.stopped = f"no network is left to grow after {trial.number + 1} trials"
        if self.stopped is not None or trial.number + 1 == self.num_trials:
            self.engine.close()

    def _run(self, orders: Sequence[Order | Question]) -> list[Any]:
        """Return the engine's results in the order of the orders; `None` if memory ran out."""
        found: list[Any] = [None] * len(orders)
        cores = self.budget.resolved["threads"]
        try:
            results = self.engine.run(self._job, orders, cores)
            for position, result in self.track(results, len(orders)):
                found[position] = result
        except torch.OutOfMemoryError:
            self.engine.close()
        return found

    @cached_property
    def _job(self) -> TrainOrChoose:
        """The job, the same object in every round, so that an engine sends it only once."""
        train = TrainMember(self.space, self.task, self.home.resolve())
        return TrainOrChoose(train, Choose(self.growth, self.space, self.task, self.budget))

    def _started(self) -> GrownTrial:
        """Return the next trial, added to the others, with its ancestor's weights on disk."""
        number = len(self.trials)
        unknown = Score(self.task.score, math.nan)
        if number < len(self.starts):
            trial = GrownTrial(self.starts[number], unknown, number)
        else:
            grown = self.next
            assert grown is not None
            self.next = None
            trial = GrownTrial(
                grown.genotype, unknown, number, grown.ancestor, tuple(map(str, grown.morphs))
            )
            if self.inherit:
                ancestor = self.trials[grown.ancestor]
                generator = torch.Generator().manual_seed(self._stream(number, "morphs"))
                trained, _ = replayed(
                    self.training_of(ancestor), ancestor.genotype, grown.morphs, generator
                )
                trial = replace(trial, latest=f"{_folder(number)}/000.pt")
                write(self.home / str(trial.latest), trained, {}, "")
        self.trials.append(trial)
        return trial

    def _order(self, trial: GrownTrial) -> Order:
        return Order(
            seed=self.seed,
            interval=len(trial.scores),
            slot=trial.number,
            choices=dict(trial.genotype),
            source=trial.latest,
            target=f"{_folder(trial.number)}/{len(trial.scores) + 1:03d}.pt",
        )

    def _chooses(self, number: int) -> bool:
        """Return whether this trial's network is chosen by `growth`."""
        return len(self.starts) <= number < self.num_trials

    def _question(self) -> Question:
        tried = tuple(Tried(t.number, t.genotype, t.ancestor, t.cost) for t in self.trials)
        seed = self._stream(len(self.trials), "choose")
        return Question(seed, tried, self.bound)

    def _hear(self, answered: tuple[Answer, float] | None) -> None:
        """Take note of an answer; there is none if the engine ran out of memory."""
        if answered is None:
            return
        answer, _ = answered
        self.next = answer.grown
        self.refused += answer.refused
        bounds = [bound for bound in (self.bound, answer.largest) if bound is not None]
        self.bound = min(bounds, default=None)  # memory may have run out since the question

    def _too_large(self, genotype: Genotype) -> bool:
        return self.bound is not None and self.space.size(genotype) > self.bound

    def _stream(self, number: int, purpose: str) -> int:
        return named(self.seed, 0, number, purpose)

    def _referenced(self) -> list[str]:
        """Return the files that the state names."""
        return [file for trial in self.trials for file in trial.files]

    def _sweep(self) -> None:
        """Delete the files of trials that neither this state nor the one before names."""
        kept = {*self._referenced(), *self.former}
        for file in sorted(self.home.glob("trials/*/*.pt")):
            if file.relative_to(self.home).as_posix() not in kept:
                file.unlink()

    def training_of(self, candidate: Candidate) -> Trained:
        assert isinstance(candidate, GrownTrial) and candidate.file is not None
        return read(self.home / candidate.file)[0]

    def state_dict(self) -> dict[str, Any]:
        chosen = self.next
        return {
            "seed": self.seed,
            "trials": [trial.to_plain() for trial in self.trials],
            "next": None
            if chosen is None
            else {
                "ancestor": chosen.ancestor,
                "morphs": [str(morph) for morph in chosen.morphs],
                "choices": dict(chosen.genotype),
            },
            "bound": self.bound,
            "refused": self.refused,
            "former": list(self.former),
            "stopped": self.stopped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seed = state["seed"]
        self.trials = [
            GrownTrial.from_plain(self.space.name, self.task.score, plain)
            for plain in state["trials"]
        ]
        chosen = state["next"]
        self.next = None
        if chosen is not None:
            morphs = tuple(map(read_morph, chosen["morphs"]))
            genotype = Genotype(self.space.name, chosen["choices"])
            self.next = Grown(chosen["ancestor"], morphs, genotype)
        self.bound, self.refused = state["bound"], state["refused"]
        self.former, self.stopped = list(state["former"]), state["stopped"]

    def finish(self, folder: Any) -> dict[str, Any]:
        from nasrun.pictures.ancestry import ancestry

        tree = [
            {
                "trial": trial.number,
                "grew_from": trial.ancestor,
                "morphs": list(trial.morphs),
                "genotype": self.space.render(trial.genotype),
                "size": self.space.size(trial.genotype),
                "scores": [score if math.isfinite(score) else None for score in trial.scores],
                "score": trial.score.value if trial.score.sound else None,
                "seconds": [round(each, 3) for each in trial.seconds],
            }
            for trial in self.trials
        ]
        folder.write("tree.json", tree)
        ancestry(tree, folder.path / "tree.png", self.task.score)
        best = max(self.candidates, key=lambda trial: trial.score.merit)
        return {
            **best.score.report(),
            "trials": len(self.trials),
            "trial_of_best": best.number,
            "refused": self.refused,
            **({} if self.stopped is None else {"stopped": self.stopped}),
        }


def _folder(number: int) -> str:
    return f"trials/{number:04d}"
