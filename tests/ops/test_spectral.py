"""Spectral norm: the largest singular value becomes one, and the switch keeps the state's names."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from nasrun.ops.spectral import SpectralNorm, normalise


@pytest.mark.parametrize("layer", [nn.Linear(6, 4), nn.Conv2d(3, 5, 3)], ids=["linear", "conv"])
def test_the_largest_singular_value_becomes_one(layer):
    torch.manual_seed(0)
    normalise(layer)
    layer.train()
    for _ in range(50):
        layer.weight  # noqa: B018  every look is a power iteration
    largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
    assert float(largest) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("shape", [(6, 4), (5, 3, 3, 3)], ids=["linear", "conv"])
@pytest.mark.parametrize("training", [True, False])
def test_value_and_gradient_are_those_of_torch(shape, training):
    torch.manual_seed(0)
    weight, direction = torch.randn(shape, dtype=torch.float64), torch.randn(shape).double()
    layer = nn.Linear(4, 6) if len(shape) == 2 else nn.Conv2d(3, 5, 3)
    (theirs,) = spectral_norm(layer.double()).parametrizations.weight
    ours = SpectralNorm(weight)
    for name in ("_u", "_v"):
        getattr(theirs, name).copy_(getattr(ours, name))
    for _ in range(3):
        found = []
        for norm in (ours.train(training), theirs.train(training)):
            leaf = weight.clone().requires_grad_()
            normalised = norm(leaf)
            (normalised * direction).sum().backward()
            found.append((normalised.detach(), leaf.grad, norm._u, norm._v))
        for here, there in zip(*found, strict=True):
            torch.testing.assert_close(here, there)
        weight = weight + 0.1 * torch.randn(shape)


def test_a_backward_pass_after_another_forward_pass_is_that_of_its_own_vectors():
    torch.manual_seed(0)
    norm, weight = SpectralNorm(torch.randn(4, 4)).train(), torch.randn(4, 4, requires_grad=True)
    copy = deepcopy(norm)
    first = norm(weight)
    norm(weight)
    (late,) = torch.autograd.grad(first.square().sum() + first.sum(), weight)
    alone = copy(weight)
    (once,) = torch.autograd.grad(alone.square().sum() + alone.sum(), weight)
    assert torch.equal(late, once)


def test_a_weight_in_channels_last_has_the_same_gradient():
    torch.manual_seed(0)
    weight, direction = torch.randn(5, 3, 3, 3), torch.randn(5, 3, 3, 3)
    norm, gradients = SpectralNorm(weight).eval(), []
    for form in (torch.contiguous_format, torch.channels_last):
        leaf = weight.to(memory_format=form).clone().requires_grad_()
        (norm(leaf) * direction.to(memory_format=form)).sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


def test_a_weight_of_zeros_stays_finite_in_its_vectors():
    norm = SpectralNorm(torch.zeros(3, 3)).train()
    norm(torch.zeros(3, 3, requires_grad=True))
    assert norm._u.isfinite().all() and norm._v.isfinite().all()


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
