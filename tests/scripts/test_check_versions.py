"""The searches and versions that are run, and their report; nothing is installed here."""

import json
import sys
from pathlib import Path

import pytest
import torch

from nasrun.config import options


@pytest.fixture
def versions(script):
    return script("check_versions")


def test_every_strategy_is_run_and_with_every_evaluator_that_trains(versions):
    found = [*versions.strategies()]
    assert {words.split()[0] for words in found} == set(options("strategy"))
    proposed = [words for words in found if words.startswith("random ")]
    trained = ("from_scratch", "inherited", "most_novel", "novelty")
    assert proposed == [f"random evaluator={evaluator}" for evaluator in trained]


def test_the_lowest_versions_are_those_of_the_project(versions):
    assert [found.split("==")[0] for found in versions.lowest()] == ["torch", "torchvision"]
    text = (versions.ROOT / "pyproject.toml").read_text()
    assert all(f'"{found.replace("==", ">=")}' in text for found in versions.lowest())


def test_a_search_that_fails_is_kept_with_what_it_said(versions):
    ended = versions.search(Path(sys.executable), ["strategy=nope"])
    assert ended["status"] == 2
    assert "nope" in ended["error"]
    assert versions.version(Path(sys.executable)) == torch.__version__


def test_what_is_done_is_not_done_again(versions, tmp_path, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(
        versions, "search", lambda python, words: ran.append(words) or {"status": 0, "seconds": 6}
    )
    done = tmp_path / "done.jsonl"
    row = {"strategy": "darts", "images": "400", "torch": "2.6", "status": 1, "seconds": 6}
    done.write_text(json.dumps({**row, "error": "broken"}) + "\n")
    for _ in range(2):
        versions.check(Path("python"), "2.6", done)
    assert ["strategy=darts", "images=400"] not in ran
    assert ["strategy=darts", "images=320"] in ran
    assert len(ran) == len(versions.read(done)) - 1
    capsys.readouterr()
    versions.table(versions.read(done))
    shown = capsys.readouterr().out
    assert "| darts | 2.6 | done | failed | done | done | done | 0.5 |" in shown
    assert "darts images=400 torch 2.6: failed (broken)" in shown
