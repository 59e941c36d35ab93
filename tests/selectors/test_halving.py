"""Successive halving: ever longer trainings of ever fewer contestants."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from toys import Scores, Toy, context, run

from nasrun.divergence import Diverged
from nasrun.engines.local import Serial
from nasrun.genotype import Genotype
from nasrun.selectors.halving import Halving
from nasrun.strategies.base import RankedStrategy
from nasrun.strategies.random_search import RandomSearch


class Longer(Scores):
    """Scores in a given order; it remembers how many epochs each was asked for."""

    epochs = 2

    def __init__(self, scores):
        super().__init__(scores)
        self.engine, self.lengths = Serial(), []

    def evaluate(self, genotypes, track=None, *, epochs=None):
        self.lengths.append((len(genotypes), epochs))
        return super().evaluate(genotypes, track)


class Folder:
    def write(self, name, record):
        self.written = name, json.loads(json.dumps(record))


def halving(scores=(), **settings):
    settings = {"contestants": 4, "neighbours": False, "eta": 2, "rungs": None, **settings}
    return Halving(**settings, evaluator=Longer(scores))


def begun(found, scores, contestants=4, eta=2, rungs=None):
    """The selector at a search that ended with such scores, its own trainings giving others."""
    search = RandomSearch(num_candidates=len(found), together=1, evaluator=Scores(found))
    search.begin(context(Toy()))
    run(search)
    selector = halving(scores, contestants=contestants, eta=eta, rungs=rungs)
    selector.begin(context(Toy()), search)
    return selector, [candidate.genotype for candidate in search.candidates]


def distinct(count):
    """Return scores, after a seed that draws a different architecture for each."""
    torch.manual_seed(21)
    return [0.1 * number for number in range(count)]


def test_every_rung_trains_the_better_part_longer():
    found = distinct(5)
    selector, genotypes = begun(found, [0.3, 0.9, 0.5, 0.7, 0.6, 0.8, 0.1])
    assert len(set(genotypes)) == 5
    assert selector.rounds == 2
    metrics = run(selector)
    assert selector.evaluator.lengths == [(4, 2), (2, 4)]
    contestants = genotypes[:0:-1]  # the best of the search first, its worst left out
    asked = selector.evaluator.asked
    assert asked[:4] == contestants
    assert asked[4:] == [contestants[1], contestants[3]]  # 0.9, then 0.7
    assert selector.genotype == contestants[3]  # 0.8 in the last rung, against 0.6
    assert metrics[-1]["best_validation_accuracy"] == 0.8
    assert metrics[-1]["contestants"] == 2


def test_an_architecture_is_as_good_as_its_best_score():
    torch.manual_seed(21)
    search = RandomSearch(num_candidates=4, together=1, evaluator=Scores([0.9, 0.8, 0.7, 0.1]))
    search.begin(context(Toy()))
    torch.manual_seed(3)
    first, second, third = (Toy().sample() for _ in range(3))
    assert len({first, second, third}) == 3
    proposed = iter([first, second, third, first])
    search.propose = lambda count: [next(proposed)]
    run(search)
    selector = halving([0.5, 0.4], contestants=2, eta=2)
    selector.begin(context(Toy()), search)
    run(selector)
    assert selector.evaluator.asked == [first, second]


def test_where_the_limits_allow_no_candidate_those_contest_that_it_is_exchanged_for():
    torch.manual_seed(21)
    search = RandomSearch(num_candidates=3, together=1, evaluator=Scores([0.9, 0.8, 0.7]))
    search.begin(context(Toy()))
    run(search)
    allowed = {c.genotype: Genotype("toy", {**c.genotype, "e0": "a"}) for c in search.candidates}
    selector = halving([0.1, 0.2, 0.3], contestants=3, eta=3)
    limits = SimpleNamespace(allow=lambda g: False, nearest=allowed.__getitem__)
    selector.begin(context(Toy(), limits=limits), search)
    run(selector)
    assert set(selector.evaluator.asked) == set(allowed.values())
    assert selector.report(Folder())["validation_accuracy"] > 0


def test_an_architecture_contests_once():
    search = RandomSearch(num_candidates=3, together=1, evaluator=Scores([0.2, 0.5, 0.4]))
    search.begin(context(Toy()))
    genotype = Toy().sample()
    search.propose = lambda count: [genotype]
    run(search)
    selector = halving([], contestants=4, eta=2)
    selector.begin(context(Toy()), search)
    assert selector.rounds == 0
    assert selector.genotype == search.candidates[0].genotype
    assert selector.report(Folder()) == {"candidates": 1}


def test_it_ends_after_a_given_number_of_rungs():
    selector, genotypes = begun(distinct(5), [0.3, 0.9, 0.5, 0.7, 0.1, 0.6, 0.8], 5, rungs=1)
    assert selector.rounds == 1
    run(selector)
    assert selector.evaluator.lengths == [(5, 2)]
    assert selector.genotype == genotypes[::-1][1]  # 0.9 in the only rung


def test_after_a_supernet_its_likeliest_architectures_contest():
    likeliest = [Toy().sample() for _ in range(3)]
    asked = []

    class Ranked(RankedStrategy):
        """A search that knows its three best architectures."""

        def __init__(self):
            """Take nothing."""

        def promising(self, count, limits):
            asked.append((count, limits))
            return likeliest

    Ranked.__abstractmethods__ = frozenset()
    selector = halving([0.1, 0.3, 0.2], contestants=3, eta=3)
    selector.begin(context(Toy()), Ranked())
    run(selector)
    assert asked == [(3, None)]
    assert selector.evaluator.asked == likeliest
    assert selector.genotype == likeliest[1]


@pytest.mark.parametrize(
    ("contestants", "eta", "rounds"), [(1, 2, 0), (8, 2, 3), (9, 3, 2), (3, 1.1, 2)]
)
def test_the_number_of_rungs_follows_from_the_contestants(contestants, eta, rounds):
    selector, _ = begun(distinct(1), [])
    selector._contestants = selector._contestants * contestants
    selector.eta = eta
    assert selector.rounds == rounds


def test_the_state_brings_back_the_rungs_that_are_done():
    scores = [0.3, 0.9, 0.5, 0.7, 0.6, 0.8]
    whole, _ = begun(distinct(5), scores)
    run(whole)
    first, _ = begun(distinct(5), scores)
    run(first, 1)
    second, _ = begun(distinct(5), scores)
    second.load_state_dict(first.state_dict())
    second.evaluator.load_state_dict(first.evaluator.state_dict())
    second.round = 1
    run(second)
    assert second.genotype == whole.genotype
    folders = Folder(), Folder()
    assert second.report(folders[0]) == whole.report(folders[1])
    assert folders[0].written == folders[1].written
    name, rungs = folders[0].written
    assert name == "rungs.json"
    assert [rung["epochs"] for rung in rungs] == [2, 4]
    assert [[score for _, score in rung["scores"]] for rung in rungs] == [
        [0.9, 0.7, 0.5, 0.3],
        [0.8, 0.6],
    ]


def test_limits_are_obeyed_where_a_candidate_does():
    class Few:
        def allow(self, genotype):
            return genotype["e0"] == "none"

    search = RandomSearch(num_candidates=20, together=1, evaluator=Scores(distinct(20)))
    search.begin(context(Toy()))
    run(search)
    selector = halving([0.0] * 9, contestants=3, eta=2)
    selector.begin(context(Toy(), limits=Few()), search)
    run(selector)
    assert {genotype["e0"] for genotype in selector.evaluator.asked} == {"none"}


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [({"contestants": 1}, "contestants=1"), ({"eta": 1}, "eta=1"), ({"rungs": 0}, "rungs=0")],
)
def test_impossible_values_are_refused(settings, wrong):
    with pytest.raises(ValueError, match=wrong):
        halving(**settings)


def test_a_contestant_whose_training_diverges_comes_last():
    selector, _ = begun(distinct(4), [0.3, -math.inf, 0.5, 0.4, 0.6, 0.7])
    first, last = run(selector)
    assert (first["best_validation_accuracy"], first["worst_validation_accuracy"]) == (0.5, 0.3)
    assert first["diverged"] == 1
    assert "diverged" not in last
    assert selector.genotype == selector.evaluator.asked[-1]


def test_a_rung_whose_trainings_all_diverge_ends_the_selection():
    selector, _ = begun(distinct(4), [0.3, 0.2, 0.5, 0.4, -math.inf, -math.inf])
    with pytest.raises(Diverged, match=r"every contestant .*smaller evaluator\.optimizer\.lr"):
        run(selector)


CENTRE = {"e0": "a", "e1": "none", "e2": "b"}
NEIGHBOURS = [
    ("b", "none", "b"),
    ("a", "none", "a"),
    ("none", "a", "b"),
    ("a", "a", "none"),
    ("none", "b", "b"),
    ("a", "b", "none"),
]
"""Another operation on a kept edge, or an operation on the dropped one in place of a kept edge."""


def genotype(*choices):
    return Genotype("toy", dict(zip(("e0", "e1", "e2"), choices, strict=True)))


def near(seed=0, contestants=25, limits=None):
    """The selector at a search whose best candidate is the centre."""
    torch.manual_seed(seed)
    search = RandomSearch(num_candidates=2, together=1, evaluator=Scores([0.9, 0.1]))
    search.begin(context(Toy()))
    proposed = iter([Genotype("toy", CENTRE), genotype("b", "b", "none")])
    search.propose = lambda count: [next(proposed)]
    run(search)
    selector = halving(contestants=contestants, neighbours=True, eta=3)
    selector.begin(context(Toy(), limits=limits), search)
    return selector


def test_the_choice_of_the_search_contests_with_all_that_differ_in_one_decision():
    first, *others = near()._contestants
    assert first == Genotype("toy", CENTRE)
    assert len(others) == len(set(others)) == 6
    assert set(others) == {genotype(*choices) for choices in NEIGHBOURS}


def test_of_more_neighbours_some_are_drawn():
    met = set()
    for seed in range(30):
        first, *drawn = near(seed, contestants=3)._contestants
        assert first == Genotype("toy", CENTRE)
        assert len(set(drawn)) == 2
        met |= set(drawn)
    assert met == {genotype(*choices) for choices in NEIGHBOURS}
    assert near(5, contestants=3)._contestants == near(5, contestants=3)._contestants


@pytest.mark.parametrize("contestants", [2, 25])
def test_only_neighbours_within_the_limits_contest(contestants):
    limits = SimpleNamespace(allow=lambda g: g["e2"] == "b", nearest=lambda g, p: g)
    found = near(contestants=contestants, limits=limits)._contestants
    assert len(found) == min(contestants, 4)
    assert {g["e2"] for g in found} == {"b"}


def test_the_plan_counts_the_neighbours():
    assert near()._expected(None) == 7
    assert near(contestants=4)._expected(None) == 4
