"""Poolings against the mean and the maximum of the pixels that exist."""

import pytest
import torch
import torch.nn.functional as F
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


LIBRARY = {
    "max_pool_3x3": lambda x, stride: F.max_pool2d(x, 3, stride, 1),
    "avg_pool_3x3": lambda x, stride: F.avg_pool2d(x, 3, stride, 1, count_include_pad=False),
}


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 2, 200, 200), (2, 3, 1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", sorted(LIBRARY))
def test_the_gradient_is_the_librarys_to_the_bit_and_lies_alike(name, stride, shape, memory):
    """Beyond what int16 counts, and where a single pixel lies in every layout at once, too."""
    x = torch.randint(4, shape).float().contiguous(memory_format=memory).requires_grad_()
    y = ops.build(name, shape[1], stride, affine=False)(x)
    expected = LIBRARY[name](x, stride)
    assert torch.equal(y, expected)
    dy = torch.randn_like(y)
    gradients = [torch.autograd.grad(each, x, dy)[0] for each in (y, expected)]
    assert torch.equal(*gradients)
    assert gradients[0].stride() == gradients[1].stride()


@pytest.mark.parametrize(("name", "most"), [("max_pool_3x3", 2), ("avg_pool_3x3", 0)])
def test_for_a_gradient_it_keeps_no_map_but_small_places(name, most):
    kept = []
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda saved: saved):
        ops.build(name, 3, 1, affine=False)(x)
    assert sum(tensor.untyped_storage().nbytes() for tensor in kept) == most * x.numel()


@pytest.mark.parametrize("name", ["max_pool_3x3", "avg_pool_3x3"])
def test_a_pooling_has_no_batch_norm_of_its_own(name):
    modules = list(ops.build(name, 4, 2, affine=True).modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in modules)
