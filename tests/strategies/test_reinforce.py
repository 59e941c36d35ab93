"""Reinforcement learning alone: what its selectors read, and its end without a result."""

import math
from types import SimpleNamespace

import pytest

from nasrun.score import Score
from nasrun.strategies.base import Candidate, from_plain

SMALL = ["width=2", "depth=3", "batch_size=16", "images=64", "space=nasbench201"]


def test_its_score_by_shared_weights_is_that_of_its_candidates(begin):
    few = ["rounds=1", "strategy.warm_up=1", "strategy.num_candidates=2"]
    explore = [f"strategy.explore.{each}" for each in ("updates=1", "samples=2", "images=16")]
    search = begin("strategy=reinforce", *SMALL, *few, *explore)
    while not search.done:
        search.streams.at(search.round)
        search.run_round()
        search.round += 1
    assert len(search.candidates) == 2
    for candidate in search.candidates:
        assert search.shared_score(candidate.genotype) == candidate.score
    state = search.state_dict()["candidates"]
    assert from_plain(search.space, state) == search.candidates


def test_without_a_finite_score_the_error_names_the_rate_by_its_key(begin, tmp_path):
    search = begin("strategy=reinforce", *SMALL)
    lost = Score("validation_accuracy", math.nan)
    search.candidates.append(Candidate(search.space.sample(), lost))
    folder = SimpleNamespace(path=tmp_path, metrics=list)
    with pytest.raises(ValueError, match=r"use a smaller strategy\.explore\.optimizer\.lr$"):
        search.finish(folder)
