"""A node is built with its children, as the constructor takes them."""

from nasrun.config import checking
from nasrun.config.building import build
from nasrun.config.checking import BASES


def test_a_node_is_built_with_its_children(monkeypatch):
    monkeypatch.setattr(checking, "BASES", {**BASES, "node": "points.Point"})
    inner = {"_target_": "points.Point", "x": 3}
    node = {"_target_": "points.Point", "x": 1, "y": 2, "many": ["a"], "inner": inner}
    made = build(node, "node", ("points",))
    assert (made.x, made.y, made.many, made.inner.x) == (1, 2, ["a"], 3)


def test_a_text_that_looks_like_a_reference_is_a_text(monkeypatch):
    monkeypatch.setattr(checking, "BASES", {**BASES, "node": "points.Point"})
    text = "${oc.create:{_target_:os.getcwd}}"
    made = build({"_target_": "points.Point", "x": 1, "many": [text]}, "node", ("points",))
    assert made.many == [text]


def test_a_part_that_is_taken_away_is_told(nasrun):
    assert "transfer.dataset=null: expected Dataset" in nasrun("run", "~transfer.dataset").refusal
