"""A slice of the damage that scripts/check_damage.py does, on the run that all tests share."""

import random
import shutil

import pytest
from conftest import MOVED, SHORT, SMALL


@pytest.fixture
def damage(script, whole_run, tmp_path, monkeypatch, no_pictures):
    monkeypatch.chdir(tmp_path)  # the script leaves the folder that it works in
    module = script("check_damage")
    shutil.copytree(whole_run, tmp_path / "finished/outputs")
    (tmp_path / module.TRIAL).mkdir()
    return module


def test_no_damage_of_any_file_goes_unnoticed(damage, tmp_path):
    case = damage.Case("finished", " ".join([*SMALL, *SHORT, *MOVED]))
    drawn, found = random.Random(0), []
    files = [name for name in damage.files(tmp_path / "finished") if name.endswith(damage.NUMBERS)]
    for file in drawn.sample(files, 6):
        for harm in (drawn.choice(damage.DAMAGES), damage.bit):
            _, trial = damage.trial(tmp_path, case, file, harm, damage.QUICK, 0)
            found.append(trial())
    assert [row for row in found if row["outcome"].startswith("FAILED")] == []
    assert {"named", "equal"} <= {row["outcome"] for row in found}


def test_what_goes_unnoticed_is_a_fault(damage, tmp_path, monkeypatch):
    case = damage.Case("finished", " ".join([*SMALL, *SHORT, *MOVED]))
    result = "digits-darts-darts/v001/retrain/magnitude/result.json"

    def harm(path, drawn):  # as if there were no check
        text = path.read_text().replace('"test_accuracy": 0.', '"test_accuracy": 0.9')
        path.write_text("\n".join(line for line in text.splitlines() if '"check"' not in line))

    _, trial = damage.trial(tmp_path, case, result, harm, damage.list_runs, 0)
    assert trial()["outcome"] == "FAILED: other numbers"
    _, trial = damage.trial(tmp_path, case, result, damage.delete, damage.list_runs, 0)
    assert trial()["outcome"] == "less"
