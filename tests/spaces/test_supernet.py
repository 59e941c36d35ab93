"""A space with a supernet: one genotype in it as a mixture, and measuring by batch statistics."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from toys import OPERATIONS

from nasrun.genotype import NONE, Genotype
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.supernet import batch_statistics


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_measuring_inside_of_measuring_leaves_the_running_statistics_alone():
    network = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2, track_running_stats=False))
    images = torch.randn(4, 2, 3, 3)
    with batch_statistics(network):
        with batch_statistics(network):
            network(images)
        network(images)
    assert network[0].num_batches_tracked == 0
    assert network[0].track_running_stats and not network[1].track_running_stats


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.data())
def test_the_one_hot_mixture_has_one_in_the_column_of_each_choice_and_runs_only_it(data):
    narrow = {"normal/2-0": ("sep_conv_3x3", "none"), "reduce/5-4": ("skip_connect",)}
    found = DartsSpace(
        operations=OPERATIONS, nodes=4, kept_edges=2, channels=4, layers=3, choices=narrow
    )
    chosen = {d.name: data.draw(st.sampled_from(d.choices)) for d in found.decisions}
    mixture = found.one_hot(Genotype("darts", chosen))
    assert mixture.weights.shape == (28, 8)
    for decision, row, active in zip(
        found.decisions, mixture.weights.tolist(), mixture.active, strict=True
    ):
        expected = [float(choice == chosen[decision.name] != NONE) for choice in decision.choices]
        assert row == expected + [0.0] * (8 - len(expected))
        assert active == tuple(column for column, weight in enumerate(expected) if weight)


def norms():
    network = nn.Sequential(
        nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, affine=False), nn.Dropout(0.5), nn.BatchNorm2d(3)
    )
    with torch.no_grad():
        network(torch.randn(16, 2, 5, 5))  # running statistics that no batch has
    return network


def test_batch_statistics_normalise_by_the_batch_and_switch_dropout_off():
    network, x = norms(), torch.randn(8, 2, 5, 5)
    with batch_statistics(network), torch.no_grad():
        y = network[0](x)
        result = network(x)
    for _ in range(2):
        mean = y.mean((0, 2, 3), keepdim=True)
        y = (y - mean) / ((y - mean).square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(result, y)


@pytest.mark.parametrize("training", [True, False])
def test_batch_statistics_leave_buffers_and_modes_as_they_were(training):
    network = norms().train(training)
    network[2].train(not training)  # a mixture of modes
    modes = [module.training for module in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}

    def interrupted():
        with batch_statistics(network):
            network(torch.randn(8, 2, 5, 5))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [module.training for module in network.modules()] == modes
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    network.train()(torch.randn(8, 2, 5, 5))
    assert network[1].num_batches_tracked == before["1.num_batches_tracked"] + 1
