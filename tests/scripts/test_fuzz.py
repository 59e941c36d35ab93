"""A slice of the lines that scripts/fuzz.py types, on the run that all tests share."""

import random
import shutil

import pytest


@pytest.fixture
def fuzz(script, whole_run, tmp_path, monkeypatch, no_pictures):
    monkeypatch.chdir(tmp_path)  # the script leaves the folder that it works in
    module = script("fuzz")
    shutil.copytree(whole_run, tmp_path / "finished/outputs")
    monkeypatch.setattr(module, "BEGUN", 0.01)
    return module


def test_random_lines_are_accepted_or_refused_in_one_line(fuzz, tmp_path):
    rows = [fuzz.trial(tmp_path, fuzz.line(random.Random(f"slice {n}"))) for n in range(15)]
    assert [row for row in rows if row["outcome"].startswith("FAILED")] == []
    assert sum(row["outcome"].startswith("refused") for row in rows) > 5


def test_every_verb_is_typed_and_the_same_seed_types_the_same(fuzz):
    from nasrun.cli.verbs import VERBS

    lines = [fuzz.line(random.Random(str(number))) for number in range(300)]
    assert {*VERBS} <= {words[0] for words in lines}
    assert lines[7] == fuzz.line(random.Random("7"))
