"""Convolutional operations against DARTS's definitions (1806.09055, appendix A)."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nasrun import ops
from nasrun.ops.conv import FactorizedReduce, ReLUConvBN

UNIT = (1 + 1e-5) ** -0.5  # what a fresh batch norm multiplies with in evaluation


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def layers(module):
    """The layers in the order in which they run, however they are nested."""
    return [layer for layer in module.modules() if not list(layer.children())]


def names(module):
    return [type(layer).__name__ for layer in layers(module)]


def geometry(convolution):
    c = convolution
    return c.kernel_size, c.stride, c.padding, c.dilation, c.groups


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_a_separable_convolution_is_two_blocks_and_the_first_has_the_stride(kernel, stride):
    module = ops.build(f"sep_conv_{kernel}x{kernel}", 8, stride, affine=True)
    assert names(module) == ["DepthwiseConv", "Conv2d", "BatchNorm2d"] * 2
    found = layers(module)
    k, one, pad = (kernel, kernel), (1, 1), (kernel // 2, kernel // 2)
    assert geometry(found[0]) == (k, (stride, stride), pad, one, 8)
    assert geometry(found[3]) == (k, one, pad, one, 8)
    for pointwise in (found[1], found[4]):
        assert geometry(pointwise) == (one, one, (0, 0), one, 1)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "padding"), [(3, 2), (5, 4)])
def test_a_dilated_convolution_is_one_block_with_dilation_two(kernel, padding, stride):
    module = ops.build(f"dil_conv_{kernel}x{kernel}", 8, stride, affine=True)
    assert names(module) == ["DepthwiseConv", "Conv2d", "BatchNorm2d"]
    expected = ((kernel, kernel), (stride, stride), (padding, padding), (2, 2), 8)
    assert geometry(layers(module)[0]) == expected
    assert geometry(layers(module)[1]) == ((1, 1), (1, 1), (0, 0), (1, 1), 1)


@pytest.mark.parametrize(
    ("name", "offsets"),
    [
        ("sep_conv_3x3", range(-2, 3)),  # two 3 x 3 in a row see 5 x 5
        ("sep_conv_5x5", range(-4, 5)),
        ("dil_conv_3x3", (-2, 0, 2)),
        ("dil_conv_5x5", (-4, -2, 0, 2, 4)),
    ],
)
def test_an_output_pixel_sees_exactly_the_pixels_of_the_kernel(name, offsets):
    module = ops.build(name, 2, 1, affine=True).eval()
    for parameter in module.parameters():
        nn.init.constant_(parameter, 1.0)
    x = torch.ones(1, 2, 13, 13, requires_grad=True)
    module(x)[0, 0, 6, 6].backward()
    seen = torch.zeros(13, 13, dtype=torch.bool)
    for row in offsets:
        for column in offsets:
            seen[6 + row, 6 + column] = True
    assert torch.equal(x.grad[0, 1] != 0, seen)


def test_the_skip_is_the_identity_and_at_stride_two_a_factorised_reduction():
    x = torch.randn(2, 4, 6, 6)
    assert ops.build("skip_connect", 4, 1, False)(x) is x
    reduction = ops.build("skip_connect", 4, 2, False)
    assert isinstance(reduction, FactorizedReduce)
    assert reduction(x).shape == (2, 4, 3, 3)


def test_relu_conv_bn_is_relu_then_a_one_by_one_convolution_then_batch_norm():
    module = ReLUConvBN(5, 3, affine=False)
    assert names(module) == ["Convolution", "BatchNorm2d"]
    x = torch.randn(8, 5, 4, 4)
    y = torch.einsum("oc,bchw->bohw", module.conv.weight[:, :, 0, 0], x.clamp(min=0))
    mean, variance = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(module(x), (y - mean) / (variance + 1e-5).sqrt())


@pytest.mark.parametrize("height", [1, 2, 5, 6])
@pytest.mark.parametrize("width", [2, 5])
def test_a_factorised_reduction_reads_even_pixels_in_one_half_and_odd_in_the_other(height, width):
    module = FactorizedReduce(3, 4, affine=True).eval()
    x = torch.randn(2, 3, height, width)
    y = module(x)
    assert y.shape == (2, 4, (height + 1) // 2, (width + 1) // 2)
    positive = x.clamp(min=0)
    for row in range(y.shape[2]):
        for column in range(y.shape[3]):
            even = positive[:, :, 2 * row, 2 * column] @ module.even.weight[:, :, 0, 0].T
            odd = torch.zeros_like(even)  # beyond the edge of an odd map
            if 2 * row + 1 < height and 2 * column + 1 < width:
                odd = positive[:, :, 2 * row + 1, 2 * column + 1] @ module.odd.weight[:, :, 0, 0].T
            expected = UNIT * torch.cat([even, odd], dim=1)
            torch.testing.assert_close(y[:, :, row, column], expected)


@pytest.mark.parametrize("channels", [1, 5])
def test_of_an_odd_number_of_channels_the_first_half_of_a_reduction_has_one_more(channels):
    module = FactorizedReduce(3, channels, affine=True).eval()
    x = torch.randn(2, 3, 4, 4)
    y = module(x)
    assert y.shape == (2, channels, 2, 2)
    even = F.conv2d(x.clamp(min=0), module.even.weight, stride=2)
    assert even.shape[1] == (channels + 1) // 2
    torch.testing.assert_close(y[:, : even.shape[1]], UNIT * even)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("name", "dilation"), [("sep_conv_5x5", 1), ("dil_conv_3x3", 2)])
def test_the_output_is_that_of_the_equivalent_dense_convolutions(name, dilation, stride):
    module = ops.build(name, 4, stride, affine=True).eval()
    x = y = torch.randn(2, 4, 9, 9)
    weights = [m.weight for m in layers(module) if isinstance(m, nn.Conv2d)]
    for block, (depthwise, pointwise) in enumerate(zip(weights[::2], weights[1::2], strict=True)):
        dense = pointwise * depthwise[:, 0]  # (out, in, k, k): pointwise after depthwise
        reach = dilation * (depthwise.shape[-1] // 2)
        step = stride if block == 0 else 1
        y = UNIT * F.conv2d(y.relu(), dense, None, step, reach, dilation)
    torch.testing.assert_close(module(x), y, rtol=1e-5, atol=1e-5)
