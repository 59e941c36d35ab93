"""Bourgain's embedding: what is kept of distances, and that new points get the same coordinates."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.strategies.bourgain import Bourgain


def points(count, seed):
    """Distances of random points of a plane, which are a metric."""
    places = np.random.default_rng(seed).random((count, 2))
    return np.linalg.norm(places[:, None] - places[None], axis=-1)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(0, 99))
def test_no_distance_grows_and_a_point_lies_where_it_is_embedded_again(count, seed):
    distances = points(count, seed)
    bourgain = Bourgain.drawn(count, torch.Generator().manual_seed(seed))
    placed = bourgain.embed(distances)
    apart = np.linalg.norm(placed[:, None] - placed[None], axis=-1)
    assert (apart <= distances + 1e-12).all()
    for place in range(count):
        assert (bourgain.embed(distances[place : place + 1])[0] == placed[place]).all()


def test_there_are_ln_n_sets_of_every_power_of_two_up_to_half_of_the_points_or_more():
    bourgain = Bourgain.drawn(20, torch.Generator().manual_seed(0))
    assert [len(chosen) for chosen in bourgain.anchors] == [1] * 3 + [2] * 3 + [4] * 3 + [8] * 3 + [
        16
    ] * 3
    assert all(len(set(chosen)) == len(chosen) for chosen in bourgain.anchors)
    assert Bourgain.drawn(1, torch.Generator()).anchors == ((0,),)
    drawn = [Bourgain.drawn(20, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    assert drawn[0] == bourgain != drawn[1]


def test_a_coordinate_is_the_distance_to_the_nearest_anchor():
    bourgain = Bourgain(((0,), (1, 2)))
    (placed,) = bourgain.embed(np.array([[3.0, 5.0, 4.0]]))
    assert placed * np.sqrt(2) == pytest.approx([3.0, 4.0])
