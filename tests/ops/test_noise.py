"""Noise: standard normal numbers, new ones every time unless they have to repeat."""

import pytest
import torch

from nasrun import ops
from nasrun.spaces.supernet import batch_statistics


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("training", [True, False])
def test_it_is_standard_normal_anew_at_every_forward_in_evaluation_too(training):
    noise, x = (
        ops.build("noise", 4, 1, affine=False).train(training),
        torch.full((64, 4, 8, 8), 9.0),
    )
    first, second = noise(x), noise(x)
    assert not torch.equal(first, second)
    assert first.mean().item() == pytest.approx(0.0, abs=5 / 128)
    assert first.std().item() == pytest.approx(1.0, abs=0.05)


def test_nothing_of_the_input_and_no_gradient_reaches_the_output():
    noise, x = ops.build("noise", 2, 2, affine=True), torch.randn(1, 2, 6, 6, requires_grad=True)
    torch.manual_seed(1)
    one = noise(x)
    torch.manual_seed(1)
    assert torch.equal(noise(100 * x), one)
    assert one.shape == (1, 2, 3, 3)
    assert not one.requires_grad
    assert list(noise.parameters()) == []


def test_within_an_evaluation_it_has_a_shape_where_there_are_no_numbers():
    net = ops.build("noise", 2, 2, False)
    with batch_statistics(net):
        assert net(torch.zeros(1, 2, 4, 4, device="meta")).shape == (1, 2, 2, 2)


def test_within_an_evaluation_every_operation_draws_its_own_numbers_each_time_the_same():
    net = torch.nn.ModuleList([ops.build("noise", 2, 1, False) for _ in range(2)])
    x = torch.zeros(1, 2, 3, 3)
    generator = torch.get_rng_state()
    with batch_statistics(net):
        first = [net[0](x), net[1](x), net[0](x)]
    with batch_statistics(net):
        second = [net[1](x), net[0](x)]
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.equal(first[0], second[1])
    assert torch.equal(first[1], second[0])
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(net[0](x), net[0](x))
