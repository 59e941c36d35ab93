"""Auto-Keras: when a trial ends, what is kept of it, and what follows from a failure."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from toys import context, run

from nasrun.budget import Budget
from nasrun.strategies.autokeras import AutoKeras
from nasrun.strategies.growth import RandomGrowth, Tried
from nasrun.strategies.next_trial import Answer, Choose, Question
from nasrun.tasks.base import ImageMembersTask, MemberLearner
from nasrun.trained import Trained

BUDGET = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
FULL = "memory"
"""Instead of a score: the memory runs out."""


class Scripted(ImageMembersTask):
    """Learners whose scores are given, in the order in which they are asked for."""

    objective = score = "validation_accuracy"
    tested = "accuracy"
    inputs, outputs = 1, 2
    batch_size, size = 4, 8

    def __init__(self, *scores):
        self.scores = list(scores)
        self.images = SimpleNamespace(inputs=1, outputs=2, size=8)
        self.optimizer = torch.optim.SGD

    def begin(self, dataset, budget):
        pass

    def check(self, network):
        pass

    def needs(self, network, members, intervals):
        return ""

    def learner(self, network):
        return Pupil(self, network)


class Pupil(MemberLearner):
    def __init__(self, task, network):
        self.task, self.network = task, network

    def train_interval(self):
        self.score = self.task.scores.pop(0)
        if self.score is FULL:
            raise torch.OutOfMemoryError
        return {"loss": 0.0 if math.isfinite(self.score) else math.nan}

    def evaluate(self):
        return {"validation_accuracy": self.score}

    def test(self):
        return {"accuracy": 0.5}

    def show(self, path):
        return []

    def trained(self):
        return Trained({name: t.clone() for name, t in self.network.state_dict().items()})

    def load(self, trained):
        self.network.load_state_dict(trained.network)


def begun(home, space, *scores, budget=BUDGET, **changes):
    keys = {"trials": 3, "intervals": 2, "patience": None, "seconds": None, "inherit": True}
    search = AutoKeras(**{**keys, "growth": RandomGrowth(), **changes})
    home.mkdir(exist_ok=True)
    search.enter(home)
    search.begin(context(space, Scripted(*scores), budget))
    return search


def kept(home):
    return {path.relative_to(home).as_posix() for path in home.glob("trials/*/*.pt")}


def test_a_trial_ends_when_its_score_has_not_risen_and_keeps_its_best_state(tmp_path, morph_space):
    search = begun(
        tmp_path, morph_space, 0.5, 0.6, 0.6, 0.4, 0.7, 0.8, 0.9, intervals=5, patience=2, trials=2
    )
    assert search.rounds == 10
    told = run(search, 4)
    first = search.trials[0]
    assert first.ended
    assert first.scores == (0.5, 0.6, 0.6, 0.4)
    assert (first.score.value, first.file) == (0.6, "trials/0000/002.pt")
    assert search.rounds == 4 + 5
    assert [row["interval"] for row in told] == [1, 2, 3, 4]
    assert told[-1]["best_validation_accuracy"] == 0.6
    run(search, 3)
    assert search.trials[1].score.value == 0.9
    assert search.trials[1].ancestor == 0
    assert not search.done  # two of its intervals are left


def test_only_files_that_one_of_two_states_names_are_kept(tmp_path, morph_space):
    search = begun(tmp_path, morph_space, 0.5, 0.6, 0.7, 0.1, 0.2, 0.3, intervals=3, trials=2)
    run(search, 3)
    assert kept(tmp_path) == {f"trials/0000/00{n}.pt" for n in (1, 2, 3)}
    run(search, 1)  # the state before it names 003, the one before that 002
    first = {"trials/0000/002.pt", "trials/0000/003.pt"}
    assert kept(tmp_path) == {*first, "trials/0001/000.pt", "trials/0001/001.pt"}
    run(search, 2)
    last = {f"trials/0001/00{n}.pt" for n in (1, 2, 3)}
    assert kept(tmp_path) == {"trials/0000/003.pt", *last}


def test_a_training_that_diverges_ends_its_trial_and_nothing_grows_from_it(tmp_path, morph_space):
    search = begun(tmp_path, morph_space, 0.5, math.nan, *[0.6] * 8, trials=6, intervals=1)
    told = run(search)
    assert search.done
    assert told[1]["diverged"] == 1
    assert "validation_accuracy" not in told[1]
    assert [trial.number for trial in search.candidates] == [0, 2, 3, 4, 5]
    assert 1 not in {trial.ancestor for trial in search.trials}
    late = begun(tmp_path / "late", morph_space, 0.5, math.nan, 0.6, 0.7, trials=2)
    run(late)
    assert late.trials[0].score.value == 0.5  # the state before it diverged
    assert [trial.scores[-1] for trial in late.trials] == [-math.inf, 0.7]
    with pytest.raises(ValueError, match=r"^round 1: the first training diverged.*optimizer.lr"):
        run(begun(tmp_path / "first", morph_space, math.nan))
    with pytest.raises(ValueError, match=r"^round 1: .* more memory than there is; .*batch_size"):
        run(begun(tmp_path / "full", morph_space, FULL))


def test_no_network_of_a_size_that_the_memory_lacks_is_chosen_again(tmp_path, morph_space):
    search = begun(tmp_path, morph_space, 0.5, 0.6, FULL, *[0.7] * 9, trials=9, intervals=1)
    told = run(search)
    assert told[2] == {
        **{"trial": 2.0, "interval": 1.0, "out_of_memory": 1.0, "diverged": 1.0},
        "best_validation_accuracy": 0.6,
    }
    size = morph_space.size(search.trials[2].genotype)
    assert search.bound == size - 1
    search._hear((Answer(None, None, 0), 1.0))  # to a question from before the memory ran out
    assert search.bound == size - 1
    assert all(morph_space.size(trial.genotype) < size for trial in search.trials[3:])


def test_a_network_whose_training_needs_too_much_memory_is_refused(morph_space):
    start, task = morph_space.starts()[0], Scripted()
    anything = Choose(RandomGrowth(), morph_space, task, BUDGET)
    needed = anything.step_bytes(start)
    room = replace(BUDGET, max_memory_gib=1.0, memory_factor=2**30 / (1.05 * needed))
    assert room.room == pytest.approx(1.05 * needed)
    refused = 0
    for seed in range(4):
        answer = replace(anything, budget=room)(Question(seed, (Tried(0, start, None, 0.5),), None))
        refused += answer.refused
        assert answer.grown is None or anything.step_bytes(answer.grown.genotype) <= room.room
        if answer.refused and answer.grown:
            assert morph_space.size(answer.grown.genotype) <= answer.largest
    assert refused
    assert anything(Question(0, (Tried(0, start, None, 0.5),), None)).refused == 0


def test_a_first_network_that_needs_too_much_memory_is_refused_at_once(tmp_path, morph_space):
    budget = replace(BUDGET, max_memory_gib=1e-9)
    with pytest.raises(ValueError, match=r"^budget.max_memory_gib=1e-09: the first network needs"):
        begun(tmp_path, morph_space, budget=budget)


def test_a_search_ends_after_its_seconds_of_training_and_stays_ended(
    tmp_path, morph_space, monkeypatch
):
    now = iter(range(0, 1000, 2))  # every order takes two seconds
    monkeypatch.setattr("nasrun.strategies.next_trial.time.perf_counter", lambda: next(now))
    search = begun(tmp_path, morph_space, *[0.5] * 9, trials=9, intervals=3, seconds=7.0)
    run(search)
    assert search.stopped == "seconds=7.0 of training are spent"
    assert [trial.seconds for trial in search.trials] == [(2, 2, 2), (2,)]
    assert all(trial.ended for trial in search.trials)
    again = begun(tmp_path, morph_space, trials=9, intervals=3, seconds=7.0)
    again.load_state_dict(search.state_dict())
    assert again.done
    assert again.trials == search.trials


def test_a_search_ends_where_no_network_is_left(tmp_path, smallest):
    search = begun(tmp_path, smallest, 0.5, 0.6)
    run(search)
    assert search.stopped == "no network is left to grow after 1 trials"
    assert len(search.candidates) == 1


@pytest.mark.parametrize("inherit", [True, False])
def test_a_state_goes_on_as_the_search_itself(tmp_path, morph_space, inherit):
    scores = [0.5, 0.6, 0.55, 0.7, 0.2, 0.9]
    whole = begun(tmp_path / "whole", morph_space, *scores, inherit=inherit)
    expected = run(whole)
    assert [trial.ancestor for trial in whole.trials] == [None, 0, 0]
    found, state = [], None
    for place in range(6):
        part = begun(tmp_path / "parts", morph_space, *scores[place:], inherit=inherit)
        if state is not None:
            part.load_state_dict(state)
        part.round = place
        if place == 3:  # the second trial has begun, from its ancestor or from scratch
            assert ("trials/0001/000.pt" in kept(tmp_path / "parts")) == inherit
        found += run(part, 1)
        state = part.state_dict()
    assert found == expected
    assert [replace(t, seconds=()) for t in part.trials] == [
        replace(t, seconds=()) for t in whole.trials
    ]
