"""Choosing from a front: its knee, or the best below a cost."""

from types import SimpleNamespace

import pytest
from toys import Scores, context

from nasrun.costs.amounts import Amounts, ChoiceCosts
from nasrun.genotype import Genotype
from nasrun.score import Score
from nasrun.selectors.front import Affordable, Knee
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.strategies import nsga2
from nasrun.strategies.base import Candidate
from nasrun.strategies.nsga2 import Nsga2

SPACE = NasBench201(operations=("none", "skip_connect", "nor_conv_3x3"), channels=4, layers=3)
TASK = SimpleNamespace(objective="accuracy", inputs=1, outputs=10, size=8)
VALUES = (0.2, 0.1, 0.7, 0.6, 0.75)
"""Of architectures with 0 to 4 convolutions: those with 0, 2 and 4 are on the front."""


@pytest.fixture
def search(monkeypatch):
    amounts = Amounts(0.123444, {name: {"nor_conv_3x3": 0.25} for name in SPACE.names})
    monkeypatch.setattr(nsga2, "count_choices", lambda *_, **__: ChoiceCosts(*3 * [amounts]))
    search = Nsga2(
        num_candidates=6,
        together=1,
        population=2,
        crossover=0.9,
        cost="params",
        latency_table=None,
        evaluator=Scores([]),
    )
    search.begin(context(SPACE, TASK))
    names = SPACE.names
    for convolutions, value in enumerate(VALUES):
        chosen = {n: "nor_conv_3x3" if n in names[:convolutions] else "none" for n in names}
        search.candidates.append(Candidate(Genotype(SPACE.name, chosen), Score("accuracy", value)))
    return search


def chosen(selector, search, limits=None):
    selector.begin(context(SPACE, TASK, limits=limits), search)
    (place,) = [n for n, c in enumerate(search.candidates) if c.genotype == selector.genotype]
    return place


def price(search, convolutions):
    return search.price(search.candidates[convolutions].genotype)


def test_the_knee_is_where_more_cost_begins_to_give_little(search):
    selector = Knee()
    assert chosen(selector, search) == 2
    report = selector.report(None)
    front = [(row["accuracy"], row["params_m"]) for row in report.pop("front")]
    assert front == [(VALUES[place], price(search, place)) for place in (0, 2, 4)]
    assert report == {
        "priced_by": "params_m",
        "judged_by": "accuracy",
        "accuracy": 0.7,
        "params_m": price(search, 2),
    }


def test_the_best_of_at_most_a_cost_is_on_the_front(search):
    assert chosen(Affordable(cost=None), search) == 4
    assert chosen(Affordable(cost=price(search, 4)), search) == 4
    assert chosen(Affordable(cost=price(search, 3)), search) == 2
    assert chosen(Affordable(cost=price(search, 1)), search) == 0


def test_what_could_not_be_trained_is_on_no_front(search):
    search.candidates.insert(0, Candidate(search.space.sample(), Score("accuracy", float("nan"))))
    assert chosen(Knee(), search) == 3


def test_limits_come_before_the_front(search):
    few = SimpleNamespace(allow=lambda g: list(g.values()).count("nor_conv_3x3") in (1, 3))
    assert chosen(Knee(), search, few) == 3
    assert chosen(Affordable(cost=price(search, 2)), search, few) == 1
    none = SimpleNamespace(allow=lambda g: False)
    selector = Knee()
    assert chosen(selector, search, none) == 2
    assert set(selector.report(None)) == {"priced_by", "front"}  # it is exchanged for another


def test_the_cost_that_an_error_names_is_accepted(search, monkeypatch):
    monkeypatch.setattr(type(search), "least", lambda search: 123.45411)
    with pytest.raises(ValueError, match=r"has .* 123\.4542; use that or more"):
        Affordable(cost=1.0).check(search, SPACE)
    Affordable(cost=123.4542).check(search, SPACE)


def test_a_cost_that_nothing_meets_is_refused_before_the_search_and_after_it(search):
    least = price(search, 0)
    with pytest.raises(ValueError, match=r"selector.cost=0.001: the cheapest network of this sp"):
        Affordable(cost=0.001).check(search, SPACE)
    Affordable(cost=least).check(search, SPACE)
    del search.candidates[0]
    selector = Affordable(cost=least)
    with pytest.raises(ValueError, match=r"the cheapest candidate .* has params_m") as refused:
        chosen(selector, search)
    enough = float(str(refused.value).split("params_m ")[1].split(";")[0])
    assert price(search, 0) <= enough < 1.001 * price(search, 0)
    with pytest.raises(ValueError, match="cost=0: use more than 0, or null for any cost"):
        Affordable(cost=0)
