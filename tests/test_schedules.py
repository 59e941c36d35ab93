"""Learning rates at points where their formulas are known by heart."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.config import compose
from nasrun.schedules import Constant, Cosine, Exponential

shares = st.floats(0, 1)


def test_a_constant_stays_at_the_first_rate():
    assert [Constant().at(share, 0.0025) for share in (0, 0.5, 1)] == [0.0025] * 3


def test_a_cosine_starts_at_the_first_rate_ends_at_the_last_and_is_halfway_in_the_middle():
    schedule = Cosine(last=0.001)
    assert schedule.at(0, 0.025) == pytest.approx(0.025)
    assert schedule.at(0.5, 0.025) == pytest.approx(0.013)
    assert schedule.at(1, 0.025) == pytest.approx(0.001)


def test_a_cosine_has_lost_a_quarter_of_its_height_after_a_third():
    assert Cosine(last=1.0).at(1 / 3, 5.0) == pytest.approx(4.0)  # cos 60 degrees = 1/2
    assert Cosine(last=1.0).at(2 / 3, 5.0) == pytest.approx(2.0)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(shares, st.floats(0, 0.1))
def test_a_cosine_is_point_symmetric_about_its_middle(share, last):
    schedule = Cosine(last=last)
    both = schedule.at(share, 0.2) + schedule.at(1 - share, 0.2)
    assert both == pytest.approx(0.2 + last)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(shares, shares)
def test_a_cosine_never_rises(one, other):
    early, late = sorted([one, other])
    schedule = Cosine(last=0.001)
    assert schedule.at(early, 0.025) >= schedule.at(late, 0.025) - 1e-15


@pytest.mark.parametrize("epochs", [1, 7, 100, 250, 600])
def test_an_exponential_is_multiplied_once_an_epoch(epochs):
    schedule = Exponential(decay=0.97, epochs=epochs)
    for epoch in range(epochs):
        assert schedule.at(epoch / epochs, 0.1) == pytest.approx(0.1 * 0.97**epoch, rel=1e-9)


def test_an_exponential_stays_within_an_epoch_however_many_rounds_it_has():
    schedule = Exponential(decay=0.97, epochs=250)
    rounds = [schedule.at(round / 1000, 0.1) for round in range(40, 44)]  # all of epoch 10
    assert rounds == [rounds[0]] * 4
    assert schedule.at(44 / 1000, 0.1) == pytest.approx(0.97 * rounds[0])


def test_the_last_imagenet_epoch_has_the_published_rate():
    last = Exponential(decay=0.97, epochs=250).at(249 / 250, 0.1)
    assert math.log(last / 0.1) == pytest.approx(249 * math.log(0.97))


def test_a_negative_last_rate_is_refused():
    with pytest.raises(ValueError, match=r"last=-0\.1"):
        Cosine(last=-0.1)


@pytest.mark.parametrize(
    ("decay", "epochs", "named"),
    [(0.0, 5, r"decay=0\.0"), (1.1, 5, r"decay=1\.1"), (0.97, 0, "epochs=0")],
)
def test_an_exponential_that_does_not_decay_or_never_steps_is_refused(decay, epochs, named):
    with pytest.raises(ValueError, match=named):
        Exponential(decay=decay, epochs=epochs)


@pytest.mark.parametrize("stage", ["retrain", "transfer"])
def test_the_imagenet_recipe_decays_once_an_epoch_of_however_many(stage):
    words = [f"{stage}=imagenet", f"{stage}.epochs=50", "transfer.dataset.root=folder"]
    words = [word for word in words if stage == "transfer" or "root" not in word]
    assert compose(words).config[stage].schedule.epochs == 50
