"""Depthwise convolutions: torch's numbers, by operations that are fast on a CPU."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from nasrun.ops.depthwise import DepthwiseConv

SIZES = [(1, 1), (2, 3), (4, 4), (7, 4), (9, 8)]
FORWARD = torch.ops.aten.convolution.default
BACKWARD = torch.ops.aten.convolution_backward.default


class Convolutions(TorchDispatchMode):
    """Collects (side of the map, side of the filter, padding, dilation) of every convolution.

    `filters` has those whose gradient of the filter is asked for, `maps` all others.
    """

    def __init__(self):
        super().__init__()
        self.maps, self.filters = [], []

    def __torch_dispatch__(self, function, types, arguments=(), words=None):
        if function is FORWARD:
            x, weight, _, _, padding, dilation = arguments[:6]
            self.maps.append((x.shape[-1], weight.shape[-1], padding[1], dilation[1]))
        if function is BACKWARD and arguments[-1][1]:
            _, x, weight, _, _, padding, dilation = arguments[:7]
            self.filters.append((x.shape[-1], weight.shape[-1], padding[1], dilation[1]))
        return function(*arguments, **(words or {}))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_depthwise_convolution_and_its_gradients_are_torchs(kernel, stride, dilation, size):
    module = DepthwiseConv(3, kernel, stride, dilation).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    y = module(x)
    plain = F.conv2d(
        x, module.weight, None, stride, dilation * (kernel // 2), dilation, module.groups
    )
    torch.testing.assert_close(y, plain)
    weights, inputs = torch.randn_like(y), (x, module.weight)
    gradients = torch.autograd.grad((y * weights).sum(), inputs)
    torch.testing.assert_close(gradients, torch.autograd.grad((plain * weights).sum(), inputs))
    with torch.no_grad():
        torch.testing.assert_close(module(x), plain)


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_dilated_convolution_can_be_differentiated_twice(kernel):
    module = DepthwiseConv(2, kernel, 1, 2).double()
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(module, x)


def test_a_dilated_convolution_takes_mixed_precision_and_frozen_parts():
    module, x = DepthwiseConv(2, 3, 1, 2), torch.randn(1, 2, 6, 6, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(x)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert x.grad.dtype == module.weight.grad.dtype == torch.float32
    x.grad = None
    module.weight.requires_grad_(False)
    module(x).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(("kernel", "dilation"), [(4, 1), (3, 3)])
def test_a_filter_that_the_gradients_do_not_know_is_refused(kernel, dilation):
    with pytest.raises(ValueError, match="use an odd kernel and a dilation of 1 or 2"):
        DepthwiseConv(2, kernel, 1, dilation)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("dilation", [1, 2])
def test_no_map_is_smaller_than_the_filter_whose_gradient_it_gives(kernel, stride, dilation, side):
    module = DepthwiseConv(8, kernel, stride, dilation)
    x = torch.randn(2, 8, side, side).contiguous(memory_format=torch.channels_last)
    with Convolutions() as used:
        module(x.requires_grad_()).sum().backward()
        with torch.no_grad():
            module(x)
    assert used.filters
    for width, columns, _, spread in used.filters:
        assert spread == 1
        assert width >= columns
    for width, _, padding, spread in used.maps:
        assert padding <= spread * ((width - 1) // spread)  # every weight meets a pixel
