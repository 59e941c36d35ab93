"""Penalties: DrNAS's divergence against torch's, and where it does not belong."""

import pytest
import torch
from torch.distributions import Dirichlet as Distribution
from torch.distributions import kl_divergence

from nasrun.spaces.darts import DartsSpace
from nasrun.strategies.penalties import DirichletKL
from nasrun.supernet.relaxation import Dirichlet, Softmax
from nasrun.supernet.supernet import Supernet

SPACE = DartsSpace(
    operations=("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"),
    nodes=1,
    kept_edges=1,
    channels=2,
    layers=3,
).restrict({"normal/2-1": ("skip_connect", "sep_conv_3x3")})


def supernet(relaxation):
    torch.manual_seed(0)
    network = SPACE.network(inputs=1, outputs=3)
    return Supernet(SPACE, network, relaxation, alpha_mean=0.0, alpha_std=1.0)


def begun(model, scale=0.5):
    penalty = DirichletKL(scale=scale)
    penalty.begin(model, None)
    return penalty


def divergence(model, names):
    """sum KL(Dirichlet(elu(alpha) + 1) || Dirichlet(1)) over decisions, by torch."""
    total = torch.zeros(())
    for name in names:
        row = SPACE.rows[name]
        choices = len(SPACE.decisions[row].choices)
        c = torch.nn.functional.elu(model.alpha[row, :choices]) + 1
        total = total + kl_divergence(Distribution(c), Distribution(torch.ones(choices)))
    return total


def test_the_divergence_and_its_gradient_are_torchs():
    model = supernet(Dirichlet())
    value = begun(model)()
    expected = 0.5 * divergence(model, SPACE.rows)
    torch.testing.assert_close(value, expected)
    (gradient,) = torch.autograd.grad(value, model.alpha)
    (other,) = torch.autograd.grad(expected, model.alpha)
    torch.testing.assert_close(gradient, other)
    assert (gradient[SPACE.rows["normal/2-1"], 2:] == 0).all()


def test_it_is_zero_and_at_rest_where_every_concentration_is_one():
    model = supernet(Dirichlet())
    with torch.no_grad():
        model.alpha.zero_()
    value = begun(model)()
    (gradient,) = torch.autograd.grad(value, model.alpha)
    assert value.item() == pytest.approx(0.0, abs=1e-6)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))


def test_a_decided_edge_is_not_pulled():
    model = supernet(Dirichlet())
    model.fixed = {"reduce/2-0": "skip_connect"}
    value = begun(model)()
    names = [name for name in SPACE.rows if name not in model.fixed]
    torch.testing.assert_close(value, 0.5 * divergence(model, names))
    (gradient,) = torch.autograd.grad(value, model.alpha)
    assert (gradient[SPACE.rows["reduce/2-0"]] == 0).all()


def test_a_relaxation_without_concentrations_is_refused():
    with pytest.raises(ValueError, match="relaxation=Softmax; use relaxation=Dirichlet"):
        begun(supernet(Softmax()))
    with pytest.raises(ValueError, match="scale=0"):
        DirichletKL(scale=0)
