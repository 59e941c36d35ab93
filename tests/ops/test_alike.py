"""Layers of one kind that run together, against each of them alone."""

import copy
import os
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from together import together
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from nasrun import ops
from nasrun.ops import state as states
from nasrun.ops.alike import Later, joined, normalise, settle
from nasrun.ops.operation import Sum
from nasrun.ops.pool import Pooling
from nasrun.ops.state import LAST, State

NAMES = (
    *("skip_connect", "max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "sep_conv_5x5"),
    *("dil_conv_3x3", "dil_conv_5x5", "nor_conv_1x1", "nor_conv_3x3"),
)
CHANNELS = 4


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def on_a_gpu():
    """States gather as on a GPU."""
    with patch.object(states, "awaits_launches", lambda x: True):
        yield


class Counted(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self):
        super().__init__()
        self.numbers = {}

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name = function.overloadpacket.__name__
        self.numbers[name] = self.numbers.get(name, 0) + 1
        return function(*arguments, **(keywords or {}))


def operation(name, stride, affine, pool_norm):
    made = ops.build(name, CHANNELS, stride, affine)
    if pool_norm and isinstance(made, Pooling):
        made = Pooling(made.pool, nn.BatchNorm2d(CHANNELS, affine=affine))
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made.double()


@st.composite
def nodes(draw):
    """Edges (source, stride, operations) into a node; settings of norms; weighted or not."""
    edges = [
        (source, 2 if source == 0 else 1, draw(st.lists(st.sampled_from(NAMES), max_size=4)))
        for source in range(draw(st.integers(1, 3)))
    ]
    if not any(names for *_, names in edges):
        edges[0] = 0, 2, [draw(st.sampled_from(NAMES))]
    return edges, draw(st.booleans()), draw(st.booleans()), draw(st.booleans()), draw(st.booleans())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(nodes())
def test_a_node_computed_together_is_the_sum_of_its_operations(node):
    edges, affine, pool_norm, weighted, training = node
    pairs = [
        (source, operation(name, stride, affine, pool_norm).train(training))
        for source, stride, names in edges
        for name in names
    ]
    sides = [(9, 7), *[(5, 4)] * 2]
    maps = [
        torch.randn(3, CHANNELS, *side, dtype=torch.float64)
        .contiguous(memory_format=LAST)
        .requires_grad_()
        for side in sides[: len(edges)]
    ]
    weights = torch.rand(len(pairs), dtype=torch.float64).requires_grad_() if weighted else None
    alone = copy.deepcopy(pairs)
    expected = sum(
        (1 if weights is None else weights[k]) * one(maps[source])
        for k, (source, one) in enumerate(alone)
    )
    gathering = [State(x, gathers=True) for x in maps]
    found = Sum(tuple(one.term(gathering[source]) for source, one in pairs), weights).map()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)

    g = torch.randn_like(expected)
    leaves = [*maps, *([] if weights is None else [weights])]

    def gradients(y, made):
        parameters = [p for _, one in made for p in one.parameters()]
        return torch.autograd.grad(y, [*leaves, *parameters], g, materialize_grads=True)

    together, apart = gradients(found, pairs), gradients(expected, alone)
    torch.testing.assert_close(together, apart, rtol=1e-10, atol=1e-10)
    for (_, one), (_, other) in zip(pairs, alone, strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict())


def test_edges_into_a_node_launch_as_many_layers_as_one_edge():
    for name, convolutions, norms in (
        ("sep_conv_3x3", 4, 2),
        ("dil_conv_5x5", 2, 1),
        ("nor_conv_3x3", 1, 1),
    ):
        for edges in (1, 3):
            maps = [State(torch.randn(2, CHANNELS, 5, 5), gathers=True) for _ in range(edges)]
            made = [ops.build(name, CHANNELS, 1, affine=False) for _ in range(edges)]
            total = Sum(
                tuple(one.term(x) for one, x in zip(made, maps, strict=True)), torch.ones(edges)
            )
            with Counted() as counted:
                total.map()
            assert counted.numbers["convolution"] == convolutions
            assert counted.numbers["native_batch_norm"] == norms


def test_a_state_gathers_only_if_it_is_asked_to():
    assert not State(torch.randn(2, CHANNELS, 5, 5)).gathers


def test_a_map_that_waits_is_computed_when_it_is_read():
    x, layer = torch.randn(2, CHANNELS, 5, 5), nn.Conv2d(CHANNELS, 2, 3, bias=False)
    waiting = State(x, gathers=True).after(layer)
    assert isinstance(waiting.given, Later) and waiting.given.abreast is None
    torch.testing.assert_close(waiting.map, layer(x))
    torch.testing.assert_close(waiting.rectified.map, layer(x).relu())


def test_layers_of_other_kinds_run_by_themselves():
    x = torch.randn(2, CHANNELS, 6, 6)
    layers = [
        nn.Conv2d(CHANNELS, 2, 3, bias=False),
        nn.Conv2d(CHANNELS, 2, 3, bias=True),
        nn.Conv2d(CHANNELS, 2, 3, stride=2, bias=False),
        nn.Conv2d(CHANNELS, 2, 3, padding=1, bias=False),
        nn.BatchNorm2d(CHANNELS),
        nn.BatchNorm2d(CHANNELS, momentum=None),
        nn.BatchNorm2d(CHANNELS, momentum=None),
        nn.BatchNorm2d(CHANNELS, eps=0.1),
        nn.BatchNorm2d(CHANNELS).eval(),
        nn.Sigmoid(),
    ]
    waiting = [Later(x, copy.deepcopy(layer)) for layer in layers]
    settle(waiting)
    for later, layer in zip(waiting, layers, strict=True):
        torch.testing.assert_close(later.map, layer(x))
        assert later.abreast.count == 1


def test_a_forward_pass_that_waits_bears_that_another_one_moves_the_statistics():
    norms = [nn.BatchNorm2d(CHANNELS) for _ in range(2)]
    one, both = torch.randn(2, CHANNELS, 5, 5).requires_grad_(), torch.randn(2, 2 * CHANNELS, 5, 5)
    first = normalise(norms[:1], one)
    normalise(norms, both)
    torch.autograd.grad(first.square().sum(), one)


def test_the_gradient_of_joined_tensors_is_theirs():
    a, b = torch.randn(2, 3).requires_grad_(), torch.randn(2, 1).requires_grad_()
    g = torch.randn(2, 4)
    found = torch.autograd.grad(joined([a, b], dim=1), (a, b), g)
    torch.testing.assert_close(found, (g[:, :3], g[:, 3:]))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")
def test_synchronised_norms_side_by_side_are_those_of_the_whole_batch(tmp_path):
    x = torch.randn(5, 3 * CHANNELS, 4, 4, dtype=torch.float64).requires_grad_()
    g = torch.randn_like(x)
    weights = torch.rand(3, dtype=torch.float64)
    norms = nn.ModuleList(nn.BatchNorm2d(CHANNELS) for _ in range(3)).double()

    def work(world):
        made = copy.deepcopy(norms)
        world.enter(made)
        part = world.slice(len(x))
        with world.dividing(part):
            y = normalise(list(made), x[part.range], weights)
            (back,) = torch.autograd.grad(y, x, g[part.range])
        return y.detach(), back[part.range], made.state_dict()

    (one, first, state), (other, second, _) = together(tmp_path, work)
    y = normalise(list(norms), x, weights)
    (back,) = torch.autograd.grad(y, x, g)
    torch.testing.assert_close(torch.cat([one, other]), y.detach())
    torch.testing.assert_close(torch.cat([first, second]), back)
    torch.testing.assert_close(state, norms.state_dict())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")
def test_synchronised_statistics_keep_their_digits_under_autocast(tmp_path):
    x = torch.randn(6, CHANNELS, 4, 4)

    def work(world):
        norm = nn.BatchNorm2d(CHANNELS, momentum=1.0)
        world.enter(norm)
        part = world.slice(len(x))
        with world.dividing(part), torch.autocast("cpu", dtype=torch.bfloat16):
            normalise([norm], x[part.range])
        return norm.running_mean

    for found in together(tmp_path, work):
        torch.testing.assert_close(found, x.mean((0, 2, 3)))
