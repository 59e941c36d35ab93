"""Partial channels against the equation of PC-DARTS (1907.05737), written again by hand."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from nasrun.costs.cost import params
from nasrun.ops.state import State
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.supernet import batch_statistics
from nasrun.supernet.edge import Edge
from nasrun.supernet.mixture import Mixture
from nasrun.supernet.partial import PartialEdge, bypassed

OPERATIONS = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3")
SPACE = DartsSpace(operations=OPERATIONS, nodes=2, kept_edges=2, channels=8, layers=3)
PARTIAL = replace(SPACE.search_layout, partial=4)
ALL = (1, 2, 3)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def one_edge(stride, parts, channels=8):
    layout = replace(SPACE.search_layout, partial=parts)
    edge = Edge(OPERATIONS, 0, channels // parts, stride, layout)
    return bypassed(edge, stride, layout)


def by_hand(partial, x, row, stride, parts):
    """The released code's order: candidates' part first, then the rest, dealt out in turn."""
    channels = x.shape[1]
    seen = channels // parts
    candidates = partial.edge.candidates
    mixed = sum(row[k] * candidates[OPERATIONS[k]](x[:, :seen]) for k in ALL)
    rest = x[:, seen:] if stride == 1 else F.max_pool2d(x[:, seen:], 2)
    joined = torch.cat([mixed, row.sum() * rest], 1)
    order = [group * seen + place for place in range(seen) for group in range(parts)]
    return joined[:, order]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("parts", [2, 4, 8])
@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_a_part_is_mixed_the_rest_passes_by_and_both_are_shuffled(stride, parts, weight):
    partial = one_edge(stride, parts)
    x = torch.randn(3, 8, 6, 6)
    row = weight * torch.softmax(torch.randn(4), 0)
    mixture = Mixture(row[None], (ALL,))
    with batch_statistics(partial):
        torch.testing.assert_close(
            partial(State(x), mixture, 0.0).map(), by_hand(partial, x, row, stride, parts)
        )


def test_a_map_with_an_odd_side_is_halved_upwards_as_by_a_convolution():
    y = one_edge(2, 4)(
        State(torch.randn(2, 8, 7, 5)), Mixture(torch.ones(1, 4) / 4, (ALL,)), 0.0
    ).map()
    assert y.shape == (2, 8, 4, 3)


def test_an_edge_without_a_running_candidate_has_no_bypass():
    assert (
        one_edge(1, 4)(State(torch.randn(2, 8, 4, 4)), Mixture(torch.ones(1, 4), ((),)), 0.0)
        is None
    )


def test_the_next_edge_sees_channels_of_several_parts():
    """The purpose of the shuffle; the candidate is the identity, so channels can be followed."""
    x = torch.arange(8.0).reshape(1, 8, 1, 1)
    layout = replace(SPACE.search_layout, partial=4)
    partial = PartialEdge(Edge(("skip_connect",), 0, 2, 1, layout), 1, 4)
    y = partial(State(x), Mixture(torch.ones(1, 1), ((0,),)), 0.0).map()
    assert y.flatten().tolist() == [0, 2, 4, 6, 1, 3, 5, 7]


def test_an_edge_on_all_channels_is_the_edge_itself():
    edge = Edge(OPERATIONS, 0, 8, 1, SPACE.search_layout)
    assert bypassed(edge, 1, SPACE.search_layout) is edge


def network(layout):
    return SPACE.network(inputs=3, outputs=5, layout=layout)


def test_a_search_network_on_a_quarter_has_candidates_of_a_quarter_of_the_channels():
    whole, quarter = network(SPACE.search_layout), network(PARTIAL)
    images = torch.randn(2, 3, 8, 8)
    weights = torch.softmax(torch.randn(len(SPACE.decisions), 4), 1)
    logits = quarter(images, Mixture(weights, (ALL,) * len(SPACE.decisions)))[0]
    assert logits.shape == (2, 5)
    depthwise = quarter.cells[0].edges["2-0"].edge.candidates["sep_conv_3x3"].first.depthwise
    assert depthwise.weight.shape == (2, 1, 3, 3)
    assert params(quarter) < params(whole)


def test_a_derived_network_is_whole_however_it_was_searched():
    genotype = SPACE.sample(torch.Generator().manual_seed(0))
    derived = SPACE.network(genotype, inputs=3, outputs=5, layout=SPACE.published_layout)
    assert not [module for module in derived.modules() if isinstance(module, PartialEdge)]


def test_parts_that_do_not_divide_the_channels_are_refused():
    for parts in (0, 3):
        with pytest.raises(ValueError, match=f"partial={parts} channels=8"):
            replace(SPACE.search_layout, partial=parts)
