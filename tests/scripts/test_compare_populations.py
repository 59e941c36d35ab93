"""The comparison of populations: its correction, and its tables from written results."""

import json

import pytest


@pytest.fixture
def comparison(script):
    return script("compare_populations")


def write(folder, result, search):
    select = folder / "run/v001/select/fittest"
    select.mkdir(parents=True)
    (select / "result.json").write_text(json.dumps(result))
    (folder / "run/v001/search").mkdir()
    lines = "".join(json.dumps(line) + "\n" for line in search)
    (folder / "run/v001/search/metrics.jsonl").write_text(lines)


def test_holm_corrects_the_smallest_most_and_never_falls(comparison):
    assert comparison.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert comparison.holm([0.9, 0.6]) == [1.0, 1.0]


def test_the_tables_have_pairs_of_finished_seeds_only(comparison, tmp_path, capsys):
    for arm, better in (("pbtnas", 1), ("pbt_random", 0)):
        for seed in range(8 if better else 5):
            result = {"test_return": 100.0 + seed + better * (seed + 1), "test_random_return": 20.0}
            write(tmp_path / f"hopper/{arm}/seed{seed}", result, [{"median_score": 50.0}])
    comparison.tables(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line for line in lines if "hopper: pbtnas - pbt_random" in line]
    # five differences 1 .. 5, all positive: p = 1 / 2 ** 5, the only test that there is
    assert row == "| hopper: pbtnas - pbt_random | 5 | 3 ± 1.6 | 5 | 0.0312 | 0.0312 |"
    assert any(line.startswith("| pbt_random | 5 | 102 ± 1.6 | 50 ± 0 | 5.1") for line in lines)


def test_the_comparison_is_the_one_that_was_laid_down(comparison):
    trials = comparison.TRIALS
    runs = [(trial.task.experiment, trial.arm.name, trial.seed) for trial in trials]
    assert len(set(runs)) == len(runs) == 2 * 3 * 8 + 3 * 3
    assert runs[:3] == [("digits_gan", arm, 0) for arm in ("pbtnas", "pbt_random", "pbt_mutation")]
