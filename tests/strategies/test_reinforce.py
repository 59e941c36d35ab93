"""Reinforcement learning alone: what its selectors read."""

from nasrun.strategies.base import from_plain


def test_its_score_by_shared_weights_is_that_of_its_candidates(begin):
    small = ["width=2", "depth=3", "batch_size=16", "images=64", "space=nasbench201"]
    few = ["rounds=1", "strategy.warm_up=1", "strategy.num_candidates=2"]
    explore = [f"strategy.explore.{each}" for each in ("updates=1", "samples=2", "images=16")]
    search = begin("strategy=reinforce", *small, *few, *explore)
    while not search.done:
        search.streams.at(search.round)
        search.run_round()
        search.round += 1
    assert len(search.candidates) == 2
    for candidate in search.candidates:
        assert search.shared_score(candidate.genotype) == candidate.score
    state = search.state_dict()["candidates"]
    assert from_plain(search.space, state) == search.candidates
