"""Measurements of a finished search: tables and strengths."""

import pytest
import torch

from nasrun.analysis.search import (
    agreement,
    analyse,
    skip_against_parametric,
    strengths,
)
from nasrun.runs.finished import load_search


def state(strategy):
    return {name: value.clone() for name, value in strategy.supernet.network.state_dict().items()}


def test_skips_are_compared_with_the_likeliest_operation_that_has_parameters(searched):
    strategy = load_search(searched)
    rows = skip_against_parametric(strategy)
    assert [row["edge"] for row in rows] == list(strategy.space.rows)
    p = torch.softmax(strategy.supernet.alpha.detach(), 1).tolist()
    for row, (_, skip, convolution) in zip(rows, p, strict=True):
        assert row["skip"] == pytest.approx(skip)
        assert row["parametric"] == pytest.approx(convolution)


def test_an_operation_is_as_strong_as_the_supernet_tuned_with_the_edge_fixed_to_it(searched):
    strategy = load_search(searched)
    before, plain = state(strategy), strategy.validate()["accuracy"]
    rows = strengths(strategy, ["normal/2-0", "reduce/3-1"], rounds=0, rate=0.01)
    assert [row["operation"] for row in rows] == ["none", "skip_connect", "sep_conv_3x3"] * 2
    assert rows[0]["accuracy_without"] == plain  # masking none changes nothing
    for row in rows:
        strategy.supernet.fixed = {row["edge"]: row["operation"]}
        assert row["accuracy_discretised"] == strategy.validate()["accuracy"]
    strategy.supernet.fixed = {}
    tuned = strengths(strategy, ["normal/2-0"], rounds=2, rate=0.05)
    assert tuned == strengths(strategy, ["normal/2-0"], rounds=2, rate=0.05)
    assert tuned != rows[:3]
    assert strategy.supernet.fixed == {}
    assert strategy.validate()["accuracy"] == plain
    for name, value in state(strategy).items():
        assert torch.equal(value, before[name]), name


def test_what_cannot_be_shuffled_is_refused_before_anything_is_tuned(nasrun, here):
    words = ["space=nasbench201", "rounds=1", "width=2", "depth=3", "images=64", "batch_size=16"]
    assert nasrun("search", *words, "budget.threads=1").status == 0
    (run,) = here.glob("outputs/*nasbench201*/v001")
    with pytest.raises(ValueError, match="use shuffles=0"):
        analyse(
            str(run),
            edges=1,
            rounds=1_000_000,
            shuffles=1,
            images=0,
            exactly=True,
            out=None,
            trust=[],
        )
    with pytest.raises(ValueError, match=r"images=99: there are 16 validation images; use at most"):
        analyse(
            str(run), edges=1, rounds=1, shuffles=0, images=99, exactly=True, out=None, trust=[]
        )
    found = analyse(
        str(run), edges=1, rounds=1, shuffles=0, images=0, exactly=True, out=None, trust=[]
    )
    assert len(found["strengths"]) == 5


def test_more_edges_than_there_are_are_refused(searched):
    with pytest.raises(ValueError, match="edges=11: the space has 10, use 10 or fewer"):
        analyse(
            searched, edges=11, rounds=1, shuffles=0, images=0, exactly=True, out=None, trust=[]
        )


def test_likelier_operations_agree_with_stronger_ones_edge_by_edge():
    def rows(edge, *numbers):
        keys = ("probability", "accuracy_discretised", "accuracy_without")
        return [{"edge": edge, **dict(zip(keys, each, strict=True))} for each in numbers]

    same = rows("a", (0.1, 0.2, 0.9), (0.3, 0.4, 0.8), (0.6, 0.5, 0.7))
    other = rows("b", (0.1, 0.5, 0.5), (0.3, 0.4, 0.5), (0.6, 0.2, 0.5))
    found = agreement([*same, *other])
    assert found == {"discretised": 0.0, "without": 1.0, "strongest": 0.5}  # b's losses are alike


def test_an_edge_whose_operations_are_equally_likely_or_strong_is_no_case_for_the_strongest():
    rows = [
        {"edge": edge, "probability": p, "accuracy_discretised": strength, "accuracy_without": 0.5}
        for edge, pairs in {
            "sound": [(0.2, 0.9), (0.8, 0.3)],
            "equally likely": [(0.5, 0.9), (0.5, 0.3)],
            "equally strong": [(0.2, 0.4), (0.8, 0.4)],
        }.items()
        for p, strength in pairs
    ]
    assert agreement(rows) == pytest.approx({"discretised": -1.0, "strongest": 0.0})
