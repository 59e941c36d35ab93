"""The edit distance of chains: against every alignment and matching, and as a metric's kin."""

from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.spaces.edit_distance import (
    edit_distance,
    layer_distance,
    layers_distance,
    skip_distance,
    skips_distance,
)
from nasrun.spaces.morph_layers import Chain, ChainLayer, Skip

CONVS = st.builds(ChainLayer, st.just("conv"), st.integers(1, 4), st.sampled_from([1, 3, 5]))
MAPS = st.one_of(CONVS, st.just(ChainLayer("pool")))
DENSE = st.builds(ChainLayer, st.just("dense"), st.integers(1, 4))


@st.composite
def chains(draw):
    """A network of up to five layers and three skips."""
    layers = (draw(CONVS), *draw(st.lists(MAPS, max_size=3)), *draw(st.lists(DENSE, max_size=1)))
    ends = [number for number, layer in enumerate(layers, 1) if layer.kind != "pool"]
    pairs = list(combinations(ends, 2))
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=3, unique=True)) if pairs else []
    kinds = st.sampled_from(["add", "concat"])
    return Chain(layers, tuple(Skip(*pair, draw(kinds)) for pair in chosen))


CHAINS = chains()
BRIEF = settings(max_examples=60, deadline=None, derandomize=True)


def alignments(ones, others):
    """The cost of every alignment that keeps the order."""
    for count in range(min(len(ones), len(others)) + 1):
        for left in combinations(ones, count):
            for right in combinations(others, count):
                alone = len(ones) + len(others) - 2 * count
                yield alone + sum(map(layer_distance, left, right))


def matchings(ones, others):
    """The cost of every matching of the smaller set with a part of the larger one."""
    few, many = sorted((ones, others), key=len)
    for chosen in permutations(many, len(few)):
        yield len(many) - len(few) + sum(map(skip_distance, few, chosen))


@BRIEF
@given(CHAINS, CHAINS)
def test_it_is_the_cheapest_alignment_and_the_cheapest_matching(one, other):
    layers = min(alignments(one.layers, other.layers))
    skips = min(matchings(one.skips, other.skips))
    assert layers_distance(one.layers, other.layers) == pytest.approx(layers)
    assert skips_distance(one.skips, other.skips) == pytest.approx(skips)
    assert edit_distance(one, other, 0.5) == pytest.approx(layers + 0.5 * skips)


@BRIEF
@given(CHAINS, CHAINS)
def test_it_is_symmetric_zero_to_itself_and_positive_otherwise(one, other):
    there, back = edit_distance(one, other, 1.0), edit_distance(other, one, 1.0)
    assert there == pytest.approx(back)
    assert edit_distance(one, one, 1.0) == 0
    assert (there > 0) == (one != other)


def test_layers_and_skips_differ_as_the_paper_says():
    conv, wide, large = ChainLayer("conv", 1, 3), ChainLayer("conv", 4, 3), ChainLayer("conv", 4, 5)
    assert layer_distance(conv, wide) == pytest.approx((3 / 4 + 0) / 2)
    assert layer_distance(conv, large) == pytest.approx((3 / 4 + 2 / 5) / 2)
    assert layer_distance(ChainLayer("dense", 1, 0), ChainLayer("dense", 2, 0)) == pytest.approx(
        1 / 2
    )
    assert layer_distance(conv, ChainLayer("pool", 0, 0)) == 1
    # sources 1 and 3, spans 2 and 1
    apart = skip_distance(Skip(1, 3, "add"), Skip(3, 4, "add"))
    assert apart == pytest.approx((2 + 1) / (3 + 2))
    assert skip_distance(Skip(1, 3, "add"), Skip(1, 3, "concat")) == 1
