"""Which panels and curves a history gives, and that odd histories are drawn at all."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from matplotlib.image import imread

from nasrun.pictures import plots
from nasrun.pictures.plots import (
    COLOURS,
    draw_panels,
    event_scores,
    retrain_curves,
    retrain_panels,
    search_curves,
    search_panels,
    shrinking_space,
    size_frontier,
)

SEARCH = {
    "train_loss": 2.0,
    "alpha_loss": 2.1,
    "validation_loss": 2.2,
    "validation_accuracy": 0.25,
    "entropy_normal": 20.0,
    "entropy_reduce": 19.0,
    "changed_edges": 4.0,
}
GROUPS = ("normal", "reduce")


def history(*records):
    return [{"round": round, **record} for round, record in enumerate(records, 1)]


def random_search(warm_up=3, candidates=4):
    score = {"validation_accuracy": 0.5, "best_validation_accuracy": 0.6}
    return history(*[{"train_loss": 2.0}] * warm_up, *[score] * candidates)


def titles(figure):
    return [axes.get_title(loc="left").split()[0] for axes in figure.axes]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_search_has_four_panels():
    figure = draw_panels(search_panels(GROUPS), history(SEARCH, SEARCH))
    assert titles(figure) == ["Loss", "Accuracy", "Entropy", "Edges"]
    losses, accuracies, entropies, _ = figure.axes
    assert legend(losses) == ["train", "alpha", "validation"]
    assert legend(accuracies) == ["validation"]
    assert legend(entropies) == ["normal", "reduce"]


def test_panels_without_data_are_left_out():
    figure = draw_panels(search_panels(()), random_search())
    assert titles(figure) == ["Loss", "Accuracy"]
    assert legend(figure.axes[0]) == ["train"]
    assert legend(figure.axes[1]) == ["validation", "best so far"]


def test_a_space_with_one_unnamed_cell_type_has_an_entropy_without_legend():
    figure = draw_panels(search_panels(("",)), history({"entropy": 1.0}))
    assert titles(figure) == ["Entropy"]
    assert figure.axes[0].get_legend() is None


def test_accuracies_are_drawn_in_percent_and_rounds_where_they_were():
    _, accuracies = draw_panels(search_panels(()), random_search(3, 2)).axes
    validation, best = accuracies.get_lines()
    assert list(validation.get_xdata()) == [4, 5]
    assert list(validation.get_ydata()) == [50.0, 50.0]
    assert list(best.get_ydata()) == [60.0, 60.0]


def test_all_panels_span_the_same_rounds():
    figure = draw_panels(search_panels(()), random_search())
    first, second = (axes.get_xlim() for axes in figure.axes)
    assert first == second
    assert first[0] < 1
    assert first[1] > 7


def test_a_single_round_is_visible():
    for axes in draw_panels(search_panels(GROUPS), history(SEARCH)).axes:
        for line in axes.get_lines():
            assert line.get_marker() == "o"
            low, high = axes.get_xlim()
            assert low < 1 < high


def test_diverged_rounds_are_gaps():
    records = [{"train_loss": loss} for loss in (2.0, math.inf, math.nan, 1.0)]
    (line,) = draw_panels(search_panels(()), history(*records)).axes[0].get_lines()
    assert [math.isnan(value) for value in line.get_ydata()] == [False, True, True, False]


def test_a_retraining_without_validation_has_losses_and_learning_rate():
    records = history({"train_loss": 1.0, "lr": 0.025}, {"train_loss": 0.9, "lr": 0.02})
    assert titles(draw_panels(retrain_panels(), records)) == ["Loss", "Learning"]


@pytest.mark.parametrize(
    "metrics",
    [history(SEARCH), history(SEARCH, SEARCH, {"train_loss": 1.0}), random_search()],
    ids=["a single round", "missing keys", "random search"],
)
def test_the_file_is_ten_by_seven_inches_and_no_draft_stays(tmp_path, metrics):
    search_curves(metrics, tmp_path / "search.png", GROUPS)
    assert imread(tmp_path / "search.png").shape[:2] == (840, 1200)
    assert [path.name for path in tmp_path.iterdir()] == ["search.png"]


def test_a_retraining_replaces_the_file_of_the_one_before(tmp_path):
    path = tmp_path / "curves.png"
    path.write_text("old")
    retrain_curves(history({"train_loss": 1.0, "lr": 0.1, "validation_accuracy": 0.5}), path)
    assert imread(path).shape[:2] == (840, 1200)


@pytest.mark.parametrize("metrics", [[], history({"candidates": 3.0})], ids=["no round", "no key"])
def test_nothing_to_draw_writes_nothing(tmp_path, metrics):
    search_curves(metrics, tmp_path / "search.png", GROUPS)
    assert not list(tmp_path.iterdir())


def test_importing_the_module_leaves_matplotlib_alone():
    code = "import nasrun.pictures.plots, nasrun.pictures.cells, sys\n"
    code += "sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_drawing_needs_no_pyplot(tmp_path):
    code = (
        "import pathlib, sys; from nasrun.pictures.plots import search_curves;"
        "search_curves([{'round': 1, 'train_loss': 2.0}], pathlib.Path(sys.argv[1]));"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "search.png")]
    assert subprocess.run(command, check=False).returncode == 0


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


def test_ticks_say_their_whole_number(monkeypatch):
    """Neither an offset (+2.9111e1) nor a power of ten (1e-4) stands beside an axis."""
    entropies = history(*({"entropy": 29.1110 + step / 10**5} for step in range(5)))
    rates = history(*({"lr": 1e-6 * step} for step in range(5)))
    for panels, records in ((search_panels(("",)), entropies), (retrain_panels(), rates)):
        figure = draw_panels(panels, records)
        figure.canvas.draw()
        for axes in figure.axes:
            assert axes.yaxis.get_offset_text().get_text() == ""


def test_a_plot_names_the_run_and_the_stage_that_it_is_of(tmp_path, monkeypatch):
    run = tmp_path / "digits-darts-darts" / "v001"
    path = run / "select" / "perturb" / "scores.png"
    assert plots.place_of(path) == ""
    path.parent.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    figure = draw_panels(search_panels(()), history(SEARCH))
    plots.save(figure, path)
    assert figure.get_supxlabel() == "digits-darts-darts/v001/select/perturb"
    monkeypatch.chdir(run)
    assert plots.place_of(Path("search/search.png")) == "digits-darts-darts/v001/search"


def test_a_frontier_is_drawn_over_all_rounds(tmp_path):
    size_frontier([(300, 0.5), (200, 0.6), (250, 0.4)], [(200, 0.6)], tmp_path / "frontier.png")
    assert imread(tmp_path / "frontier.png").shape[:2] == (540, 720)


def test_a_shrinking_space_has_a_row_for_every_decision_and_the_memory_with_its_limit(
    tmp_path, monkeypatch
):
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path, **options: figures.append(figure))
    metrics = history({"reward": 0.2}, {"reward": 0.3}, {"predicted_memory_gib": 1.5})
    timing = history({"memory_gib": 0.9}, {"memory_gib": 1.0}, {"memory_gib": 1.4})
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
    assert "the budget" in legend(memory)
