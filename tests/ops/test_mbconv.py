"""Inverted residual blocks: shapes, parameters, widths and gates against formulas."""

import pytest
import torch

from nasrun.ops.mbconv import MBConv, ProjectionShortcut, SqueezeExcitation


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("expansion", [1, 6])
def test_a_block_has_the_parameters_of_its_formula(kernel, expansion):
    block = MBConv(4, 6, 1, True, kernel=kernel, expansion=expansion)
    hidden = 4 * expansion
    expand = 4 * hidden + 2 * hidden if expansion > 1 else 0
    expected = expand + hidden * kernel**2 + 2 * hidden + hidden * 6 + 2 * 6
    assert sum(p.numel() for p in block.parameters()) == expected


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_a_stride_of_two_halves_the_map_upwards(kernel, side):
    block = MBConv(4, 6, 2, False, kernel=kernel, expansion=3)
    assert block(torch.rand(2, 4, side, side)).shape == (2, 6, 4, 4)
    assert ProjectionShortcut(4, 6, 2, False)(torch.rand(2, 4, side, side)).shape == (2, 6, 4, 4)


def test_a_narrow_block_computes_its_share_and_leaves_the_rest_zero():
    torch.manual_seed(0)
    block = MBConv(4, 8, 1, True, kernel=3, expansion=3, width=0.75)
    y = block(torch.rand(2, 4, 5, 5))
    assert y.shape == (2, 8, 5, 5)
    assert (y[:, 6:] == 0).all()
    assert (y[:, :6] != 0).any(dim=3).all()
    whole = MBConv(4, 8, 1, True, kernel=3, expansion=3)
    spared = sum(p.numel() for p in whole.parameters()) - sum(p.numel() for p in block.parameters())
    assert spared == 2 * 12 + 2 * 2  # two outputs of 12 hidden channels, and their batch norm


def test_a_gate_scales_whole_channels_and_sees_only_their_means():
    torch.manual_seed(0)
    gate = SqueezeExcitation(8)
    x = torch.rand(3, 8, 4, 4) + 0.5
    ratio = gate(x) / x
    assert torch.allclose(ratio, ratio[:, :, :1, :1].expand_as(ratio), atol=1e-6)
    assert ((ratio >= 0) & (ratio <= 1)).all()
    flipped = gate(x.flip(3)) / x.flip(3)
    assert torch.allclose(ratio[:, :, 0, 0], flipped[:, :, 0, 0], atol=1e-6)
