"""The panels and curves of a history; unusual histories are drawn, too."""

import math

import pytest
from matplotlib.image import imread

from nasrun.pictures.curves import (
    draw_panels,
    retrain_curves,
    retrain_panels,
    search_curves,
    search_panels,
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
