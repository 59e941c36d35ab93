"""`nasrun diff`: what it prints and refuses."""

import json
import shutil
from pathlib import Path

from nasrun.files import read_json, read_yaml, write_record, write_yaml


def changed(run, config, record):
    """A copy of a run beside it, with other settings."""
    other = run.with_name("v002")
    shutil.copytree(run, other)
    made = read_yaml(other / "config.yaml")
    for key, value in config.items():
        group, name = key.split(".")
        made[group][name] = value
    write_yaml(other / "config.yaml", made)
    write_record(other / "run.json", {**read_json(other / "run.json"), **record})
    return other


def test_settings_that_differ_are_told_each_and_no_others(nasrun, finished, here):
    assert nasrun("diff", finished, finished).out == "no setting differs\n"
    new = {"strategy.batch_size": 17, "strategy.weight_clip": None, "dataset.root": "elsewhere"}
    choices = {**read_json(finished / "run.json")["choices"], "strategy": "snas"}
    other = changed(finished, new, {"choices": choices})
    shutil.rmtree(other / "retrain" / "random")
    found = json.loads(nasrun("diff", finished, other, "format=json").out)
    assert found["runs"] == [str(finished), str(other)]
    told = found["settings"]
    assert told["strategy"] == ["darts", "snas"]
    assert told["strategy.batch_size"] == ["16", "17"]
    assert told["strategy.weight_clip"] == ["5.0", "null"]
    assert told["retrain"] == ["random", None]
    assert told["retrain retrain.epochs"] == ["2", None]
    assert all(key.startswith(("strategy", "retrain")) for key in told)
    rows = [line.split() for line in nasrun("diff", finished, other).out.splitlines()]
    assert ["│", "strategy.batch_size", "│", "16", "│", "17", "│"] in rows


def test_wrong_words_are_refused_in_one_line(nasrun, here):
    for words, told in {
        "": "diff: give the folders of two runs or more",
        "a": "diff: give the folders of two runs or more",
        "a b": "run=a: no run there",
        "a b form=json": "form: unknown key, did you mean format?",
        "a b format=yaml": "format=yaml: use table or json",
    }.items():
        assert told in nasrun("diff", *words.split()).refusal
    assert list(Path().iterdir()) == []


def test_given_genotypes_have_a_row_and_their_recipes_are_compared_key_by_key(nasrun, here, short):
    small = ["space.nodes=1", "space.kept_edges=2", "images=48", "dataset.size=4", *short]
    for name, epochs in (("a", 2), ("b", 1)):
        pool = "max_pool_3x3" if name == "a" else "avg_pool_3x3"
        cell = f"normal skip_connect@0 {pool}@1; reduce {pool}@0 {pool}@1"
        (here / f"{name}.txt").write_text(cell)
        words = [word for word in small if not word.startswith("retrain.epochs")]
        answer = nasrun("retrain", f"genotype={name}.txt", *words, f"retrain.epochs={epochs}")
        assert answer.status == 0, answer.err
    runs = sorted(here.glob("outputs/*/v*"))
    told = json.loads(nasrun("diff", *runs, "format=json").out)["settings"]
    assert told.pop("retrain") == ["a", "b"]
    assert told.pop("retrain retrain.epochs") == ["2", "1"]
    genotype = told.pop("genotype")
    assert [value.split(" ")[0] for value in genotype] == ["a", "b"]
    assert all(key.startswith("retrain ") for key in told)
    assert not any(None in values for values in told.values())


def test_a_folder_inside_a_run_stands_for_the_run(nasrun, finished):
    words = ["diff", finished, finished / "select/magnitude"]
    assert nasrun(*words).out == "no setting differs\n"


def test_a_run_that_is_not_there_is_not_taken_for_the_one_around(nasrun, finished, monkeypatch):
    monkeypatch.chdir(finished)
    assert "run=v002: no run there" in nasrun("diff", ".", "v002").refusal
