"""The tree search: what it returns, what it accepts, and what it never does."""

import math
from dataclasses import replace

import pytest
import torch

from nasrun.strategies.cost_process import CostProcess
from nasrun.strategies.growth import Tried
from nasrun.strategies.tree_search import TreeSearch

KEYS = {"beta": 2.5, "lam": 1.0, "cooling": 0.9, "coldest": 0.01, "children": 4}


def search(**keys):
    return TreeSearch(**{**KEYS, **keys})


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def trials(morph_space):
    """A first network, two that grew from it and one that grew from the second; one diverged."""
    found = [Tried(0, morph_space.starts()[0], None, 0.5)]
    costs = [(0, 1, 0.2), (0, 5, math.inf), (1, 2, 0.4)]
    for number, (ancestor, place, cost) in enumerate(costs, 1):
        genotype = found[ancestor].genotype
        morph = list(morph_space.morphs(genotype))[place]
        found.append(Tried(number, morph.grown(genotype), ancestor, cost))
    return found


def test_one_expansion_returns_the_child_of_the_best_with_the_least_lower_bound(
    morph_space, trials
):
    grown = search(cooling=1e-9, children=None).next(trials, morph_space, drawn(3))
    assert grown.ancestor == 1  # the least cost
    best = trials[1].genotype
    taken = {trial.genotype for trial in trials}
    children = [m.grown(best) for m in morph_space.morphs(best) if m.grown(best) not in taken]
    costs = [trial.cost for trial in trials]
    model = CostProcess([trial.genotype for trial in trials], costs, 1.0, drawn(3))
    bounds = model.lower_bounds(children, 2.5)
    chosen = model.lower_bounds([grown.genotype], 2.5)[0]
    assert chosen == pytest.approx(min(bounds), abs=1e-9)
    assert children[bounds.index(min(bounds))] == grown.genotype or bounds.count(min(bounds)) > 1


def test_it_returns_a_new_network_and_how_a_trained_one_grows_to_it(morph_space, trials):
    lengths, ancestors = set(), set()
    for seed in range(4):
        grown = search().next(trials, morph_space, drawn(seed))
        genotype = trials[grown.ancestor].genotype
        for morph in grown.morphs:
            genotype = morph.grown(genotype)
        assert genotype == grown.genotype
        assert genotype not in {trial.genotype for trial in trials}
        assert grown == search().next(trials, morph_space, drawn(seed))
        lengths.add(len(grown.morphs))
        ancestors.add(grown.ancestor)
    assert max(lengths) > 1
    assert 2 not in ancestors  # it diverged


def test_a_network_is_chosen_while_the_first_one_trains(morph_space):
    first = Tried(0, morph_space.starts()[0], None)
    grown = search().next([first], morph_space, drawn())
    assert grown.ancestor == 0
    assert grown.morphs
    known = search().next([replace(first, cost=0.123)], morph_space, drawn())
    assert known == grown  # one cost standardises to zero


def test_a_running_network_is_no_ancestor_and_is_not_chosen_again(morph_space, trials):
    running = [*trials[:1], replace(trials[1], cost=None)]
    for seed in range(5):
        grown = search(coldest=0.5).next(running, morph_space, drawn(seed))
        assert grown.ancestor == 0
        assert grown.genotype != trials[1].genotype


def test_a_child_is_accepted_with_the_probability_of_the_paper():
    generator = drawn()
    for least, bound, temperature in ((0.0, 0.5, 1.0), (0.0, 0.5, 0.25), (0.2, 0.3, 0.1)):
        hits = sum(TreeSearch._accepts(least, bound, temperature, generator) for _ in range(2000))
        assert hits / 2000 == pytest.approx(math.exp((least - bound) / temperature), abs=0.04)
    assert all(TreeSearch._accepts(0.5, bound, 1e-4, generator) for bound in (0.5, 0.4, -1e9))
    assert not TreeSearch._accepts(0.0, 1.0, 1e-4, generator)


def test_nothing_is_chosen_where_the_space_has_no_larger_network(smallest, trials):
    assert search().next(trials[:1], smallest, drawn()) is None


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("beta", -1.0, r"beta=-1.0: use 0 or more"),
        ("lam", math.nan, r"lam=nan: use 0 or more"),
        ("cooling", 1.0, r"cooling=1.0: use more than 0 and less than 1"),
        ("coldest", 0.0, r"coldest=0.0: use more than 0 and less than 1"),
        ("children", 0, r"children=0: use 1 or more, or null for all"),
    ],
)
def test_a_setting_without_sense_is_refused(key, value, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        search(**{key: value})
