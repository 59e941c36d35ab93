"""The pictures of single methods."""

import math
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from matplotlib.image import imread

from nasrun.pictures import plots
from nasrun.pictures.figure import COLOURS
from nasrun.pictures.plots import (
    event_scores,
    score_scatter,
    shrinking_space,
    trade_off,
    widths_and_depths,
)

EVENTS = [
    {"event": 0, "subject": "normal/2-0", "scores": {"skip": 0.5, "conv": 0.4}, "outcome": "conv"},
    {"event": 0, "subject": "reduce/2-0", "scores": {"skip": 0.5, "conv": 0.5}, "outcome": "skip"},
    {"event": 1, "subject": "normal/2", "scores": {"normal/2-0": -1.5}, "outcome": "normal/2-0"},
    {"event": 1, "subject": "reduce/2", "scores": {"a": math.nan, "b": -2.0}, "outcome": "b"},
    {"event": 2, "subject": "reduce/2", "scores": {"a": math.inf}, "outcome": "a"},
]


NODES = {"normal/2", "reduce/2"}


def drawn(monkeypatch, draw, *arguments):
    """The figure that is drawn."""
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path, **options: figures.append(figure))
    draw(*arguments)
    return figures[0]


def test_every_decision_of_a_selection_has_a_panel_with_what_stays_and_what_goes(monkeypatch):
    """By one colour each, whether operations or edges are decided."""
    figure = drawn(monkeypatch, event_scores, EVENTS, Path("scores.png"), "accuracy", NODES)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"{record['event']}: {record['subject']}" for record in EVENTS
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "stays in the network",
        "is removed",
    ]
    for axes, record in zip(figure.axes, EVENTS, strict=True):
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert names == list(record["scores"])
        stays = [to_hex(bar.get_facecolor()).upper() == COLOURS[0] for bar in axes.patches]
        dropped = record["subject"] in NODES
        assert stays == [(name == record["outcome"]) != dropped for name in names]


def test_bars_of_a_selection_begin_at_nought_on_one_axis_and_are_what_is_lost(monkeypatch):
    figure = drawn(monkeypatch, event_scores, EVENTS, Path("scores.png"), "accuracy", NODES)
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert {bar.get_x() for axes in figure.axes for bar in axes.patches} == {0.0}
    skip, conv = figure.axes[0].patches
    assert (skip.get_width(), conv.get_width()) == (0.0, pytest.approx(10.0))  # points of percent
    unknown, _ = figure.axes[3].patches
    assert unknown.get_width() == pytest.approx(11.0)  # longer than the longest
    assert figure.axes[-1].get_xlabel() == "accuracy lost, percentage points"
    assert figure.axes[0].get_ylabel() == "masked"


def test_the_decisions_are_written_and_none_write_nothing(tmp_path):
    event_scores(EVENTS, tmp_path / "scores.png", "loss", NODES)
    assert imread(tmp_path / "scores.png").shape[1] == pytest.approx(4 * 340, abs=2)
    event_scores([], tmp_path / "empty.png", "loss", NODES)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.png"]


def test_a_frontier_is_drawn_over_all_rounds(tmp_path):
    points, path = [(300, 0.5), (200, 0.6), (250, 0.4)], tmp_path / "frontier.png"
    trade_off(points, points[1:2], path, "a title", ("params", "%"), "every round")
    assert imread(tmp_path / "frontier.png").shape[:2] == (540, 720)


def test_a_shrinking_space_has_a_row_for_every_decision_and_the_memory_with_its_limit(
    tmp_path, monkeypatch
):
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path, **options: figures.append(figure))
    rewards = [{"round": 1, "reward": 0.2}, {"round": 2, "reward": 0.3}]
    metrics = [*rewards, {"round": 3, "predicted_memory_gib": 1.5}]
    timing = [{"round": i, "memory_gib": gib} for i, gib in enumerate((0.9, 1.0, 1.4), 1)]
    alive = {"layer00": [7, 7, 4], "layer01": [7, 7, 2]}
    shrinking_space(alive, metrics, timing, 2.0, tmp_path / "subspaces.png")
    layers, rewards, memory = figures[0].axes[:3]
    assert layers.get_images()[0].get_array().tolist() == [[7, 7, 4], [7, 7, 2]]
    assert [label.get_text() for label in layers.get_yticklabels()] == list(alive)
    assert rewards.get_lines()[0].get_xydata().tolist() == [[1, 20], [2, 30]]
    predicted, measured, limit = memory.get_lines()
    assert predicted.get_xydata().tolist() == [[3, 1.5]]
    assert list(measured.get_ydata()) == [0.9, 1.0, 1.4]
    assert set(limit.get_ydata()) == {2.0}
    assert "the budget" in [text.get_text() for text in memory.get_legend().get_texts()]


def test_named_cells_stand_among_all_of_their_space(monkeypatch):
    every = {(1.5, 3): 3, (2.0, 2): 1}
    named = {(2.0, 2): ["darts_v2", "mine"]}
    figure = drawn(monkeypatch, widths_and_depths, every, named, "darts, normal", Path("w.png"))
    (axes,) = figure.axes
    (circles,) = axes.collections
    assert circles.get_offsets().tolist() == [[1.5, 3], [2, 2]]
    assert circles.get_sizes().tolist() == [3000, 1000]
    assert [text.get_text() for text in axes.texts] == ["darts_v2\nmine"]


def test_every_score_has_a_panel_with_the_truth_over_its_places(monkeypatch):
    panels = {"naswot": [(0.5, 0.9), (1.0, 0.8)], "params": [(1.0, 0.9), (0.5, 0.8)]}
    figure = drawn(monkeypatch, score_scatter, panels, "cifar10_test_200ep", Path("ranks.png"))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["naswot", "params"]
    (points,) = figure.axes[0].lines
    assert points.get_xydata().tolist() == [[0.5, 0.9], [1.0, 0.8]]
