"""Relaxations against the theory of the Gumbel distribution and SNAS's temperatures."""

import math

import pytest
import torch

from nasrun.spaces.relaxation import Concrete, Softmax

SNAS = Concrete(tau_start=1.0, tau_end=0.03)
MISSING = -math.inf


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def softmax(logits):
    powers = [math.exp(logit) for logit in logits]
    return torch.tensor([power / sum(powers) for power in powers])


def test_softmax_weights_are_the_probabilities_at_any_progress():
    logits = [0.3, -1.0, 2.0]
    for progress in (0.01, 1.0):
        weights = Softmax().sample(torch.tensor([logits]), progress).values
        torch.testing.assert_close(weights, softmax(logits)[None])


@pytest.mark.parametrize("relaxation", [Softmax(), SNAS])
def test_the_mean_is_the_softmax_of_the_alphas(relaxation):
    logits = [[0.3, -1.0, 2.0], [5.0, 5.0, 5.0]]
    expected = torch.stack([softmax(row) for row in logits])
    torch.testing.assert_close(relaxation.mean(torch.tensor(logits)).values, expected)


@pytest.mark.parametrize(("epoch", "tau"), [(0, 0.99353), (75, 0.50853), (149, 0.03)])
def test_the_temperature_of_an_epoch_is_that_of_the_released_code(epoch, tau):
    assert SNAS.tau((epoch + 1) / 150) == pytest.approx(tau, abs=1e-5)
    assert SNAS.tau((epoch + 1) / 150) == pytest.approx(0.03 + 0.97 * (1 - (epoch + 1) / 150))


@pytest.mark.parametrize(("start", "end"), [(1.0, 0.0), (1.0, -0.1), (0.03, 1.0)])
def test_temperatures_that_do_not_fall_to_a_positive_one_are_refused(start, end):
    with pytest.raises(ValueError, match=f"tau_end={end}.*tau_start={start}"):
        Concrete(tau_start=start, tau_end=end)


@pytest.mark.parametrize("progress", [1 / 150, 0.5, 1.0])
def test_the_largest_weight_of_a_sample_falls_on_a_choice_with_its_probability(progress):
    logits, draws = [1.0, -0.5, 0.2, 2.0], 20_000
    weights = SNAS.sample(torch.tensor(logits).expand(draws, 4), progress)
    shares = torch.bincount(weights.argmax(1), minlength=4) / draws
    probabilities = softmax(logits)
    deviation = (probabilities * (1 - probabilities) / draws).sqrt()
    assert ((shares - probabilities).abs() < 5 * deviation).all()


def test_a_sample_is_the_softmax_of_noisy_alphas_over_the_temperature():
    alpha = torch.randn(28, 8)
    torch.manual_seed(5)
    weights = SNAS.sample(alpha, progress=76 / 150).values
    torch.manual_seed(5)
    noise = -(-torch.rand(28, 8).double().log()).log()
    powers = ((alpha + noise) / 0.508533333).exp()
    expected = (powers / powers.sum(1, keepdim=True)).float()
    torch.testing.assert_close(weights, expected)


def test_a_low_temperature_makes_samples_nearly_one_hot_and_a_high_one_nearly_even():
    alpha = torch.zeros(2000, 8)
    cold = SNAS.sample(alpha, 1.0).amax(1).mean()
    hot = Concrete(tau_start=1000.0, tau_end=1000.0).sample(alpha, 1.0).amax(1).mean()
    assert cold > 0.95
    assert hot < 0.13


@pytest.mark.parametrize("relaxation", [Softmax(), SNAS])
@pytest.mark.parametrize("progress", [1 / 150, 1.0])
def test_rows_sum_to_one_and_a_missing_choice_has_no_weight_and_no_gradient(relaxation, progress):
    alpha = torch.randn(28, 8)
    missing = torch.zeros(28, 8, dtype=torch.bool)
    missing[3, 5:] = missing[9, 1:] = True
    alpha.requires_grad_()
    weights = relaxation.sample(alpha.masked_fill(missing, MISSING), progress).values
    torch.testing.assert_close(weights.sum(1), torch.ones(28))
    assert (weights[missing] == 0).all()
    (weights * torch.randn(28, 8)).sum().backward()
    assert alpha.grad.isfinite().all()
    assert (alpha.grad[missing] == 0).all()
    assert (alpha.grad[0] != 0).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("extreme", [0.0, 1.0])
def test_extreme_random_numbers_give_finite_weights_and_gradients(monkeypatch, extreme, dtype):
    def drawn(like):
        uniform = torch.full_like(like, 0.5)
        uniform[:, 0] = uniform[0] = extreme
        return uniform

    monkeypatch.setattr(torch, "rand_like", drawn)
    alpha = torch.zeros(3, 4, dtype=dtype, requires_grad=True)
    weights = SNAS.sample(alpha, 1.0).values
    assert weights.isfinite().all()
    torch.testing.assert_close(weights.sum(1), torch.ones(3, dtype=dtype))
    torch.testing.assert_close(weights[0], torch.full((4,), 0.25, dtype=dtype))
    assert (weights[1:].argmax(1) == 0).all() == (extreme == 1.0)  # near one: a large Gumbel
    weights[:, 0].sum().backward()
    assert alpha.grad.isfinite().all()
