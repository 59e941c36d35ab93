"""Small faults: drawn by a seed, found again in another tree, and noticed by tests."""

import json
import sys
from collections import Counter

import pytest

ROOM = """
def at_most(value, limit=3):
    if value > limit:
        raise ValueError
    return value


def unread(value):
    return value + 1
"""
TESTS = """
import pytest
from nasrun.rooms.room import at_most, unread

@pytest.fixture(scope="module")
def shared():
    return at_most(3)

def test_a_larger_one_is_refused():
    with pytest.raises(ValueError):
        at_most(4)

def test_the_limit_itself_is_none(shared):
    assert shared == 3

def test_one_that_says_nothing():
    unread(1)
"""


@pytest.fixture
def mutants(script):
    return script("mutants")


@pytest.fixture
def tree(tmp_path):
    room = tmp_path / "tree/src/nasrun/rooms/room.py"
    room.parent.mkdir(parents=True)
    room.write_text(ROOM)
    (tmp_path / "tree/src/nasrun/__init__.py").touch()
    (tmp_path / "tree/test_room.py").write_text(TESTS)
    return tmp_path / "tree"


def test_every_room_has_its_share_and_a_seed_draws_the_same(mutants, tree):
    assert mutants.draw(tree, 4, 1) == mutants.draw(tree, 4, 1) != mutants.draw(tree, 4, 2)
    drawn = mutants.draw(mutants.ROOT, 120, seed=1)
    assert len({mutant.key for mutant in drawn}) == 120
    rooms = Counter(mutant.room for mutant in drawn)
    assert rooms["strategies"] > rooms["cli"] > rooms["engines"] > 0
    assert mutants.shares(Counter(a=5, b=3, c=2), 7) == {"a": 4, "b": 2, "c": 1}


def test_each_change_is_one_of_its_kind_in_its_place(mutants):
    found = list(mutants.places("src/nasrun/rooms/room.py", ROOM))
    assert {(place.mutant.was, place.mutant.now) for place in found} == {
        ("3", "(2)"),
        ("value > limit", "(value >= limit)"),
        ("raise ValueError", "pass"),
        ("return value", "return None"),
        ("value + 1", "(value - 1)"),
        ("1", "(0)"),
        ("return value + 1", "return None"),
    }
    changed = next(place for place in found if place.mutant.was == "value > limit").changed(ROOM)
    assert changed == ROOM.replace("value > limit", "(value >= limit)")


def test_a_mutant_is_found_where_its_line_moved_to_and_nowhere_if_it_is_gone(mutants, tree):
    drawn = mutants.draw(tree, 7, seed=0)
    (tree / "src/nasrun/other.py").write_text("import os\n\n" + ROOM.replace("value + 1", "value"))
    (tree / "src/nasrun/rooms/room.py").unlink()
    found = mutants.located(drawn, tree)
    assert {place.mutant.file for place in found.values()} == {"src/nasrun/other.py"}
    assert {mutant.was for mutant in drawn if mutant not in found} == {
        "value + 1",
        "1",
        "return value + 1",
    }


def test_killed_is_what_a_test_that_reaches_it_fails_for(mutants, tree, tmp_path, monkeypatch):
    """The boundary is noticed by a test that asks a shared fixture, the sum by none."""
    drawn = [m for m in mutants.draw(tree, 7, 0) if m.now in ("(value >= limit)", "(value - 1)")]
    rows = tmp_path / "rows.jsonl"
    (tmp_path / "drawn").write_text("".join(f"{mutant.key}\n" for mutant in drawn))
    words = ["run", str(tmp_path / "drawn"), str(rows), "--tree", str(tree), "--jobs", "1"]
    monkeypatch.setattr(sys, "argv", ["mutants.py", *words])
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "_hypothesis_pytestplugin")  # of the others none is asked
    mutants.main()
    done = {row["was"]: row for row in map(json.loads, rows.read_text().splitlines())}
    assert done["value > limit"]["outcome"] == "killed"
    assert done["value > limit"]["by"].startswith("ERROR test_room.py::test_the_limit_itself")
    assert done["value + 1"] | {"outcome": "survived", "tests": 1} == done["value + 1"]
    before = rows.read_text()
    mutants.main()
    assert rows.read_text() == before  # nothing is done twice
