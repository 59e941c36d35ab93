"""The closing tables of a run."""

import io
import json
import math
from pathlib import Path
from types import SimpleNamespace

import yaml
from rich.console import Console

from nasrun.runs.report import print_run, print_runs, score
from nasrun.runs.run import Run


def printed(**result):
    """What is printed of a run with one finished search."""
    stage = SimpleNamespace(
        finished=True,
        kind="search",
        branch="",
        result={"validation_accuracy": 0.5, "seconds": 1.0, **result},
    )
    text = io.StringIO()
    run = SimpleNamespace(stages=lambda: [stage], path=Path("outputs/v001"))
    print_run(Console(file=text, width=120), run)
    return text.getvalue()


def size(n, r, accuracy, params, frontier):
    return {
        "size": [n, r],
        "round": 3,
        "accuracy": accuracy,
        "params": params,
        "frontier": frontier,
    }


def test_a_search_through_several_sizes_ends_with_their_table():
    text = printed(sizes=[size(4, 0, 0.9032, 2_857_942, True), size(7, 3, 0.85, 3_874_222, False)])
    (four,) = [line for line in text.splitlines() if "[4, 0]" in line]
    assert "90.32%" in four
    assert "2.858 M" in four
    assert "*" in four
    (seven,) = [line for line in text.splitlines() if "[7, 3]" in line]
    assert "*" not in seven
    assert "method=frontier" in text


def test_a_search_of_one_size_and_one_without_a_history_have_no_such_table():
    assert "frontier" not in printed(sizes=[size(4, 0, 0.9, 2_857_942, True)])
    assert "frontier" not in printed()


def test_why_a_search_stopped_early_is_said():
    text = printed(stopped="stopped after round 3: size [5, 0], asked for [6, 0]")
    assert "search stopped after round 3: size [5, 0], asked for [6, 0]" in text


def seeds(outputs, *results):
    """Runs that differ in their seed alone, each with a finished search of this result."""
    config = {"space": {}, "dataset": {}, "budget": {}}
    record = {"choices": {}, "scale": {}}
    for seed, (accuracy, seconds) in enumerate(results):
        run = Run.claim(outputs, "toy", {**config, "seed": seed}, record)
        (run.path / "search").mkdir()
        result = {"validation_accuracy": accuracy, "seconds": seconds}
        (run.path / "search/result.json").write_text(json.dumps(result))
        yield run.path


def listed(paths):
    text = io.StringIO()
    print_runs(Console(file=text, width=120), paths, "runs")
    return text.getvalue()


def test_seeds_are_one_row_with_their_mean_and_the_deviation_of_a_sample(tmp_path):
    """The squares of -20, -10 and 30 add up to 1400, and the root of 1400 / 2 is 26.46."""
    text = listed(list(seeds(tmp_path, (0.1, 60), (0.2, 150), (0.6, 330))))
    (row,) = [line for line in text.splitlines() if "toy/v001" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["toy/v001", "search", "3", "30.00% ± 26.46", "3.0"]
    assert "toy/v002" not in text and "toy/v003" not in text


def later(run, kind, branch, parent, **own):
    """A finished stage that follows another one, or a genotype by its name."""
    mark = parent if isinstance(parent, str) else parent.fingerprint
    folder = run.branch(kind, branch, own, mark)
    folder.path.mkdir(parents=True)
    (folder.path / "config.yaml").write_text(
        yaml.safe_dump({"fingerprint": folder.fingerprint, "parent": mark, **own})
    )
    (folder.path / "result.json").write_text(json.dumps({"test_accuracy": 0.5, "seconds": 60}))
    return folder


def rows_of(paths):
    lines = [line.strip("│").split("│") for line in listed(paths).splitlines() if "toy/" in line]
    return [(cells[1].strip(), cells[2].strip()) for cells in lines]


def test_seeds_are_one_row_whatever_else_was_done_in_their_runs(tmp_path):
    first, second = (Run(path) for path in seeds(tmp_path, (0.1, 60), (0.2, 60)))
    later(second, "select", "perturb", "search", selector={"interval": 9})
    for seed, run in enumerate((first, second)):
        found = later(run, "select", "perturb", run.search(), selector={"interval": 3})
        assert found.branch == ("perturb", "perturb-2")[seed]
        own = {"epochs": 2, "source": found.branch, "genotype": [seed]}
        later(run, "retrain", found.branch, found, **own)
        later(run, "retrain", "random", f"drawn {seed}", source="random", genotype=[seed])
    assert rows_of([first.path, second.path]) == [
        ("search", "2"),
        ("select perturb", "2"),
        ("retrain perturb", "2"),
        ("retrain random", "2"),
        ("select perturb", "1"),
    ]


def test_two_selectors_and_two_genotypes_of_one_run_are_rows_of_their_own(tmp_path):
    (path,) = seeds(tmp_path, (0.1, 60))
    run = Run(path)
    for name in ("argmax", "magnitude"):
        later(run, "select", name, "search", selector={})
    for genotype in ("a", "b"):  # both in a file called mine.json
        later(run, "retrain", "mine", genotype, source="mine", genotype=[genotype])
    assert [n for _, n in rows_of([path])] == ["1"] * 5


def test_a_damaged_run_is_named_and_the_others_are_listed(tmp_path):
    paths = list(seeds(tmp_path, (0.25, 60), (0.75, 60)))
    (paths[0] / "config.yaml").write_text("space: {}")
    text = listed(paths)
    assert "75.00%" in text
    assert "25.00%" not in text
    assert f"not shown: {paths[0] / 'config.yaml'}: damaged" in text.replace("\n", "")


def test_a_sweeper_is_given_the_last_validation_accuracy_and_no_test_accuracy():
    def stage(**result):
        return SimpleNamespace(result=result)

    searched = stage(validation_accuracy=0.5)
    selected, retrained = stage(genotype="a"), stage(test_accuracy=0.9)
    validated = stage(test_accuracy=0.9, validation_accuracy=0.7)
    assert score([searched, selected, retrained]) == 0.5
    assert score([searched, selected, validated]) == 0.7
    assert math.isnan(score([retrained]))
    population, best = ({key: -0.04, "judged_by": "score"} for key in ("score", "validation_score"))
    assert score([SimpleNamespace(result=population)]) == -0.04
    assert score([searched, SimpleNamespace(result=best)]) == -0.04


def test_a_population_is_judged_by_what_its_results_name(tmp_path):
    kept = {"test_fid": 0.02749, "judged_by": "test_fid"}
    text = printed(**kept)
    assert "50.00%" in text and "fid" not in text  # an accuracy, where there is one
    paths = list(seeds(tmp_path, (0.1, 60), (0.2, 60)))
    for path, fid in zip(paths, (0.02, 0.04), strict=True):
        result = {"test_fid": fid, "judged_by": "test_fid", "seconds": 60}
        (path / "search/result.json").write_text(json.dumps(result))
    assert rows_of(paths) == [("search (test_fid)", "2")]
    assert "0.03 ± 0.01414" in listed(paths)
