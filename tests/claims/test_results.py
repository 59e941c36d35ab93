"""The file of results: what a line keeps, and when a table is read."""

import json
import math
import os

import pytest
from claims.conftest import CELLS, TINY, TRUE, written

from nasrun.claims import reading
from nasrun.claims.results import ResultFile, ResultLine, evaluated, refuse_unwritable, values
from nasrun.data.table import Table


def test_a_later_line_counts_and_a_cut_line_does_not(tmp_path):
    path = tmp_path / "folder/results.jsonl"
    results = ResultFile(path)
    for value in (1.0, 2.0):
        results.add(ResultLine("tiny", "p", "darts", 0, values={"gap": value}))
    with path.open("a") as file:
        file.write('{"claim": "ti')
    again = ResultFile(path)
    assert [line.values for line in again.of("tiny", "p")] == [{"gap": 2.0}]
    assert again.has("tiny", "p", "darts", 0)
    assert not again.has("tiny", "other", "darts", 0)


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "results.jsonl"
    for line, told in (
        ({"claim": "x", "arms": 1}, "unknown key arms"),
        ({"claim": "x"}, "missing"),
        ({"claim": "x", "values": 3}, "values is no dict"),
    ):
        path.write_text(json.dumps(line) + "\n")
        with pytest.raises(ValueError, match=r"results.jsonl, line 1: ") as error:
            ResultFile(path)
        assert told in str(error.value)


def test_true_accuracies_come_from_the_table_at_the_end_and_controls_with_them(here):
    path = written(here / "tiny.yaml", {**TINY, "measures": {**TINY["measures"], "true": TRUE}})
    claim, results = reading.read(path), ResultFile(here / "results.jsonl")
    results.add(
        ResultLine("tiny", claim.frozen, "snas", 0, values={"gap": 0.1}, facts={"true": CELLS[0]})
    )
    assert values(claim, results.of("tiny", claim.frozen)).keys() == {"gap"}
    table = Table(here / "t.csv", {"cifar10_test_200ep": {CELLS[0]: 0.1, CELLS[1]: 0.9}})
    results.look_up("tiny", claim, table)
    again = ResultFile(results.path)
    found = values(claim, again.of("tiny", claim.frozen))
    assert found == {
        "gap": {"snas": {0: 0.1}},
        "true": {"snas": {0: 0.1}, "all a": {-1: 0.9}, "a random cell, mean": {-1: 0.5}},
    }
    before = results.path.read_bytes()
    again.look_up("tiny", claim, table)
    assert results.path.read_bytes() == before


def test_a_seed_below_the_floor_does_not_count_and_pairs_have_their_own_first_seeds(here):
    content = {**TINY, "floor": {"gap": 0.5}, "first": {"snas": 10}}
    claim = reading.read(written(here / "tiny.yaml", content))
    lines = [
        ResultLine("tiny", "p", "darts", 0, values={"gap": 0.4}),
        ResultLine("tiny", "p", "darts", 1, values={"gap": 0.6}),
        ResultLine("tiny", "p", "snas", 11, values={"gap": 0.5}),
        ResultLine("tiny", "p", "snas", 10, values={"other": 3.0}),
    ]
    assert values(claim, lines) == {
        "gap": {"darts": {1: 0.6}, "snas": {1: 0.5}},
        "other": {"snas": {0: 3.0}},
    }


def test_a_table_that_is_read_keeps_what_another_command_has_found(here):
    path = written(here / "tiny.yaml", {**TINY, "measures": {**TINY["measures"], "true": TRUE}})
    claim, ours = reading.read(path), ResultFile(here / "results.jsonl")
    ResultFile(ours.path).add(ResultLine("other", "p", "darts", 0, values={"gap": 1.0}))
    table = Table(here / "t.csv", {"cifar10_test_200ep": {CELLS[0]: 0.1, CELLS[1]: 0.9}})
    ours.look_up("tiny", claim, table)
    assert ResultFile(ours.path).has("other", "p", "darts", 0)


def test_a_number_that_is_not_defined_counts_for_nothing(here):
    claim = reading.read(written(here / "tiny.yaml", TINY))
    found = evaluated(claim, {"gap": math.nan}, None)
    assert math.isnan(found["gap"])
    assert values(claim, [ResultLine("tiny", "p", "snas", 0, values=found)]) == {}
    path = here / "results.jsonl"
    path.write_text('{"claim": "tiny", "protocol": "p", "arm": "darts", "seed": 0, '
                    '"values": {"gap": null}}\n')  # fmt: skip
    assert values(claim, ResultFile(path).of("tiny", "p")) == {}


def test_a_file_of_results_in_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "results.jsonl"
    path.touch()
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path)
    with pytest.raises(ValueError, match=rf"results={path}: no permission to write there"):
        refuse_unwritable(path)
    with pytest.raises(ValueError, match=rf"results={path}: no permission to write in {tmp_path};"):
        ResultFile(path).add(ResultLine("tiny", "p", "darts", 0))
