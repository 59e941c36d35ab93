"""How the next network is chosen without a model: by chance, and the oldest ancestor first."""

import itertools
import math
from collections import Counter

import pytest
import torch

from nasrun.strategies.growth import BreadthFirst, RandomGrowth, Tried, children


@pytest.fixture
def start(morph_space):
    return morph_space.starts()[0]


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def grow(growth, space, start, count, cost=0.5):
    """Trials in which every network is trained with the same cost before the next is chosen."""
    trials = [Tried(0, start, None, cost)]
    for number in range(1, count):
        grown = growth.next(trials, space, drawn(number))
        trials.append(Tried(number, grown.genotype, grown.ancestor, cost))
        (ancestor,) = (trial for trial in trials if trial.number == grown.ancestor)
        replayed = ancestor.genotype
        for morph in grown.morphs:
            replayed = morph.grown(replayed)
        assert replayed == grown.genotype
    return trials


def test_children_are_all_morphs_once_without_those_that_are_taken(morph_space, start):
    every = [morph.grown(start) for morph in morph_space.morphs(start)]
    found = [child for _, child in children(start, {every[0], every[3]}, morph_space, drawn())]
    assert set(found) == set(every) - {every[0], every[3]}
    kinds = Counter()
    for seed in range(60):
        morph, _ = next(children(start, (), morph_space, drawn(seed)))
        kinds[type(morph).__name__] += 1
    assert set(kinds) == {"Deep", "Wide", "Connect"}
    assert min(kinds.values()) > 10  # each a third, however many there are of it


def test_random_growth_takes_any_trained_network_and_nothing_twice(morph_space, start):
    trials = grow(RandomGrowth(), morph_space, start, 12)
    assert len({trial.genotype for trial in trials}) == 12
    assert len({trial.ancestor for trial in trials}) > 3
    running, failed = Tried(1, trials[1].genotype, 0), Tried(2, trials[2].genotype, 0, math.inf)
    for seed in range(20):
        grown = RandomGrowth().next([trials[0], running, failed], morph_space, drawn(seed))
        assert grown.ancestor == 0
    assert RandomGrowth().next([Tried(0, start, None)], morph_space, drawn()).ancestor == 0


def test_breadth_first_exhausts_the_oldest_network_before_the_next(morph_space, start):
    trials = grow(BreadthFirst(children=3), morph_space, start, 9)
    assert [trial.ancestor for trial in trials] == [None, 0, 0, 0, 1, 1, 1, 2, 2]
    with pytest.raises(ValueError, match=r"^children=0: use 1 or more"):
        BreadthFirst(children=0)


def test_nothing_grows_where_the_space_has_no_larger_network(smallest, start):
    for growth in (RandomGrowth(), BreadthFirst(children=9)):
        assert growth.next([Tried(0, start, None, 0.5)], smallest, drawn()) is None


def test_growth_depends_on_its_generator_alone(morph_space, start):
    trials = grow(RandomGrowth(), morph_space, start, 6)
    first, again, other = (
        RandomGrowth().next(trials, morph_space, drawn(seed)) for seed in (5, 5, 6)
    )
    assert first == again != other
    assert len(list(itertools.islice(children(start, (), morph_space, drawn()), 2))) == 2
