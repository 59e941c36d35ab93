"""Random search: uniform draws, the evaluator's scores, the best of them."""

import pytest

from nasrun.evaluators import Evaluator
from nasrun.genotype import NONE, AtMost, Decision, Genotype
from nasrun.selectors.fittest import Fittest
from nasrun.spaces.base import SearchSpace
from nasrun.strategies.random_search import RandomSearch


class Toy(SearchSpace):
    name = "toy"
    decisions = tuple(Decision(f"e{n}", (NONE, "a", "b")) for n in range(3))
    limits = (AtMost(("e0", "e1", "e2"), 2),)
    none_is_a_choice = False

    search_layout = published_layout = None

    def network(self, genotype=None, *, inputs, outputs, layout=None):
        raise NotImplementedError

    def restrict(self, choices):
        raise NotImplementedError

    def render(self, genotype):
        return ",".join(genotype.values())

    def parse(self, text):
        raise NotImplementedError

    def cells(self, genotype):
        return {}


class Scores(Evaluator):
    """Scores in a given order."""

    def __init__(self, scores, warm_up_rounds=0):
        self.scores, self._warm_up_rounds = list(scores), warm_up_rounds
        self.warmed, self.asked = [], []

    @property
    def warm_up_rounds(self):
        return self._warm_up_rounds

    def begin(self, space, task, budget):
        pass

    def warm_up(self, stage, progress):
        self.warmed.append(progress)
        return {"train_loss": 1.0}

    def __call__(self, genotype):
        self.asked.append(genotype)
        return {"accuracy": self.scores[len(self.asked) - 1], "loss": 2.0}

    def report(self):
        return {"note": "in a given order"}

    def state_dict(self):
        return {"asked": len(self.asked)}

    def load_state_dict(self, state):
        self.asked = [None] * state["asked"]


class Task:
    objective = "accuracy"


def begun(evaluator, candidates):
    search = RandomSearch(num_candidates=candidates, evaluator=evaluator)
    search.begin(Toy(), Task(), None)
    return search


def run(search, rounds=None):
    found = []
    while not search.done and (rounds is None or len(found) < rounds):
        found.append(search.run_round())
        search.round += 1
    return found


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
    assert [candidate.score for candidate in other.candidates] == [0.2, 0.5, 0.1, 0.4]


def test_draws_are_uniform():
    search = begun(Scores([0.0] * 2000), 2000)
    run(search)
    genotypes = [candidate.genotype for candidate in search.candidates]
    for name in ("e0", "e1", "e2"):
        shares = [sum(g[name] == choice for g in genotypes) / 2000 for choice in (NONE, "a", "b")]
        assert shares == pytest.approx([1 / 3] * 3, abs=0.05)  # two of three edges are kept


def test_the_fittest_is_the_first_of_the_best():
    search = begun(Scores([0.2, 0.5, 0.5]), 3)
    run(search)
    selector = Fittest()
    selector.begin(search, Toy())
    assert selector.rounds == 0
    assert selector.done
    assert selector.genotype == search.candidates[1].genotype
    assert isinstance(selector.genotype, Genotype)
    assert selector.report(None) == {"validation_score": 0.5, "candidates": 3}


def test_no_candidates_are_refused():
    with pytest.raises(ValueError, match="num_candidates=0: at least 1"):
        RandomSearch(num_candidates=0, evaluator=Scores([]))
