"""Ranks of scores against a table: the lines, their numbers, and agreement with it."""

import json
import math

import numpy as np
import pytest

CHAIN = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|{}~2|"
CELLS = [CHAIN.format(last) for last in ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")]


@pytest.fixture
def ranks(script):
    return script("rank_scores")


def line(score, architecture, seconds=0.5, **numbers):
    known = {"score": score, "place": 0, "architecture": architecture}
    return {**known, "numbers": numbers, "seconds": seconds}


def test_repeated_architectures_count_once_and_no_number_is_the_least(ranks):
    found = [line("a", "x", a=2.0), line("a", "y"), line("a", "x", a=2.0), line("b", "x", b=1.0)]
    assert ranks.collected(iter(found)) == {"a": {"x": 2.0, "y": -math.inf}, "b": {"x": 1.0}}


def test_the_numbers_of_az_nas_are_joined_by_their_ranks_among_all(ranks):
    names = ranks.JOINED["az_nas"]
    values = [(1.0, 4.0, 2.0, 5.0), (2.0, 3.0, 2.0, 6.0)]
    found = [
        line("az_nas", cell, **dict(zip(names, row, strict=True)))
        for cell, row in zip("xy", values, strict=True)
    ]
    joined = ranks.collected(iter(found))["az_nas"]
    assert joined["x"] == pytest.approx(math.log(1 / 2) + 0 + math.log(1.5 / 2) + math.log(1 / 2))
    assert joined["y"] == pytest.approx(0 + math.log(1 / 2) + math.log(1.5 / 2) + 0)


def test_a_table_has_a_row_for_every_number_and_reads_past_a_line_that_was_cut(
    ranks, tmp_path, capsys
):
    table, scores = tmp_path / "table.csv", tmp_path / "scores.jsonl"
    accuracies = "".join(f"{n},{cell},{90 + n}\n" for n, cell in enumerate(CELLS))
    table.write_text(f"index,architecture,{ranks.COLUMN}\n{accuracies}")
    found = [
        json.dumps(line("params", cell, params=p))
        for cell, p in zip(CELLS, (1, 2, 4, 3), strict=True)
    ]
    scores.write_text("\n".join(found) + '\n{"score": "par')
    ranks.tell(scores, table, resamples=20)
    row = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert row[:3] == ["| params", "4", "0.667"]  # five pairs of six agree
    assert row[4:] == ["0.800", "92.00", "", "0.50 |"]


def test_an_interval_narrows_with_agreement(ranks):
    x = np.arange(50.0)
    assert ranks.interval(x, x, 50) == pytest.approx((1, 1), abs=0.05)
    low, high = ranks.interval(x, np.random.default_rng(1).permutation(x), 100)
    assert low < 0 < high


def test_the_best_of_every_hundred_is_a_search_of_its_own(ranks):
    x, y = np.arange(250.0), np.arange(250.0) / 10
    assert ranks.hundreds(x, y) == "14.90 ± 7.07 (2)"  # 9.9 and 19.9; 50 are left over


def test_area_and_evolution_are_compared_seed_by_seed(ranks, table, tmp_path, capsys):
    scores = tmp_path / "scores.jsonl"
    scores.write_text("\n".join(json.dumps(line("naswot", cell, naswot=1.0)) for cell in CELLS))
    ranks.area(scores, table, seeds=3, candidates=13)
    told = capsys.readouterr().out
    assert "| AREA | 3 |" in told
    assert "| evolution | 3 |" in told


def test_bayesian_optimisation_is_compared_at_two_sizes_and_goes_on_where_it_was(
    ranks, table, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(ranks, "SIZES", (11, 13))
    out = tmp_path / "searches.jsonl"
    ranks.bayesian(table, out, seeds=1)
    first = out.read_text()
    ranks.bayesian(table, out, seeds=2)
    found = [json.loads(each) for each in out.read_text().splitlines()]
    assert out.read_text().startswith(first)
    assert [(each["strategy"], each["seed"]) for each in found] == [
        (name, seed) for seed in range(2) for name in ranks.RIVALS
    ]
    assert all(set(each["best"]) == {"11", "13"} for each in found)
    told = capsys.readouterr().out
    assert told.count("| bayesian | 2 |") == 4
    assert "After 13 candidates, bayesian finds a better cell than random" in told
