"""Gradients of several processes are averaged one by one, in whatever order they come."""

import os

import pytest
import torch
from together import together
from torch import nn

from nasrun.ops.operation import MANY, Sum
from nasrun.ops.state import State
from nasrun.ops.term import Term

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")


def test_gradients_that_arrive_in_another_order_are_averaged_with_their_own(tmp_path):
    def work(world):
        torch.manual_seed(0)
        network = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        finish = world.reduction(network)
        first, second = network if world.rank == 0 else reversed(network)
        x = torch.ones(2, 4) * (1 + world.rank)
        second(first(x).tanh()).square().sum().backward()
        own = [parameter.grad.clone() for parameter in network.parameters()]
        finish()
        return own, [parameter.grad for parameter in network.parameters()]

    (ours, mean), (theirs, other) = together(tmp_path, work)
    for a, b, found, same in zip(ours, theirs, mean, other, strict=True):
        torch.testing.assert_close(found, (a + b) / 2)
        assert torch.equal(found, same)


def test_all_processes_fold_norms_or_none_whatever_the_size_of_their_slices(tmp_path):
    """Slices of 15 and 16 images lie below and at the size from which folding pays."""
    side, channels, images = 32, 16, 31
    assert 15 * channels * side**2 < MANY <= 16 * channels * side**2

    def work(world):
        torch.manual_seed(0)
        linear, norm = nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
        x = torch.randn(images, channels, side, side).contiguous(memory_format=torch.channels_last)
        whole = norm(linear(x)).detach()
        norm.reset_running_stats()
        network = nn.Sequential(linear, norm)
        world.enter(network)
        part = world.slice(images)
        with world.dividing(part):
            found = Sum((Term(State(x[part.range]), linear, norm),)).map()
        return float((found - whole[part.range]).abs().max())

    assert max(together(tmp_path, work)) < 1e-4
