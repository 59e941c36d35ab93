"""Spectral norm: the largest singular value becomes one, and the switch keeps the state's names."""

import pytest
import torch
from torch import nn

from nasrun.ops.spectral import normalise


@pytest.mark.parametrize("layer", [nn.Linear(6, 4), nn.Conv2d(3, 5, 3)], ids=["linear", "conv"])
def test_the_largest_singular_value_becomes_one(layer):
    torch.manual_seed(0)
    normalise(layer)
    layer.train()
    for _ in range(50):
        layer.weight  # noqa: B018  every look is a power iteration
    largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
    assert float(largest) == pytest.approx(1, abs=1e-3)


def test_switched_off_it_passes_the_weight_on_with_the_same_names():
    torch.manual_seed(0)
    plain, normed, weight = nn.Linear(3, 3), nn.Linear(3, 3), torch.randn(3, 3)
    for layer, enabled in ((plain, False), (normed, True)):
        layer.weight.data = weight.clone()
        normalise(layer, enabled)
    assert torch.equal(plain.weight, weight)
    assert not torch.equal(normed.weight, weight)
    assert plain.state_dict().keys() == normed.state_dict().keys()


def test_a_pass_without_gradients_leaves_the_buffers_alone():
    layer = nn.Linear(8, 8)
    normalise(layer)
    before = {name: t.clone() for name, t in layer.state_dict().items()}
    with torch.no_grad():
        layer(torch.zeros(1, 8))
    assert all(torch.equal(t, before[name]) for name, t in layer.state_dict().items())


def test_by_shapes_alone_it_has_the_same_state():
    there, here = nn.Linear(8, 4, device="meta"), nn.Linear(8, 4)
    shapes = [
        {name: (t.shape, t.dtype) for name, t in normalise(layer).state_dict().items()}
        for layer in (there, here)
    ]
    assert shapes[0] == shapes[1]
    assert all(tensor.is_meta for tensor in there.state_dict().values())
