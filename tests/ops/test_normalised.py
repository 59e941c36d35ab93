"""The folded sum against convolution and batch norm, one after the other."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nasrun.ops.normalised import normalised
from nasrun.ops.state import State
from nasrun.ops.statistics import column_sums, crossed_sums
from nasrun.ops.term import Term


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def norm(channels, affine):
    made = nn.BatchNorm2d(channels, affine=affine).double()
    if affine:
        nn.init.uniform_(made.weight, 0.5, 1.5)
        nn.init.uniform_(made.bias, -1, 1)
    return made


def terms(affine=False, count=3, channels=4, pixels=(5, 4)):
    """Terms on maps with a mean of their own, the last without a linear layer."""
    made = []
    for position in range(count):
        z = torch.randn(3, channels, *pixels, dtype=torch.float64) + position
        linear = nn.Conv2d(channels, channels, 1, bias=False).double()
        last = position == count - 1
        made.append(Term(State(z), None if last else linear, norm(channels, affine)))
    return made


def plainly(term):
    """By a norm that keeps no statistics, so that the term's own stay as they are."""
    z = term.state.map if term.linear is None else term.linear(term.state.map)
    return F.batch_norm(z, None, None, term.norm.weight, term.norm.bias, training=True)


@pytest.mark.parametrize("affine", [False, True])
def test_a_weighted_sum_is_that_of_the_normalised_convolutions(affine):
    given, weights = terms(affine), torch.rand(3, dtype=torch.float64)
    expected = sum(w * plainly(term) for w, term in zip(weights, given, strict=True))
    (found,) = normalised(given, weights, add=True)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("affine", [False, True])
def test_without_adding_each_is_made_by_itself(affine):
    given = terms(affine)
    expected = [plainly(term) for term in given]
    torch.testing.assert_close(normalised(given, add=False), expected)


def test_running_statistics_move_as_those_of_batch_norm():
    given = terms()
    given[1].norm.momentum = 0.1
    expected = [copy.deepcopy(term.norm) for term in given]
    for batch_norm, term in zip(expected, given, strict=True):
        batch_norm(term.state.map if term.linear is None else term.linear(term.state.map))
    normalised(given, add=True)
    for batch_norm, term in zip(expected, given, strict=True):
        torch.testing.assert_close(term.norm.state_dict(), batch_norm.state_dict())


def test_a_forward_pass_that_waits_bears_that_another_moves_the_statistics():
    (term,) = terms(affine=True, count=1)
    z = term.state.map.requires_grad_()
    waiting = term.map()  # batch norm itself, as where few pixels do not fold
    normalised([Term(State(torch.randn_like(z)), None, term.norm)], add=True)
    g = torch.randn_like(z)
    (found,) = torch.autograd.grad(waiting, z, g)
    (expected,) = torch.autograd.grad(plainly(term), z, g)
    torch.testing.assert_close(found, expected)


def test_a_plain_average_over_all_batches_is_kept_without_a_momentum():
    given = terms(count=1)
    given[0].norm.momentum = None
    for _ in range(3):
        normalised(given, add=True)
    z = given[0].state.map
    torch.testing.assert_close(given[0].norm.running_mean, z.mean((0, 2, 3)))
    torch.testing.assert_close(given[0].norm.running_var, z.var((0, 2, 3)))


def test_statistics_that_are_not_tracked_stay_as_they_are():
    given = terms(count=1)
    given[0].norm.track_running_stats = False
    before = copy.deepcopy(given[0].norm.state_dict())
    normalised(given, add=True)
    torch.testing.assert_close(given[0].norm.state_dict(), before)


@pytest.mark.parametrize("add", [True, False])
@pytest.mark.parametrize("affine", [False, True])
def test_its_gradients_are_those_of_finite_differences(affine, add):
    first, second = terms(affine, count=2, channels=2, pixels=(2, 2))
    weights = torch.rand(2, dtype=torch.float64, requires_grad=True)
    maps = [term.state.map.requires_grad_() for term in (first, second)]
    moved = [*maps, weights, first.linear.weight, *first.norm.parameters()]

    def function(*_):  # gradcheck moves the very tensors that it is given
        states = [State(each) for each in maps]
        made = [replace(t, state=s) for t, s in zip((first, second), states, strict=True)]
        return tuple(normalised(made, weights, add=add))

    assert torch.autograd.gradcheck(function, moved)


def test_sums_over_pixels_are_those_of_matrices():
    a, b = (torch.randn(24, 3, dtype=torch.float64) for _ in range(2))
    torch.testing.assert_close(column_sums(a), a.sum(0))
    for rows in (24, 23):
        torch.testing.assert_close(crossed_sums(a[:rows], b[:rows]), a[:rows].T @ b[:rows])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_a_map_as_it_is_joins_a_sum(affine, weighted):
    given = terms(affine)
    bare = Term(State(torch.randn(3, 4, 5, 4, dtype=torch.float64)))
    weights = torch.rand(4, dtype=torch.float64, requires_grad=True) if weighted else None
    parameters = [] if weights is None else [weights]
    for term in [*given, bare]:
        parameters.append(term.state.map.requires_grad_())
        parameters += [] if term.linear is None else [term.linear.weight]
        parameters += [] if term.norm is None else term.norm.parameters()
    each = [*(plainly(term) for term in given), bare.state.map]
    expected = sum(y if weights is None else weights[k] * y for k, y in enumerate(each))
    (found,) = normalised([*given, bare], weights, add=True)
    torch.testing.assert_close(found, expected)
    g = torch.randn_like(found)
    wanted = torch.autograd.grad(expected, parameters, g)
    torch.testing.assert_close(torch.autograd.grad(found, parameters, g), wanted)


def test_after_a_map_as_it_is_nothing_else_may_come():
    with pytest.raises(AssertionError):
        normalised([terms()[0], Term(State(torch.randn(3, 4, 5, 4))), terms()[1]], add=True)


def test_a_map_gets_its_gradient_where_the_others_need_none():
    given = terms()
    z = given[0].state.map.requires_grad_()
    (found,) = normalised(given, add=True)
    expected = sum(plainly(term) for term in given)
    g = torch.randn_like(found)
    made = torch.autograd.grad(found, z, g)[0], torch.autograd.grad(expected, z, g)[0]
    torch.testing.assert_close(*made)
