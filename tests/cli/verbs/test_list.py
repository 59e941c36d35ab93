"""`nasrun list`: options, and runs that are chosen, sorted and printed for programs."""

import csv
import io
import json
import shutil

from nasrun.cli.verbs.list import KEYS
from nasrun.files import read_json, write_record
from nasrun.runs import comparison


def test_an_experiment_is_described_to_its_end(nasrun):
    """Descriptions were cut at their colon, before the command."""
    records = json.loads(nasrun("list", "experiment", "format=json").out)
    told = {record["option"]: record["text"] for record in records}
    assert told["hopper"].endswith("\nnasrun run strategy=pbtnas experiment=hopper")
    assert not [option for option, text in told.items() if text.endswith(":")]
    assert len(set(told.values())) == len(told)
    assert "nasrun run strategy=pbtnas experiment=hopper" in nasrun("list", "experiment").out


def test_options_are_listed_for_programs(nasrun):
    rows = list(csv.DictReader(io.StringIO(nasrun("list", "strategy", "format=csv").out)))
    assert {"group": "strategy", "option": "snas"}.items() <= {**rows[0], "option": "snas"}.items()
    assert "1812.09926" in next(row["text"] for row in rows if row["option"] == "snas")


def test_the_help_names_every_order_and_fact(nasrun):
    assert KEYS["sort"].split("|") == list(comparison.ORDERS)
    assert set(comparison.FACTS) < set(KEYS)


def test_a_damaged_branch_of_one_run_hides_no_other_run(nasrun, finished):
    other = finished.with_name("v002")
    shutil.copytree(finished, other)
    (other / "retrain/magnitude/config.yaml").write_text("source: {}\n")
    answer = nasrun("list", "runs", "format=json", "finished=transfer")
    runs = {record["run"] for record in json.loads(answer.out)}
    assert str(finished) in runs, answer.err
    assert "v002" in answer.err


def test_true_results_of_a_choice_are_listed_and_have_columns_for_programs(nasrun, finished):
    assert "true" not in nasrun("list", "runs", "format=csv").out.splitlines()[0]
    path = finished / "select/magnitude/result.json"
    true = {"cifar10": {"accuracy": 0.9437, "rank": 2, "of": 9}}
    write_record(path, {**read_json(path), "true": true})
    assert "94.37% │ table, cifar10" in nasrun("list", "runs").out
    for record in json.loads(nasrun("list", "runs", "format=json").out):
        assert record["true"] == (true if record["stage"] == "select" else {})
    rows = list(csv.DictReader(io.StringIO(nasrun("list", "runs", "format=csv").out)))
    cells = {row["stage"]: (row["true.cifar10.accuracy"], row["true.cifar10.of"]) for row in rows}
    assert cells["select"] == ("0.9437", "9")
    assert cells["search"] == ("", "")


def test_runs_are_chosen_sorted_and_printed_for_programs(nasrun, finished):
    answer = nasrun("list", "runs", "format=json", "finished=transfer", "sort=accuracy")
    records = json.loads(answer.out)
    assert {record["run"] for record in records} == {str(finished)}
    stages = {(record["stage"], record["branch"]): record for record in records}
    assert set(stages) == {
        ("search", ""),
        ("select", "magnitude"),
        ("retrain", "magnitude"),
        ("retrain", "random"),
        ("transfer", "magnitude-mnist5k"),
    }
    result = json.loads((finished / "retrain/magnitude/result.json").read_text())
    retrained = stages["retrain", "magnitude"]
    assert retrained["score"] == result["test_accuracy"]
    assert (retrained["on"], retrained["params"]) == ("test", result["params"])
    rows = list(csv.DictReader(io.StringIO(nasrun("list", "runs", "format=csv").out)))
    assert len(rows) == 5
    assert float(rows[0]["score"]) == stages["search", ""]["score"]
    assert rows[1]["score"] == ""
    assert nasrun("list", "runs", "strategy=darts,snas").refusal


def test_wrong_words_are_refused_in_one_line(nasrun, finished):
    for words, told in {
        "runs sort=speed": "sort=speed: use used, accuracy, time or name",
        "runs format=xml": "format=xml: use table, json or csv",
        "runs strategy=snas": "strategy=snas: no run has it; there are darts",
        "runs outputs=nowhere": "outputs=nowhere: there is no such folder",
        "strategy sort=name": "sort=name: has no effect on options",
    }.items():
        assert told in nasrun("list", *words.split()).refusal


def test_a_list_says_what_each_option_is(nasrun):
    text = " ".join(nasrun("list", "strategy").out.split())
    for option in ("darts", "darts_2nd", "snas", "milenas", "random"):
        assert option in text
    assert "1812.09926" in text
    everything = nasrun("list").out
    assert all(name in everything for name in ("perturb", "mnist5k", "imagenet", "darts_v2"))
    assert "darts_v2" in nasrun("list", "genotype").out
    assert "smoke" in nasrun("list", "experiment").out


def test_list_runs_groups_seeds(nasrun, finished, small):
    words = [word for word in small if not word.startswith("rounds=")]
    for seed in (0, 1, 2):
        assert nasrun("search", "rounds=1", *words, f"seed={seed}").status == 0
    table = nasrun("list", "runs").out
    rows = [line.split("│") for line in table.splitlines() if line.startswith("│")]
    rows = [[cell.strip() for cell in row[1:-1]] for row in rows]
    searches = {row[0]: row for row in rows if row[1] == "search"}
    assert len(searches) == 2
    one, three = sorted(searches.values(), key=lambda row: int(row[2]))
    assert one[2] == "1"
    assert "±" not in one[3]
    assert three[2] == "3"
    assert "±" in three[3]
    assert {row[1] for row in rows} == {
        "search", "select magnitude", "retrain magnitude", "retrain random",
        "transfer magnitude-mnist5k",
    }  # fmt: skip
