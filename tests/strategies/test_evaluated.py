"""Searches that score whole architectures: warm-up, then proposals and their scores."""

import math
from types import SimpleNamespace

import pytest
from toys import Scores, Toy, context, run

from nasrun.genotype import NONE
from nasrun.strategies.random_search import RandomSearch


def begun(evaluator, candidates, together=1):
    search = RandomSearch(num_candidates=candidates, together=together, evaluator=evaluator)
    search.begin(context(Toy()))
    return search


def test_a_candidate_is_drawn_and_scored_each_round():
    evaluator = Scores([0.2, 0.5, 0.1])
    search = begun(evaluator, 3)
    metrics = run(search)
    assert [m["validation_accuracy"] for m in metrics] == [0.2, 0.5, 0.1]
    assert [m["best_validation_accuracy"] for m in metrics] == [0.2, 0.5, 0.5]
    assert [candidate.genotype for candidate in search.candidates] == evaluator.asked
    assert all(sum(c != NONE for c in g.values()) == 2 for g in evaluator.asked)


def test_warm_up_comes_first_and_is_told_how_far_it_is():
    evaluator = Scores([0.2], warm_up_rounds=4)
    search = begun(evaluator, 1)
    assert search.rounds == 5
    metrics = run(search)
    assert evaluator.warmed == [0, 0.25, 0.5, 0.75]
    assert [set(m) for m in metrics[:4]] == [{"train_loss"}] * 4
    assert len(evaluator.asked) == 1


def test_the_state_brings_back_candidates_and_evaluator():
    search = begun(Scores([0.2, 0.5, 0.1, 0.4]), 4)
    run(search, 2)
    other = begun(Scores([0.2, 0.5, 0.1, 0.4]), 4)
    other.load_state_dict(search.state_dict())
    other.round = 2
    assert other.candidates == search.candidates
    assert run(other)[-1]["best_validation_accuracy"] == 0.5
    assert [candidate.score.value for candidate in other.candidates] == [0.2, 0.5, 0.1, 0.4]


def test_what_an_evaluator_refuses_is_refused_by_its_key_as_typed(monkeypatch):
    def check(self, task):
        raise ValueError("evaluator.images=9: there are 8 training images; use at most 8")

    monkeypatch.setattr(Scores, "check", check)
    with pytest.raises(ValueError, match=r"^strategy\.evaluator\.images=9: there are 8"):
        begun(Scores([]), 1)


def test_no_candidates_are_refused():
    with pytest.raises(ValueError, match="num_candidates=0 together=1: use at least 1"):
        RandomSearch(num_candidates=0, together=1, evaluator=Scores([]))


def test_candidates_of_a_round_are_scored_together():
    search = begun(Scores([0.2, 0.6, 0.1, 0.3, 0.5]), 5, together=2)
    assert search.rounds == 3
    metrics = run(search)
    assert [m["validation_accuracy"] for m in metrics] == pytest.approx([0.4, 0.2, 0.5])
    assert [m["best_validation_accuracy"] for m in metrics] == [0.6, 0.6, 0.6]
    assert [candidate.score.value for candidate in search.candidates] == [0.2, 0.6, 0.1, 0.3, 0.5]


def test_a_candidate_that_cannot_be_trained_is_the_worst_and_no_part_of_the_mean():
    search = begun(Scores([-math.inf, 0.2, 0.4, -math.inf]), 4, together=2)
    metrics = run(search)
    assert metrics[0] == {
        "validation_accuracy": 0.2,
        "validation_loss": 2.0,
        "diverged": 1,
        "best_validation_accuracy": 0.2,
    }
    assert metrics[1]["validation_accuracy"] == 0.4
    assert max(candidate.score.merit for candidate in search.candidates) == 0.4


def test_a_search_none_of_whose_candidates_could_be_trained_has_no_result(tmp_path):
    search = begun(Scores([-math.inf, -math.inf]), 2)
    assert run(search) == [{"diverged": 1}, {"diverged": 1}]
    with pytest.raises(ValueError, match=r"trained; use a smaller strategy.evaluator.opt"):
        search.finish(SimpleNamespace(metrics=list, path=tmp_path))
