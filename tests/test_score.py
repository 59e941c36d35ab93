"""Scores: their order, and those that are not finite."""

import math

import pytest

from nasrun.score import Score


@pytest.mark.parametrize(
    ("metrics", "sound", "merit"),
    [
        ({"loss": 2.0, "accuracy": 0.5}, True, 0.5),
        ({"loss": math.nan, "accuracy": 0.5}, False, -math.inf),
        ({"loss": math.inf, "accuracy": 0.5}, False, -math.inf),
        ({"accuracy": -math.inf}, False, -math.inf),
    ],
)
def test_a_network_whose_loss_is_no_number_has_no_score(metrics, sound, merit):
    score = Score.validation(metrics, "accuracy")
    assert score.name == "validation_accuracy"
    assert (score.sound, score.merit) == (sound, merit)


def test_what_is_better_where_less_is_has_more_merit():
    less, more, none = (Score("loss", value, False) for value in (1.0, 2.0, math.nan))
    assert less.merit > more.merit > none.merit == -math.inf
