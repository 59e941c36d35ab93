"""Killed commands, and the comparison of their results."""

import json
import os
from dataclasses import replace

import pytest
import torch
from golden import RUNS

from nasrun.config import conf_folder, options
from nasrun.files import read_yaml


@pytest.fixture
def kills(script):
    return script("check_kills")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it is a fork that is killed")
def test_a_killed_search_and_a_killed_selection_end_as_undisturbed(kills, here, whole_run):
    for stage, part in (("search", 0.9), ("select", 0.5)):
        before, command = kills.commands("darts", stage, "argmax")
        command = tuple(word.replace("rounds=3", "rounds=2") for word in command)
        trial = kills.Trial("darts", stage, (), command, (part,), power=True)
        if before:
            search = tuple(word.replace("rounds=3", "rounds=2") for word in before[0])
            trial = replace(trial, before=(search,))
        row = kills.attempt(trial, here, stage)
        assert (row["status"], row["other"]) == (0, []), row
        assert not (here / stage).exists()
    assert len(list((here / "references").iterdir())) == 2  # the search is done once


def test_what_ran_undisturbed_with_another_commit_is_run_again(kills, tmp_path, monkeypatch):
    monkeypatch.setattr(kills, "run", lambda command, folder: (0, "", {}))
    found = []
    for commit in ("1a7d366", "c2c868d", "1a7d366"):
        monkeypatch.setattr("nasrun.runs.environment._git_commit", lambda commit=commit: commit)
        found.append(kills.reference([("search",)], tmp_path)[0])
    assert found[0] == found[2] != found[1]


def test_the_trials_of_a_seed_are_the_same_and_of_all_kinds(kills):
    trials = [kills.Trial.draw(0, number) for number in range(100)]
    assert trials == [kills.Trial.draw(0, number) for number in range(100)]
    assert {trial.stage.split()[0] for trial in trials} == {
        "search", "select", "retrain", "transfer", "run", "sweep",
    }  # fmt: skip
    assert set(kills.WORDS) <= set(options("strategy"))
    assert {len(trial.kills) for trial in trials} == {1, 2, 3}
    assert 20 < sum(trial.power for trial in trials) < 50


def kind(strategy):
    """Return the class of a strategy, which may stand in a file that its own begins with."""
    content = read_yaml(conf_folder() / "strategy" / f"{strategy}.yaml")
    if "_target_" in content:
        return content["_target_"]
    parts = [part for part in content["defaults"] if isinstance(part, str) and part != "_self_"]
    return next(filter(None, map(kind, parts)), None) if parts else None


def test_every_kind_of_strategy_is_killed_and_has_a_golden_run(kills):
    kinds = {kind(name) for name in options("strategy")}
    words = (word for run in RUNS.values() for word in run)
    golden = {word.partition("=")[2] for word in words if word.startswith("strategy=")}
    for covered in (set(kills.WORDS), golden):
        assert {kind(name) for name in covered} == kinds


def test_a_loss_of_power_takes_what_was_not_flushed(kills, tmp_path):
    sizes = {}
    for name, flushed in (("whole", 4), ("half", 2), ("nothing", None)):
        (tmp_path / name).write_text("abcd")
        if flushed is not None:
            sizes[(tmp_path / name).stat().st_ino] = flushed
    assert kills.lose_power(tmp_path, sizes) == 2
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "whole": "abcd", "half": "ab", "nothing": "",
    }  # fmt: skip


def test_times_are_no_difference_and_all_else_is(kills, tmp_path):
    folders = [tmp_path / name for name in ("one", "other")]
    for seconds, folder in enumerate(folders):
        folder.mkdir()
        (folder / "result.json").write_text(json.dumps({"seconds": seconds, "accuracy": 0.5}))
        rows = {"metrics.jsonl": [{"loss": float("nan")}], "timing.jsonl": [{"seconds": seconds}]}
        state = {"seconds": seconds, "rows": rows, "stage": {"weights": torch.ones(3)}}
        torch.save(state, folder / "state.pt")
    assert kills.differences(*folders) == []
    state["stage"]["weights"][1] = 2
    torch.save(state, folder / "state.pt")
    (folder / "result.json").write_text(json.dumps({"seconds": 1, "accuracy": 0.6}))
    (folder / "left.tmp").touch()
    assert kills.differences(*folders) == ["left.tmp", "result.json", "state.pt"]


def test_a_table_counts_every_kind_and_tells_what_ended_otherwise(kills, capsys):
    row = {"trial": 3, "strategy": "darts", "stage": "search", "power": True, "cut": 2}
    row |= {"moments": [kills.MOMENTS[1], kills.MOMENTS[3]], "said": ""}
    kills.table([{**row, "status": 0, "other": []}, {**row, "status": 0, "other": ["x.png"]}])
    lines = capsys.readouterr().out.splitlines()
    assert "| search | 2 | 0 | 2 | 0 | 2 | 2 | 4 | 1 |" in lines
    assert "| all | 2 | 0 | 2 | 0 | 2 | 2 | 4 | 1 |" in lines
    assert lines[-1].endswith("2 files cut: differs in x.png")
