"""NSGA-II: who lives, who has children, what a search leaves behind."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from toys import Scores, context, run

from nasrun.costs.amounts import Amounts, ChoiceCosts
from nasrun.costs.cost import count
from nasrun.genotype import Genotype
from nasrun.score import Score
from nasrun.spaces.layout import Layout
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.strategies import nsga2
from nasrun.strategies.base import Candidate
from nasrun.strategies.nsga2 import Nsga2

SPACE = NasBench201(operations=("none", "skip_connect", "nor_conv_3x3"), channels=4, layers=3)
TASK = SimpleNamespace(objective="accuracy", inputs=1, outputs=10, size=8)


def made(scores, together=1, population=4, crossover=0.9, cost="params", latency_table=None):
    return Nsga2(
        num_candidates=len(scores),
        together=together,
        population=population,
        crossover=crossover,
        cost=cost,
        latency_table=latency_table,
        evaluator=Scores(scores),
    )


@pytest.fixture(autouse=True)
def counted(request, monkeypatch):
    """Prices that are told, where they are not what is tested: to count them takes longer."""
    if "unit" not in request.fixturenames:
        each = {name: {"nor_conv_3x3": 0.25} for name in SPACE.names}
        amounts = Amounts(1.0, each)
        monkeypatch.setattr(nsga2, "count_choices", lambda *_, **__: ChoiceCosts(*3 * [amounts]))


def begun(scores, **settings):
    search = made(scores, **settings)
    search.begin(context(SPACE, TASK))
    return search


def with_convolutions(*kept):
    """A cell with a 3x3 convolution on these edges, nothing on the others."""
    names = SPACE.names
    return Genotype(SPACE.name, {n: "nor_conv_3x3" if n in kept else "none" for n in names})


def scored(convolutions, value):
    return Candidate(with_convolutions(*SPACE.names[:convolutions]), Score("accuracy", value))


@pytest.mark.parametrize(("cost", "unit"), [("params", "params_m"), ("macs", "macs_m")])
def test_the_price_is_that_of_the_network_in_the_published_layout(cost, unit, monkeypatch):
    small = Layout(channels=2, layers=3)  # the published one takes longer
    monkeypatch.setattr(NasBench201, "published_layout", small)
    torch.manual_seed(0)
    search = begun([0.0] * 6, cost=cost)
    for _ in range(2):
        genotype = SPACE.sample()
        network = SPACE.network(genotype, inputs=1, outputs=10, layout=SPACE.published_layout)
        counted = getattr(count(network, 1, 8), cost) / 1e6
        assert search.price(genotype) == pytest.approx(counted, rel=1e-6)
    assert search.priced_by == unit
    assert search.least() == pytest.approx(search.price(with_convolutions()))


def test_the_better_front_lives_then_the_lonelier():
    search = begun([0.0] * 6, population=3)
    first = [scored(0, 0.1), scored(2, 0.5), scored(3, 0.52), scored(6, 0.9)]
    second = [scored(1, 0.05), scored(5, 0.4)]
    assert search.survivors([*second, *first]) == [first[0], first[3], first[2]]


def test_an_architecture_lives_once_and_what_could_not_be_trained_dies():
    search = begun([0.0] * 6, population=3)
    one, failed = scored(1, 0.5), scored(0, math.nan)
    assert search.survivors([failed, one, one]) == [one]
    assert search.survivors([failed]) == []


def test_a_child_has_its_parents_choices_but_for_one():
    torch.manual_seed(0)
    search = begun([0.0] * 6, population=2, crossover=1.0)
    parents = [with_convolutions(*SPACE.names[:3]), with_convolutions(*SPACE.names[3:])]
    alive = [Candidate(parent, Score("accuracy", 0.5)) for parent in parents]
    crossed = set()
    for _ in range(60):
        child = search._child(alive, set())
        neither = [n for n in child if child[n] not in {parent[n] for parent in parents}]
        assert len(neither) <= 1
        SPACE.check(child)
        apart = min(sum(child[n] != parent[n] for n in child) for parent in parents)
        crossed.add(apart > 1)
    assert crossed == {True, False}


def test_without_crossover_a_child_is_a_mutation():
    torch.manual_seed(0)
    search = begun([0.0] * 6, population=1, crossover=0.0)
    parent = with_convolutions()
    child = search._child([Candidate(parent, Score("accuracy", 0.5))], set())
    assert sum(child[n] != parent[n] for n in child) == 1


def test_parents_win_tournaments_of_two():
    torch.manual_seed(0)
    search = begun([0.0] * 6)
    alive = [scored(convolutions, 0.1) for convolutions in range(4)]
    won = [search._winner(alive) for _ in range(800)]
    shares = [won.count(candidate.genotype) / 800 for candidate in alive]
    expected = [(2 * (4 - place) - 1) / 16 for place in range(4)]  # both drawn with replacement
    assert shares == pytest.approx(expected, abs=0.06)


def test_it_goes_on_from_its_state_as_if_nothing_had_been():
    scores = [abs(math.sin(number)) for number in range(14)]
    torch.manual_seed(3)
    whole = begun(scores, together=3)
    run(whole, 3)
    state = whole.state_dict()
    run(whole)
    other = begun(scores, together=3)
    other.load_state_dict(state)
    other.round = 3
    run(other)
    assert other.candidates == whole.candidates


def test_scores_that_say_nothing_stop_nothing():
    for scores in ([0.5] * 9, [math.nan] * 9, [math.nan, 0.5, 1e300] * 3):
        torch.manual_seed(0)
        assert len(run(begun(scores, together=2))) == 5


def test_it_finds_the_whole_front_of_a_sum(tmp_path):
    """Every convolution costs the same and scores one: the front has 0 to 6 of them."""
    torch.manual_seed(0)
    search = begun([0.0] * 120, population=12)
    search.evaluator.scores = Convolutions(search.evaluator)
    run(search)
    written = {}
    folder = SimpleNamespace(metrics=list, path=tmp_path, write=written.__setitem__)
    result = search.finish(folder)
    assert [row["validation_accuracy"] for row in result["front"]] == [0, 1, 2, 3, 4, 5, 6]
    assert result["priced_by"] == "params_m"
    prices = [row["params_m"] for row in result["front"]]
    assert prices == sorted(prices)
    assert (tmp_path / "front.png").exists()
    json.dumps(result)


class Convolutions:
    """The score of the architecture that was asked for last: how many convolutions it has."""

    def __init__(self, evaluator):
        self.evaluator = evaluator

    def __getitem__(self, place):
        return float(list(self.evaluator.asked[place].values()).count("nor_conv_3x3"))


def test_a_latency_is_read_from_a_table_of_any_layout(tmp_path):
    path = tmp_path / "latencies.json"
    each = {n: {"skip_connect": 0.0, "nor_conv_3x3": 0.25} for n in SPACE.names}
    table = {"space": SPACE.name, "channels": 7, "layers": 9, "base": 1.5, "each": each}
    path.write_text(json.dumps(table))
    search = begun([0.0] * 6, cost="latency", latency_table=str(path))
    assert search.price(with_convolutions("cell/1-0", "cell/3-2")) == 2.0
    assert search.priced_by == "latency_ms"
    path.write_text("{}")
    with pytest.raises(
        ValueError, match=r"^strategy\.latency_table=\S*latencies.json: not a table"
    ):
        begun([0.0] * 6, cost="latency", latency_table=str(path))


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"population": 0}, "population=0 together=1: use a population of 1 or more"),
        ({"population": 6}, "num_candidates=6 population=6 together=1: .* more candidates than 6"),
        ({"together": 6}, "num_candidates=6 population=4 together=6: .* more candidates than 6"),
        ({"crossover": 1.5}, "crossover=1.5: use a number from 0 to 1"),
        ({"cost": "latency"}, "cost=latency latency_table=null: needs latency_table=FILE"),
        ({"latency_table": "x"}, "latency_table=x: has no effect with cost=params; use cost=lat"),
    ],
)
def test_impossible_values_are_refused(wrong, line):
    with pytest.raises(ValueError, match=line):
        made([0.0] * 6, **wrong)


def test_no_architecture_is_scored_twice_under_limits():
    torch.manual_seed(0)
    search = begun([0.1 * (number % 7) for number in range(24)], together=4)
    exchanged = dict.fromkeys(SPACE.names[:4], "none")  # 9 are left
    search.limits = SimpleNamespace(
        allow=lambda g: g.changed(exchanged) == g, nearest=lambda g: g.changed(exchanged)
    )
    run(search)
    found = [candidate.genotype for candidate in search.candidates]
    assert all(search.limits.allow(genotype) for genotype in found)
    assert len(set(found)) == 9
