"""Regularised evolution: random first, then mutations of tournament winners, the oldest dies."""

import math
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from toys import Scores, Toy, context, run

from nasrun.data.table import Table
from nasrun.evaluators.tabular import Tabular
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.strategies.evolution import Evolution, WarmStart
from nasrun.strategies.random_search import RandomSearch

TABLE = Path(__file__).parents[3] / "shared/data/nasbench201-cifar10.csv"
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def begun(scores, population=4, tournament=4, together=1, warm_start=None):
    search = Evolution(
        num_candidates=len(scores),
        together=together,
        population=population,
        tournament=tournament,
        warm_start=warm_start,
        evaluator=Scores(scores),
    )
    search.begin(context(Toy()))
    return search


def difference(one, other):
    return sum(one[name] != other[name] for name in one)


def test_the_best_of_the_living_is_mutated():
    torch.manual_seed(0)
    search = begun([0.1, 0.9, 0.2, 0.3, *[0.0] * 40])
    run(search)
    found = [candidate.genotype for candidate in search.candidates]
    for number in range(4, 6):  # the second of the first four is alive until two more are there
        assert 1 <= difference(found[number], found[1]) <= 2
    for number in range(6, 8):  # then it is the fourth's turn
        assert 1 <= difference(found[number], found[3]) <= 2


def test_the_oldest_dies_even_if_it_is_the_best(monkeypatch):
    torch.manual_seed(0)
    search = begun([0.9, 0.1, 0.2, 0.3, *[0.0] * 10])
    parents = []
    mutate = Toy.mutate
    monkeypatch.setattr(
        Toy, "mutate", lambda space, parent, stream: parents.append(parent) or mutate(space, parent)
    )
    run(search)
    found = [candidate.genotype for candidate in search.candidates]
    assert parents[0] == found[0]
    assert parents[1] == found[3]  # of the candidates 1 to 4 the best


def test_a_tournament_of_one_is_a_uniform_draw(monkeypatch):
    torch.manual_seed(0)
    search = begun([0.9, 0.0, 0.0], population=2, tournament=1)
    run(search, 2)
    monkeypatch.setattr(Toy, "mutate", lambda space, parent, stream: parent)
    first = search.candidates[0].genotype
    drawn = [search.propose(1)[0] is first for _ in range(400)]
    assert sum(drawn) == pytest.approx(200, abs=40)


def test_children_of_a_round_have_parents_from_the_same_population(monkeypatch):
    parents = []
    monkeypatch.setattr(
        Toy, "mutate", lambda space, parent, stream: parents.append(parent) or parent
    )
    torch.manual_seed(0)
    search = begun([0.1, 0.9, *[1.0] * 4], population=2, tournament=2, together=2)
    run(search)
    found = [candidate.genotype for candidate in search.candidates]
    assert search.rounds == 3
    assert parents[:2] == [found[1]] * 2


def test_a_warm_start_makes_the_better_half_of_what_it_scores_the_first_population():
    torch.manual_seed(0)
    judge = Scores([0.3, 0.8, -math.inf, 0.9, 0.1, 0.8])
    search = begun(
        [0.0] * 8, population=3, tournament=1, warm_start=WarmStart(scored=6, evaluator=judge)
    )
    run(search, 1)
    other = begun(
        [0.0] * 8, population=3, tournament=1, warm_start=WarmStart(scored=6, evaluator=Scores([]))
    )
    other.load_state_dict(search.state_dict())
    other.round = 1
    run(other)
    assert len(judge.asked) == 6
    first = [candidate.genotype for candidate in other.candidates][:3]
    assert first == [judge.asked[1], judge.asked[3], judge.asked[5]]
    assert search.candidates == other.candidates[:1]
    assert 1 <= difference(other.candidates[3].genotype, other.candidates[0].genotype) <= 3


def test_a_warm_start_scores_architectures_within_the_limits():
    torch.manual_seed(0)
    judge = Scores([0.3, 0.8, 0.2, 0.9, 0.1, 0.7])
    search = begun(
        [0.0] * 8, population=3, tournament=1, warm_start=WarmStart(scored=6, evaluator=judge)
    )
    search.limits = SimpleNamespace(
        allow=lambda g: g["e0"] == "none",
        nearest=lambda g: g.changed({"e0": "none", "e1": "a", "e2": "a"}),
    )
    run(search)
    assert {genotype["e0"] for genotype in judge.asked} == {"none"}
    assert {candidate.genotype["e0"] for candidate in search.candidates} == {"none"}


@pytest.mark.parametrize("together", [1, 4, 8])
def test_nothing_else_joins_the_population_of_a_warm_start(together, monkeypatch):
    mutate, children = Toy.mutate, []
    monkeypatch.setattr(
        Toy, "mutate", lambda space, *of: children.append(mutate(space, *of)) or children[-1]
    )
    judge = Scores([place / 100 for place in range(20)])
    search = begun(
        [0.0] * 20,
        population=10,
        tournament=1,
        together=together,
        warm_start=WarmStart(scored=20, evaluator=judge),
    )
    run(search)
    found = [candidate.genotype for candidate in search.candidates]
    assert len(found) == 20
    assert found == [*search._first, *children]
    assert len(children) == 10


@pytest.mark.parametrize(
    ("own", "first", "both"), [(8, 6, 6), (8, None, None), (None, 8, None), (4, math.inf, 4)]
)
def test_processes_share_what_both_the_search_and_its_warm_start_can_share(own, first, both):
    class Shared(Scores):
        def __init__(self, batch):
            super().__init__([0.0] * 9)
            self.batch = batch

        @property
        def smallest_batch(self):
            return self.batch

    search = begun([0.0] * 9, warm_start=WarmStart(scored=6, evaluator=Shared(first)))
    search.evaluator = Shared(own)
    assert search.smallest_batch == both


def test_a_warm_start_has_to_leave_some_out_and_to_score_at_once():
    with pytest.raises(ValueError, match=r"warm_start.scored=4 population=4: .* of 5 or more"):
        begun([0.0] * 6, warm_start=WarmStart(scored=4, evaluator=Scores([])))
    with pytest.raises(ValueError, match="scored=0: use 1 or more"):
        WarmStart(scored=0, evaluator=Scores([]))
    with pytest.raises(
        ValueError, match=r"evaluator: it needs 2 rounds .* use one that needs none"
    ):
        WarmStart(scored=8, evaluator=Scores([], warm_up_rounds=2))


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"tournament": 5}, "tournament=5 population=4"),
        ({"tournament": 0}, "tournament=0 population=4"),
        ({"population": 6}, "num_candidates=6 population=6"),
        ({"population": 4, "together": 6}, "num_candidates=6 population=4 together=6"),
    ],
)
def test_impossible_values_are_refused(settings, wrong):
    with pytest.raises(ValueError, match=wrong):
        begun([0.0] * 6, **settings)


@pytest.mark.skipif(not TABLE.exists(), reason="needs the NAS-Bench-201 table in ../shared/data")
def test_in_the_table_it_beats_random_search_as_published(monkeypatch):
    """2001.00326: 93.92 against 93.70 % after equal cost; here after 150 candidates each."""
    space = NasBench201(operations=OPERATIONS, channels=16, layers=15)

    monkeypatch.setattr(Table, "read", cache(Table.read))

    def found(make, seed):
        torch.manual_seed(seed)
        evaluator = Tabular(table=str(TABLE), column="cifar10_val_12ep")
        search = make(num_candidates=150, together=1, evaluator=evaluator)
        search.begin(context(space))
        run(search)
        best = max(search.candidates, key=lambda candidate: candidate.score.merit)
        return evaluator.table.truth(space.render(best.genotype))["cifar10"]["accuracy"]

    def evolution(**settings):
        return Evolution(population=10, tournament=3, warm_start=None, **settings)

    evolved = torch.tensor([found(evolution, seed) for seed in range(20)])
    drawn = torch.tensor([found(RandomSearch, seed) for seed in range(20)])
    assert evolved.mean() > drawn.mean()
    assert evolved.mean() == pytest.approx(0.9392, abs=0.003)
    assert drawn.mean() == pytest.approx(0.9370, abs=0.003)


def test_a_warm_start_that_asks_for_too_many_images_is_named_by_its_key():
    class Greedy(Scores):
        def check(self, task):
            raise ValueError("evaluator.images=9: there are 8 training images; use at most 8")

    told = r"^strategy\.warm_start\.evaluator\.images=9: there are 8"
    with pytest.raises(ValueError, match=told):
        begun([0.0] * 6, warm_start=WarmStart(scored=5, evaluator=Greedy([])))
