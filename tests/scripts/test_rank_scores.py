"""Searches in a table that scores or a model guide, compared seed by seed."""

import json
import math

import pytest

CHAIN = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|{}~2|"
CELLS = [CHAIN.format(last) for last in ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")]


@pytest.fixture
def ranks(script):
    return script("rank_scores")


def line(score, architecture, seconds=0.5, **numbers):
    known = {"score": score, "place": 0, "architecture": architecture}
    return {**known, "numbers": numbers, "seconds": seconds}


def test_repeated_architectures_count_once_and_no_number_is_the_least(ranks, tmp_path):
    scores = tmp_path / "scores.jsonl"
    found = [line("a", "x", a=2.0), line("a", "y"), line("a", "x", a=3.0), line("b", "x", b=1.0)]
    scores.write_text("\n".join(map(json.dumps, found)) + '\n{"score": "a')
    assert ranks.scored(scores, "a") == {"x": 2.0, "y": -math.inf}


def test_area_and_evolution_are_compared_seed_by_seed(ranks, table, tmp_path, capsys):
    scores = tmp_path / "scores.jsonl"
    scores.write_text("\n".join(json.dumps(line("naswot", cell, naswot=1.0)) for cell in CELLS))
    ranks.area(scores, table, seeds=3, candidates=13)
    told = capsys.readouterr().out
    assert "| AREA | 3 |" in told
    assert "| evolution | 3 |" in told


@pytest.mark.parametrize("own", ["bayesian", "epnas"])
def test_a_search_is_compared_at_two_sizes_and_goes_on_where_it_was(
    ranks, table, tmp_path, capsys, monkeypatch, own
):
    monkeypatch.setattr(ranks, "SIZES", (11, 13))
    out = tmp_path / "searches.jsonl"
    ranks.rivalry(own, table, out, seeds=1)
    first = out.read_text()
    ranks.rivalry(own, table, out, seeds=2)
    found = [json.loads(each) for each in out.read_text().splitlines()]
    assert out.read_text().startswith(first)
    assert [(each["strategy"], each["seed"]) for each in found] == [
        (name, seed) for seed in range(2) for name in (own, *ranks.RIVALS[own])
    ]
    assert all(set(each["best"]) == {"11", "13"} for each in found)
    told = capsys.readouterr().out
    assert told.count(f"| {own} | 2 |") == 4
    assert f"After 13 candidates, {own} finds a better cell than random" in told
