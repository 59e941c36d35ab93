"""Many runs: their choice, their table over seeds, and their records."""

import io
import json
import statistics

import pytest
import yaml
from rich.console import Console

from nasrun.runs.comparison import Record, chosen, facts, print_runs, records
from nasrun.runs.run import Run


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


def listed(paths, order="used"):
    text = io.StringIO()
    print_runs(Console(file=text, width=400), paths, "runs", order)
    return text.getvalue()


def test_seeds_are_one_row_with_their_mean_and_the_deviation_of_a_sample(tmp_path):
    """The squares of -20, -10 and 30 add up to 1400, and the root of 1400 / 2 is 26.46."""
    text = listed(list(seeds(tmp_path, (0.1, 60), (0.2, 150), (0.6, 330))))
    (row,) = [line for line in text.splitlines() if "toy/v001" in line]
    path, *cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert path == str(tmp_path / "toy/v001")
    assert cells == ["search", "3", "30.00% ± 26.46", "validation, supernet", "3.0"]
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
    row = next(line for line in text.splitlines() if "v001" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["toy/v001", "damaged", "-", "-", "-", "-"]
    assert f"damaged: {paths[0] / 'config.yaml'}: damaged" in text.replace("\n", "")


def test_a_population_is_judged_by_what_its_results_name(tmp_path):
    paths = list(seeds(tmp_path, (0.1, 60), (0.2, 60)))
    for path, fid in zip(paths, (0.02, 0.04), strict=True):
        result = {"test_fid": fid, "judged_by": "test_fid", "seconds": 60}
        (path / "search/result.json").write_text(json.dumps(result))
    assert rows_of(paths) == [("search", "2")]
    (row,) = [line for line in listed(paths).splitlines() if "toy/" in line]
    assert [cell.strip() for cell in row.split("│")[4:6]] == ["0.03 ± 0.01414", "test_fid"]


def test_the_best_of_a_measure_that_is_to_be_small_is_its_smallest(tmp_path):
    paths = list(seeds(tmp_path, (0.1, 60), (0.2, 60), (0.3, 60)))
    for path, fid in zip(paths, (39.2, 2626.0, 12.0), strict=True):
        result = {"test_fid": fid, "judged_by": "test_fid", "seconds": 60}
        kept = path / "search/result.json"
        kept.write_text(json.dumps({**result, "higher_is_better": False}))
    assert [r.score for r in records(paths, "accuracy")[0]] == [12.0, 39.2, 2626.0]


def made(outputs, strategy, seed, accuracy=None, seconds=60.0, **more):
    """A run with a finished search, or one that has only begun."""
    config = {"space": {}, "dataset": {}, "budget": {}, "strategy": strategy, "seed": seed}
    choices = {"dataset": "digits", "space": "darts", "strategy": strategy}
    record = {"choices": choices, "scale": {}, "seed": seed, "genotype": None}
    run = Run.claim(outputs, f"digits-darts-{strategy}", config, record)
    (run.path / "search").mkdir()
    if accuracy is not None:
        result = {"validation_accuracy": accuracy, "seconds": seconds, **more}
        (run.path / "search/result.json").write_text(json.dumps(result))
    return run


@pytest.fixture
def four(tmp_path):
    """Two seeds of darts, one of snas, and one of snas that is not finished."""
    return [
        made(tmp_path, "darts", 0, 0.5, 90),
        made(tmp_path, "darts", 1, 0.7, 30),
        made(tmp_path, "snas", 0, 0.65, 20, params=5),
        made(tmp_path, "snas", 1),
    ]


def test_runs_are_chosen_by_what_they_were_made_with_and_what_they_finished(four):
    a, b, c, d = four
    for wanted, expected in (
        ({}, four),
        ({"strategy": ["snas"]}, [c, d]),
        ({"strategy": ["snas", "darts"], "seed": ["1"]}, [b, d]),
        ({"finished": ["search"]}, [a, b, c]),
        ({"finished": ["retrain"]}, []),
        ({"finished": ["true"], "strategy": ["snas"]}, [c]),
        ({"finished": ["false"]}, [d]),
        ({"dataset": ["digits"], "space": ["darts"]}, four),
    ):
        assert chosen(four, wanted) == expected, wanted
    assert facts(a) == {"dataset": "digits", "space": "darts", "strategy": "darts", "seed": "0"}


def test_a_value_that_no_run_has_is_refused_with_those_that_they_have(four):
    for wanted, told in (
        ({"strategy": ["snass"]}, "strategy=snass: no run has it, did you mean snas?"),
        ({"seed": ["7"]}, "seed=7: no run has it; there are 0, 1"),
        ({"genotype": ["mine"]}, "genotype=mine: no run has it; there are none"),
        ({"finished": ["serach"]}, "finished=serach: no run has it, did you mean search?"),
    ):
        with pytest.raises(ValueError, match=told.replace("?", r"\?")):
            chosen(four, wanted)


def test_a_run_that_cannot_be_read_stays_to_be_named(four):
    (four[0].path / "run.json").write_text("{}")
    assert chosen(four, {"strategy": ["snas"]}) == [four[0], *four[2:]]


def test_records_have_raw_numbers_and_every_order_is_that_of_its_numbers(four):
    found, damaged = records([run.path for run in four])
    assert damaged == []
    assert [record.score for record in found] == [0.5, 0.7, 0.65, None]
    assert [record.finished for record in found] == [True, True, True, False]
    assert found[2].plain() == {
        "run": str(four[2].path),
        "dataset": "digits",
        "space": "darts",
        "strategy": "snas",
        "genotype": None,
        "seed": 0,
        "stage": "search",
        "branch": "",
        "finished": True,
        "score": 0.65,
        "on": "validation, supernet",
        "is_accuracy": True,
        "higher_is_better": True,
        "top5_accuracy": None,
        "params": 5,
        "macs": None,
        "rounds": 0,
        "seconds": 20,
        "true": {},
    }
    paths = [run.path for run in four]
    for order, expected in {
        "used": [0.5, 0.7, 0.65, None],
        "accuracy": [0.7, 0.65, 0.5, None],
        "time": [0.65, 0.7, 0.5, None],
        "name": [0.5, 0.7, 0.65, None],
    }.items():
        assert [record.score for record in records(paths, order)[0]] == expected, order


def test_a_table_is_sorted_by_the_means_of_its_rows(four):
    """darts has the best run, snas the better mean, and the quicker one."""
    paths = [run.path for run in four]
    assert statistics.fmean((0.5, 0.7)) < 0.65
    for order, first in (("used", "darts"), ("accuracy", "snas"), ("time", "snas")):
        rows = [line for line in listed(paths, order).splitlines() if "search" in line]
        assert [f"-{first}/" in row for row in rows] == [True, False], order
    assert "2 │ 60.00% ± 14.14" in listed(paths)
    assert "1 of 2 │" in listed(paths)


def test_a_damaged_stage_is_named_beside_the_records(four):
    path = four[1].path / "search/result.json"
    for text in ("no json", "{}", '{"seconds": "long"}', '{"seconds": 1, "params": [1]}'):
        path.write_text(text)
        found, damaged = records([run.path for run in four])
        assert [record.stage for record in found] == ["search", "damaged", "search", "search"]
        assert found[1].plain() == {
            **dict.fromkeys(found[1].names()),
            "run": str(four[1].path),
            **{"stage": "damaged", "branch": "", "rounds": 0, "true": {}},
            **{"finished": False, "is_accuracy": False, "higher_is_better": True},
        }
        assert str(path) in damaged[0]


TRUE = [
    {
        "cifar10": {"accuracy": 0.94, "rank": 1, "of": 9},
        "cifar100": {"accuracy": 0.7, "rank": 2, "of": 9},
    },
    {
        "cifar10": {"accuracy": 0.92, "rank": 3, "of": 9},
        "cifar100": {"accuracy": 0.6, "rank": 4, "of": 9},
    },
]
"""Results that a table has of two choices."""


def looked_up(outputs):
    """Two seeds with a validated choice that was looked up, and a third one without."""
    runs = [Run(path) for path in seeds(outputs, (0.1, 60), (0.2, 60), (0.3, 60))]
    for run, true in zip(runs, [*TRUE, None], strict=True):
        folder = later(run, "select", "argmax", run.search(), selector={})
        result = {"validation_accuracy": 0.5, "seconds": 60, **({"true": true} if true else {})}
        (folder.path / "result.json").write_text(json.dumps(result))
    return [run.path for run in runs]


def test_true_accuracies_of_a_choice_are_rows_of_their_own_one_per_data_set(tmp_path):
    paths = looked_up(tmp_path)
    rows = [row[1:5] for row in table_of(listed(paths)) if row[1].startswith("select")]
    assert rows == [
        ["select argmax", "3", "50.00% ± 0.00", "validation"],
        ["select argmax", "2 of 3", "93.00% ± 1.41", "table, cifar10"],
        ["select argmax", "2 of 3", "65.00% ± 7.07", "table, cifar100"],
    ]
    ranked = [row[4] for row in table_of(listed(paths, "accuracy"))]
    assert ranked == ["table, cifar10", "table, cifar100", "validation", "validation, supernet"]


def test_a_choice_that_is_judged_by_the_table_alone_has_no_row_twice(tmp_path):
    paths = looked_up(tmp_path)
    for path in paths[:2]:
        kept = path / "select/argmax/result.json"
        true = json.loads(kept.read_text())["true"]
        kept.write_text(json.dumps({"seconds": 60, "true": true}))
    rows = [row[4] for row in table_of(listed(paths[:2])) if row[1].startswith("select")]
    assert rows == ["table, cifar10", "table, cifar100"]


def test_a_list_with_true_accuracies_fits_a_terminal_of_100_columns(tmp_path):
    text = io.StringIO()
    print_runs(Console(file=text, width=100), looked_up(tmp_path), "runs")
    lines = text.getvalue().splitlines()
    paths = [line for line in lines if line.startswith(str(tmp_path))]
    assert max(len(line) for line in lines if line not in paths) <= 100
    assert any("table, cifar100" in line for line in lines)


def test_records_have_true_results_and_a_table_of_records_a_column_per_number(tmp_path):
    found, _ = records(looked_up(tmp_path))
    assert [each.true for each in found if each.stage == "select"] == [*TRUE, {}]
    rows = [each.cells() for each in found]
    columns = Record.columns(rows)
    own = [name for name in Record.names() if name != "true"]
    assert columns == (
        *own,
        *(f"true.{data}.{n}" for data in TRUE[0] for n in ("accuracy", "rank", "of")),
    )
    assert rows[1]["true.cifar100.accuracy"] == 0.7
    assert list(rows[0]) == own
    assert Record.columns([]) == tuple(own)


def version(outputs, accuracy, strategy=None, budget=None, judged=False, **scale):
    """A run with a finished search."""
    config = {"seed": 0, "space": {"operations": ["a", "b"]}, "dataset": {}}
    config |= {"strategy": strategy or {}, "budget": budget or {}}
    run = Run.claim(outputs, "toy", config, {"choices": {}, "scale": scale})
    (run.path / "search").mkdir()
    result = {"validation_accuracy": accuracy, "seconds": 60}
    result |= {"judged_by": "validation_accuracy"} if judged else {}
    (run.path / "search/result.json").write_text(json.dumps(result))
    return run.path


def table_of(text):
    lines = [line.strip("│").split("│") for line in text.splitlines() if "toy/" in line]
    return [[cell.strip() for cell in cells] for cells in lines]


def test_versions_are_told_apart_by_what_differs_between_them(tmp_path):
    strategy = {"rounds": 1, "level": {"lam": 1.0}, "clip": None}
    paths = [
        version(tmp_path, 0.1, strategy, {"threads": 1}, rounds=1),
        version(tmp_path, 0.2, {**strategy, "rounds": 2}, {"threads": 1}, rounds=2),
        version(tmp_path, 0.3, {**strategy, "level": {"lam": 0.5}}, {"threads": 1}, rounds=1),
        version(tmp_path, 0.4, {**strategy, "clip": 5}, {"threads": 2}, rounds=1),
    ]
    assert [row[-1] for row in table_of(listed(paths))] == [
        "rounds=1 strategy.level.lam=1.0 strategy.clip=null budget.threads=1",
        "rounds=2 strategy.level.lam=1.0 strategy.clip=null budget.threads=1",
        "rounds=1 strategy.level.lam=0.5 strategy.clip=null budget.threads=1",
        "rounds=1 strategy.level.lam=1.0 strategy.clip=5 budget.threads=2",
    ]
    assert "with" not in listed(paths[:1])


def test_a_supernet_is_not_ranked_among_trained_candidates(tmp_path):
    paths = [version(tmp_path, 0.31), version(tmp_path, 0.2, {"rounds": 2}, judged=True)]
    paths += [version(tmp_path, 0.88, {"rounds": 3}, judged=True)]
    rows = table_of(listed(paths, "accuracy"))
    assert [(row[3], row[4]) for row in rows] == [
        ("88.00%", "validation, best candidate"),
        ("20.00%", "validation, best candidate"),
        ("31.00%", "validation, supernet"),
    ]


def test_a_table_of_some_stages_has_no_others(tmp_path):
    (path,) = seeds(tmp_path, (0.1, 60))
    chosen = later(Run(path), "select", "perturb", Run(path).search())
    text = io.StringIO()
    print_runs(Console(file=text, width=150), [path], "sweep", done={chosen.path})
    assert [row[1] for row in table_of(text.getvalue())] == ["select perturb"]


def test_no_bracket_is_taken_for_markup(tmp_path):
    (path,) = seeds(tmp_path / "o[/b]", (0.1, 60))
    text = io.StringIO()
    print_runs(Console(file=text, width=150), [path], "o[/b] space.operations=[a]:smile:")
    assert text.getvalue().startswith("o[/b] space.operations=[a]:smile:")
