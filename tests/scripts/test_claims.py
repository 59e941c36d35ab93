"""The data of the claims' tables: the results of runs, which outlive their folders."""

import json
import shutil

import pytest

from nasrun import config


@pytest.fixture
def claims(script):
    return script("claims")


def finished(root, search, seed, **result):
    run = root / search.name(seed)
    for stage in search.stages:
        (run / stage).mkdir(parents=True)
        (run / stage / "result.json").write_text(json.dumps(result))
    (run / "run.json").write_text('{"git": "abc"}')


def test_every_search_is_one_that_nasrun_knows(claims, tmp_path):
    for search in (*claims.SEARCHES, *claims.PRESETS):
        (verb, *words), *_ = search.commands(tmp_path, 0, "cifar")
        assert verb in ("search", "run")
        choices = config.compose(words).choices
        assert choices["strategy"] == search.strategy and choices["space"] == search.space


def test_what_a_run_found_is_kept_without_its_folder(claims, tmp_path):
    found = claims.Found(tmp_path / "docs/found.jsonl")
    for seed in (0, 1):
        finished(tmp_path, claims.DARTS, seed, validation_accuracy=0.6, gap=seed, sizes=[1])
        found.add(claims.DARTS, seed, tmp_path)
    shutil.rmtree(tmp_path / "seed0")
    again = claims.Found(found.path)
    assert [again.has(claims.DARTS, seed) for seed in (0, 1, 2)] == [True, True, False]
    assert not again.has(claims.SNAS, 0)
    assert again.result(claims.DARTS, 1, "select/perturb")["gap"] == 1
    assert again.result(claims.DARTS, 2, "select/perturb") is None
    assert "sizes" not in again.result(claims.DARTS, 1, "search")  # numbers and names alone
    assert len(found.path.read_text().splitlines()) == 2


def test_a_supernet_below_the_floor_does_not_count_and_candidates_have_no_floor(claims, tmp_path):
    found = claims.Found(tmp_path / "found.jsonl")
    finished(tmp_path, claims.SNAS, 0, validation_accuracy=0.49)
    finished(tmp_path, claims.RIVAL, 0, validation_accuracy=0.49, candidates=48)
    for search in (claims.SNAS, claims.RIVAL):
        found.add(search, 0, tmp_path)
    assert found.result(claims.SNAS, 0, "select/argmax") is None
    assert found.result(claims.RIVAL, 0, "select/fittest") is not None


def test_a_run_with_another_selector_to_come_is_not_finished(claims, tmp_path):
    found = claims.Found(tmp_path / "found.jsonl")
    once = claims.Search("darts_s2", "darts", ("magnitude",))
    finished(tmp_path, once, 0, validation_accuracy=0.6)
    found.add(once, 0, tmp_path)
    assert found.has(once, 0)
    assert not found.has(claims.DARTS_S2, 0)


def test_the_table_of_strategies_has_a_column_for_each_data_set(claims, tmp_path, capsys):
    cells = ["|none~0|", "|skip~0|"]
    found = claims.Found(tmp_path / "found.jsonl")
    for seed, cell in enumerate(cells):
        finished(tmp_path, claims.SNAS, seed, validation_accuracy=0.6, genotype=cell)
        found.add(claims.SNAS, seed, tmp_path)
    names = ["cifar10_test_200ep", "cifar100_test_200ep", "imagenet16_test_200ep"]
    path = tmp_path / "t.csv"
    path.write_text(f"architecture,{','.join(names)}\n|none~0|,90,70,40\n|skip~0|,94,73,47\n")
    claims.by_strategy(found, range(3), claims.Table.read(path))
    shown = capsys.readouterr().out
    each = " | ".join(f"true accuracy on {name[:-11]}, mean ± std" for name in names)
    head = f"| strategy | selector | n | {each} | published |"
    assert f"{head}\n|---|---|---|---|---|---|---|\n" in shown
    snas = "| `snas` | `argmax` | 2 | 92.00 ± 2.83 | 71.50 ± 2.12 | 43.50 ± 4.95 | 92.77 |"
    assert snas in shown
    assert "| `dsnas` | `argmax` | 0 | - | - | - |  |" in shown
    path.write_text("architecture,cifar10_test_200ep\n|none~0|,90\n|skip~0|,94\n")
    claims.by_strategy(found, range(3), claims.Table.read(path))
    shown = capsys.readouterr().out
    assert "| strategy | selector | n | true test accuracy, mean ± std | published |" in shown
    assert "| `snas` | `argmax` | 2 | 92.00 ± 2.83 | 92.77 |" in shown
