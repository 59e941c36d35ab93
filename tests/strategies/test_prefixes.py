"""Prefixes: legal architectures of every depth, and a uniform draw of them."""

from collections import Counter
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import DARTS, OPERATIONS

from nasrun.costs.amounts import count_choices
from nasrun.genotype import NONE, SKIP
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.mobile import MobileSpace
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.strategies.distinct import distinct
from nasrun.strategies.prefixes import Prefixes

NB201 = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
LAYERS = {"expansions": (3, 6), "widths": (100,), "squeeze": (False,), "channels": 4, "layers": 5}
CELLS = DartsSpace(operations=OPERATIONS, nodes=4, kept_edges=2, channels=4, layers=3)
SPACES = (
    CELLS,
    NasBench201(operations=NB201, channels=4, layers=3),
    MobileSpace(kernels=(3, 5), skip=True, **LAYERS),
)
NARROW = MobileSpace(kernels=(3, 5), skip=False, **LAYERS)


def uniform(prefixes, length, count):
    """Different prefixes of this length, uniformly drawn."""
    return distinct(prefixes.uniform, prefixes.empty, length, count)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SPACES), st.integers(0, 20), st.integers(0, 2**30))
def test_a_prefix_is_an_architecture_that_keeps_what_limits_say_and_skips_the_rest(space, d, seed):
    prefixes = Prefixes(space, {})
    d %= prefixes.depth + 1
    torch.manual_seed(seed)
    length = (0, *prefixes.ends)[d]
    columns = uniform(prefixes, length, 6)
    genotypes = [space.check(genotype) for genotype in prefixes.genotypes(columns)]
    possible = prod(map(len, prefixes.options[:length]))
    assert len(set(genotypes)) == len(genotypes) == min(6, possible)
    for genotype, row in zip(genotypes, columns.tolist(), strict=True):
        for name, options, column in zip(prefixes.names, prefixes.options, row, strict=False):
            assert genotype[name] == options[column]
        assert {genotype[name] for name in prefixes.names[length:]} <= {SKIP, NONE}
        for limit in space.limits:
            assert sum(genotype[name] != NONE for name in limit.decisions) == limit.count
        if space.none_is_a_choice:
            assert all(genotype[name] == SKIP for name in prefixes.names[length:])


def test_without_a_skip_the_filler_is_the_choice_with_the_fewest_parameters():
    params = count_choices(NARROW, NARROW.search_layout, inputs=3, outputs=10, size=32).params
    (filled,) = Prefixes(NARROW, params.each).genotypes(torch.tensor([[3]]))
    assert list(filled.values()) == ["k5e6", *["k3e3"] * 4]


def test_the_uniform_draw_makes_all_architectures_as_likely():
    prefixes = Prefixes(DARTS, {})
    columns = uniform(prefixes, prefixes.ends[-1], 1000)
    assert len(columns) == len(set(prefixes.genotypes(columns))) == (2 * 2 * 3 * 2) ** 2
    log_probs = prefixes.log_probs(torch.zeros(*columns.shape, 3), columns)
    each = log_probs.gather(2, columns[:, :, None]).sum(dim=(1, 2)).exp()
    assert each.tolist() == pytest.approx([1 / len(columns)] * len(columns))
    assert Counter(prefixes.options) == {("skip_connect", "sep_conv_3x3", NONE): 10}
