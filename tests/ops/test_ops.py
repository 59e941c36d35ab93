"""Rules for every operation, and the registry of their names."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun import ops

PUBLISHED = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "nor_conv_1x1",
    "nor_conv_3x3",
    "noise",
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def weight_count(name, channels, stride):
    """Convolution weights from kernel sizes (DARTS and NAS-Bench-201)."""
    kernel = int(name[-1]) if name[-1].isdigit() else 1
    block = kernel**2 * channels + channels**2
    kind = name.partition("_")[0]
    counts = {"sep": 2 * block, "dil": block, "nor": kernel**2 * channels**2}
    return {**counts, "skip": (stride - 1) * channels**2}.get(kind, 0)


def test_exactly_the_published_operations_are_known_and_none_is_no_module():
    ours = [name for name in ops.known() if ops.modules([name])[0].startswith("nasrun.")]
    assert set(ours) == set(PUBLISHED)  # tests of the documents register their own


def test_an_operation_of_ones_own_is_built_by_its_name(monkeypatch):
    monkeypatch.setattr(ops, "_registry", dict(ops._registry))

    @ops.op("double")
    class Double(torch.nn.Module):
        def __init__(self, channels, stride, affine):
            super().__init__()
            self.given = (channels, stride, affine)

    assert ops.build("double", 6, 2, True).module.given == (6, 2, True)
    assert "double" in ops.known()


def test_the_module_that_registers_an_operation_is_known_whatever_the_factory_is(monkeypatch):
    monkeypatch.setattr(ops, "_registry", dict(ops._registry))
    ops.op("partly")(partial(torch.nn.Conv2d, 3))
    assert ops.modules(["skip_connect", "partly", "not here", "skip_connect"]) == (
        "nasrun.ops.conv",
        __name__,
    )


def test_a_name_is_registered_only_once(monkeypatch):
    monkeypatch.setattr(ops, "_registry", dict(ops._registry))
    with pytest.raises(AssertionError, match="sep_conv_3x3"):
        ops.op("sep_conv_3x3")(torch.nn.Identity)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.sampled_from(PUBLISHED),
    st.sampled_from([1, 2]),
    st.integers(2, 17),
    st.integers(2, 17),
    st.sampled_from([2, 4, 6]),
)
def test_padding_keeps_the_size_and_a_stride_halves_it_rounding_up(
    name, stride, height, width, channels
):
    operation = ops.build(name, channels, stride, affine=True).eval()
    y = operation(torch.randn(2, channels, height, width))
    assert y.shape == (2, channels, (height + stride - 1) // stride, (width + stride - 1) // stride)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_input_is_the_same_after_the_operation(name, stride, training):
    operation = ops.build(name, 4, stride, affine=False).train(training)
    x = torch.randn(3, 4, 7, 7)
    before = x.clone()
    operation(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("stride", [1, 2])
def test_affine_adds_a_scale_and_a_shift_a_channel_and_nothing_else(name, stride):
    channels = 10
    bare, learned = (ops.build(name, channels, stride, affine) for affine in (False, True))
    norms = [m for m in learned.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    expected = weight_count(name, channels, stride)
    assert sum(p.numel() for p in bare.parameters()) == expected
    assert sum(p.numel() for p in learned.parameters()) == expected + 2 * channels * len(norms)
    assert len(norms) == {"sep": 2, "dil": 1, "nor": 1, "skip": stride - 1}.get(
        name.partition("_")[0], 0
    )


@pytest.mark.parametrize("name", [name for name in PUBLISHED if "conv" in name])
@pytest.mark.parametrize("stride", [1, 2])
def test_no_convolution_has_a_bias(name, stride):
    convolutions = [
        m for m in ops.build(name, 4, stride, True).modules() if isinstance(m, torch.nn.Conv2d)
    ]
    assert convolutions
    assert all(convolution.bias is None for convolution in convolutions)
