"""Poolings against the mean and the maximum of the pixels that exist."""

import pytest
import torch
from torch import nn

from nasrun import ops


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def windows(x, stride):
    """The existing pixels of every 3 x 3 window, by output position."""
    height, width = x.shape[2:]
    for row in range(0, height, stride):
        for column in range(0, width, stride):
            window = x[:, :, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            yield row // stride, column // stride, window.flatten(2)


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_average_pooling_does_not_count_padding(stride, size):
    x = torch.randn(2, 3, size, size)
    y = ops.build("avg_pool_3x3", 3, stride, affine=False)(x)
    for row, column, pixels in windows(x, stride):
        torch.testing.assert_close(y[:, :, row, column], pixels.mean(2))


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_max_pooling_never_answers_with_padding(stride, size):
    x = -1 - torch.rand(2, 3, size, size)  # a padded zero would win
    y = ops.build("max_pool_3x3", 3, stride, affine=False)(x)
    for row, column, pixels in windows(x, stride):
        assert torch.equal(y[:, :, row, column], pixels.amax(2))


@pytest.mark.parametrize("name", ["max_pool_3x3", "avg_pool_3x3"])
def test_a_pooling_has_no_batch_norm_of_its_own(name):
    modules = list(ops.build(name, 4, 2, affine=True).modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in modules)
