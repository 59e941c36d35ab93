"""The parts of operations that are shared, and those that are left to the sum."""

import pytest
import torch
from torch import nn

from nasrun import ops
from nasrun.ops import operation as terms
from nasrun.ops.normalised import normalised
from nasrun.ops.operation import Operation, Sum, Whole
from nasrun.ops.pool import Pooling
from nasrun.ops.state import LAST, State, lies
from nasrun.ops.term import Term


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def small_maps_fold(monkeypatch):
    monkeypatch.setattr(terms, "MANY", 0)


def last(x):
    """The map with its channels last in memory."""
    return x.contiguous(memory_format=LAST)


def test_modules_with_the_same_settings_run_once_on_a_state():
    state, ran = State(torch.randn(2, 3, 4, 4)), []
    pools = [nn.MaxPool2d(3, 1, 1), nn.MaxPool2d(3, 1, 1), nn.MaxPool2d(3, 2, 1)]
    pools += [nn.AvgPool2d(3, 1, 1, count_include_pad=counted) for counted in (False, True, True)]
    for pool in pools:  # the last three print alike
        pool.register_forward_hook(lambda *_, pool=pool: ran.append(pool))
        torch.testing.assert_close(state.through(pool).map, pool.forward(state.map))
    assert ran == [pools[0], pools[2], pools[3], pools[4]]


def test_moments_are_mean_and_covariance_over_all_pixels():
    state = State(torch.randn(2, 3, 4, 4, dtype=torch.float64) + 5)
    pixels = state.map.permute(0, 2, 3, 1).reshape(-1, 3)
    mean, covariance = state.moments
    torch.testing.assert_close(mean, pixels.mean(0))
    torch.testing.assert_close(covariance, torch.cov(pixels.T, correction=0))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["sep_conv_3x3", "dil_conv_5x5", "nor_conv_3x3", "max_pool_3x3"])
def test_a_sum_of_one_operation_is_the_operation(name, training):
    operation = ops.build(name, 4, 1, affine=True).double().train(training)
    x = last(torch.randn(3, 4, 6, 6, dtype=torch.float64))
    weights = torch.tensor([0.3], dtype=torch.float64)
    found = Sum((operation.term(State(x)),), weights).map()
    torch.testing.assert_close(found, 0.3 * operation(x))


def test_weighted_sums_are_joined_and_others_apart():
    x = State(torch.randn(1, 2, 3, 3))
    weighted = Sum((Term(x),), torch.tensor([2.0]))
    torch.testing.assert_close(Sum.of([weighted, weighted]).map(), 4 * x.map)
    torch.testing.assert_close(Sum.of([Sum((Term(x),)), Sum((Term(x),))]).map(), 2 * x.map)
    with pytest.raises(AssertionError, match="weighted"):
        Sum.of([weighted, Sum((Term(x),))])


def test_a_module_of_any_kind_is_an_operation():
    whole = Whole(nn.Conv2d(2, 2, 1))
    x = torch.randn(1, 2, 3, 3)
    assert isinstance(whole, Operation)
    torch.testing.assert_close(whole(x), whole.module(x))


def test_under_autocast_and_with_running_statistics_nothing_folds():
    operation = ops.build("dil_conv_3x3", 4, 1, affine=False)
    state = State(last(torch.randn(2, 4, 5, 5)))
    assert operation.term(state).folds
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not operation.term(state).folds
    operation.eval()
    assert not operation.term(state).folds


def test_terms_of_different_widths_are_added_and_waited_for_apart():
    class Bottleneck(Operation):
        """1x1 to `width` channels, norm, then 1x1 back to two."""

        def __init__(self, width):
            super().__init__()
            self.wide = nn.Conv2d(2, width, 1, bias=False).double()
            self.norm = nn.BatchNorm2d(width, affine=False).double()
            self.back = Whole(nn.Conv2d(width, 2, 1, bias=False).double())

        def term(self, state):
            return Term(state, self.wide, self.norm, then=self.back)

    x = last(torch.randn(2, 2, 4, 4, dtype=torch.float64))
    operations = [Bottleneck(width) for width in (2, 3, 1, 2)]
    expected = sum(one.back(one.norm(one.wide(x))) for one in operations)
    state = State(x)
    found = Sum(tuple(one.term(state) for one in operations)).map()
    torch.testing.assert_close(found, expected)


def test_a_spare_map_is_written_over_only_where_no_gradient_needs_it():
    for spare, gradients, same in (
        (True, False, True),
        (True, True, False),
        (False, False, False),
        (False, True, False),
    ):
        x = torch.randn(2, 3, 4, 4)
        state, expected = State(x, spare=spare), x.clamp(min=0)
        with torch.set_grad_enabled(gradients):
            y = state.rectified.map
        assert torch.equal(y, expected)
        assert (y is x) == same


def test_a_norm_alone_folds_only_where_several_may_read_its_map():
    state = State(last(torch.randn(2, 4, 5, 5)))
    pool = ops.build("avg_pool_3x3", 4, 1, affine=False)
    assert Pooling(pool.pool, nn.BatchNorm2d(4)).term(state).folds
    assert not ops.build("nor_conv_3x3", 4, 1, affine=False).term(state).folds
    assert ops.build("nor_conv_1x1", 4, 1, affine=False).term(state).folds


def test_a_few_small_maps_do_not_fold_and_give_the_same(monkeypatch):
    folded = []
    monkeypatch.setattr(
        terms, "normalised", lambda *given, **words: folded.append(1) or normalised(*given, **words)
    )
    operations = [ops.build("sep_conv_3x3", 4, 1, affine=False).double() for _ in range(3)]
    x = last(torch.randn(2, 4, 5, 5, dtype=torch.float64))
    maps = []
    for many in (3 * x.numel() + 1, 3 * x.numel()):
        monkeypatch.setattr(terms, "MANY", many)
        state = State(x)
        maps.append(Sum(tuple(operation.term(state) for operation in operations)).map())
        assert len(folded) == (0 if many > 3 * x.numel() else 2)  # both norms of the three
    torch.testing.assert_close(*maps)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", [name for name in ops.known() if name != "noise"])
def test_a_map_with_its_channels_first_keeps_them_there_and_does_not_fold(name, stride):
    operation = ops.build(name, 4, stride, affine=False)
    x = torch.randn(2, 4, 6, 6)
    maps = []
    for given in (x, last(x)):
        operation.to(memory_format=lies(given))
        term = operation.term(State(given))
        assert not (given is x and term.folds)
        maps.append(Sum((term,)).map())
        assert maps[-1].is_contiguous(memory_format=lies(given))
    torch.testing.assert_close(*maps)
