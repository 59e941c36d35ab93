"""A slice of what scripts/check_attack.py does, on the run that all tests share."""

import os
import shutil
import sys

import pytest


@pytest.fixture
def attack(script, whole_run, tmp_path, monkeypatch, no_pictures):
    monkeypatch.chdir(tmp_path)  # the script leaves the folder that it works in
    module = script("check_attack")
    shutil.copytree(whole_run, tmp_path / "finished/outputs")
    quick = [words for words in module.READING if words[0] in ("show", "list", "load", "clean")]
    monkeypatch.setattr(module, "READING", quick)
    return module


@pytest.fixture
def watch(attack, tmp_path):
    watch = attack.Watch((tmp_path / attack.TRIAL / "outputs",))
    yield watch
    watch.on = False


def test_nothing_hostile_does_anything(attack, watch, tmp_path):
    kinds = ("targets in runs", "references in runs", "JSON", "YAML", "links in runs", "genotypes")
    rows = [
        attack.attack(tmp_path, watch, kind, f"{kind} {number}")
        for kind in kinds
        for number in range(3)
    ]
    assert [row for row in rows if row["outcome"].startswith("FAILED")] == []
    assert any(row["outcome"].startswith("refused") for row in rows)


def test_the_watch_sees_what_must_not_happen(watch, tmp_path):
    watch.modules = set(sys.modules)
    (tmp_path / "foreign.py").write_text("x = 1\n")
    acts = {
        "open": lambda: (tmp_path / "x").write_text("x"),
        "os.rename": lambda: os.rename(tmp_path / "x", tmp_path / "y"),
        "exec": lambda: exec(compile("1", str(tmp_path / "foreign.py"), "exec")),
        "import": lambda: __import__("antigravity_of_nobody"),
        "os.system": lambda: os.system("true"),
    }
    for event, act in acts.items():
        watch.seen, watch.on = [], True
        try:
            act()
        except ImportError:
            pass
        finally:
            watch.on = False
        assert watch.seen, event
        assert watch.seen[0].startswith(event)
