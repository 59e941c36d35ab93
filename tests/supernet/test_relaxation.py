"""Relaxations against the theory of the Gumbel distribution and SNAS's temperatures."""

import math

import pytest
import torch
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical

from nasrun.supernet.relaxation import Concrete, Dirichlet, HardGumbel, OneHot, Softmax

SNAS = Concrete(tau_start=1.0, tau_end=0.03)
GDAS = HardGumbel(soft=Concrete(tau_start=10.0, tau_end=0.1))
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


@pytest.mark.parametrize("relaxation", [Softmax(), SNAS, GDAS])
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
    weights = SNAS.sample(torch.tensor(logits).expand(draws, 4), progress).values
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
    cold = SNAS.sample(alpha, 1.0).values.amax(1).mean()
    hot = Concrete(tau_start=1000.0, tau_end=1000.0).sample(alpha, 1.0).values.amax(1).mean()
    assert cold > 0.95
    assert hot < 0.13


@pytest.mark.parametrize("relaxation", [Softmax(), SNAS, GDAS, Dirichlet()])
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
    def drawn(shape, dtype, generator):
        uniform = torch.full(shape, 0.5, dtype=dtype)
        uniform[:, 0] = uniform[0] = extreme
        return uniform

    monkeypatch.setattr(torch, "rand", drawn)
    alpha = torch.zeros(3, 4, dtype=dtype, requires_grad=True)
    weights = SNAS.sample(alpha, 1.0).values
    assert weights.isfinite().all()
    torch.testing.assert_close(weights.sum(1), torch.ones(3, dtype=dtype))
    torch.testing.assert_close(weights[0], torch.full((4,), 0.25, dtype=dtype))
    assert (weights[1:].argmax(1) == 0).all() == (extreme == 1.0)  # near one: a large Gumbel
    weights[:, 0].sum().backward()
    assert alpha.grad.isfinite().all()


# The Concrete density


@pytest.mark.parametrize("tau", [1.0, 0.3, 0.05])
def test_the_log_density_is_that_of_torchs_relaxed_categorical(tau):
    relaxation, alpha = Concrete(tau_start=tau, tau_end=tau), torch.randn(50, 8).double()
    log_z = relaxation.log_sample(alpha, 1.0)
    reference = ExpRelaxedCategorical(torch.tensor(tau).double(), logits=alpha)
    # that one is the density of ln Z: the two differ by the sum of ln Z, the change of variables
    expected = reference.log_prob(log_z) - log_z.sum(1)
    torch.testing.assert_close(relaxation.log_density(alpha, log_z, 1.0), expected)


def test_the_density_of_two_choices_integrates_to_one():
    relaxation, alpha = Concrete(tau_start=0.7, tau_end=0.7), torch.tensor([[0.4, -0.3]]).double()
    z = (torch.arange(1_000_000).double() + 0.5) / 1_000_000
    log_z = torch.stack([z, 1 - z], 1).log()
    density = relaxation.log_density(alpha.expand_as(log_z), log_z, 1.0).exp()
    assert density.mean().item() == pytest.approx(1.0, abs=1e-3)


def test_a_missing_choice_has_no_part_in_the_density():
    alpha = torch.randn(5, 4).double().requires_grad_()
    missing = torch.tensor([False, True, False, True]).expand(5, 4)
    padded, there = alpha.masked_fill(missing, MISSING), alpha[:, [0, 2]]
    log_z = SNAS.log_sample(padded.detach(), 0.9)
    density = SNAS.log_density(padded, log_z, 0.9)
    torch.testing.assert_close(density, SNAS.log_density(there, log_z[:, [0, 2]], 0.9))
    density.sum().backward()
    assert (alpha.grad[missing] == 0).all()
    assert alpha.grad.isfinite().all()


def test_the_log_sample_is_finite_and_its_density_too_where_the_sample_underflows():
    alpha = torch.tensor([[0.0, -30.0, 3.0]]).requires_grad_()
    log_z = SNAS.log_sample(alpha, 1.0).detach()
    assert log_z.exp().min() == 0
    density = SNAS.log_density(alpha, log_z, 1.0).sum()
    density.backward()
    assert density.isfinite()
    assert alpha.grad.isfinite().all()


# One-hot draws (DSNAS)

DSNAS = OneHot(margin=0.3)
NEVER = OneHot(margin=None)


def test_a_draw_is_one_hot_and_falls_on_a_choice_with_its_probability():
    logits, draws = [1.0, -0.5, 0.2, 2.0], 20_000
    weights = NEVER.sample(torch.tensor(logits).expand(draws, 4), 0.5)
    assert ((weights.values == 0) | (weights.values == 1)).all()
    assert weights.values.argmax(1).tolist() == list(weights.chosen)
    shares, probabilities = weights.values.mean(0), softmax(logits)
    deviation = (probabilities * (1 - probabilities) / draws).sqrt()
    assert ((shares - probabilities).abs() < 5 * deviation).all()


def test_the_gradient_is_the_share_of_the_loss_times_that_of_the_log_probability():
    alpha = torch.randn(6, 5).double().requires_grad_()
    c = torch.randn(6, 5).double()  # dL/dZ
    weights = NEVER.sample(alpha, 0.5)
    (c * weights.values).sum().backward()
    rows, drawn = torch.arange(6), torch.tensor(weights.chosen)
    indicator = torch.zeros(6, 5).double()
    indicator[rows, drawn] = 1.0
    expected = c[rows, drawn][:, None] * (indicator - torch.softmax(alpha.detach(), 1))
    torch.testing.assert_close(alpha.grad, expected)


def test_the_mean_gradient_over_all_draws_is_that_of_the_exact_expected_loss(monkeypatch):
    """For a loss that is linear in each edge's choice, as sums of operations into a node are."""
    alpha = torch.randn(2, 3).double().requires_grad_()
    loss = torch.randn(3, 3).double()  # of either edge's choice
    p = torch.softmax(alpha, 1)
    (exact,) = torch.autograd.grad(p[0] @ loss @ p[1], alpha)
    mean = torch.zeros_like(exact)
    for first in range(3):
        for second in range(3):
            draw = torch.tensor([[first], [second]])
            monkeypatch.setattr(torch, "multinomial", lambda p, n, generator, draw=draw: draw)
            z = NEVER.sample(alpha, 0.5).values
            (gradient,) = torch.autograd.grad(z[0] @ loss @ z[1], alpha)
            mean += (p[0, first] * p[1, second]).detach() * gradient
    torch.testing.assert_close(mean, exact)


def test_a_decision_with_a_clear_winner_is_settled_and_gets_exactly_no_gradient():
    leads = torch.tensor([[0.66, 0.34], [0.64, 0.36], [0.1, 0.9], [0.5, 0.5]])
    alpha = leads.log().requires_grad_()
    others = set()
    for _ in range(50):
        weights = DSNAS.sample(alpha, 0.5)
        assert (weights.chosen[0], weights.chosen[2]) == (0, 1)
        others.add((weights.chosen[1], weights.chosen[3]))
        (gradient,) = torch.autograd.grad((torch.randn(4, 2) * weights.values).sum(), alpha)
        assert (gradient[[0, 2]] == 0).all()
        assert (gradient[[1, 3]] != 0).all()
    assert len(others) == 4


def test_draws_leave_out_missing_choices_and_evaluation_runs_the_likeliest():
    alpha = torch.zeros(2000, 3)
    alpha[:, 1] = MISSING
    for relaxation in (DSNAS, NEVER):
        weights = relaxation.sample(alpha.requires_grad_(), 0.5)
        assert set(weights.chosen) == {0, 2}
    (gradient,) = torch.autograd.grad(weights.values[:, 0].sum(), alpha)
    assert gradient.isfinite().all()
    mean = NEVER.mean(torch.tensor([[0.0, 2.0, 1.0], [3.0, MISSING, 1.0]]))
    assert mean.values.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert mean.chosen == (1, 0)


def test_a_decision_with_one_choice_is_settled():
    weights = DSNAS.sample(torch.zeros(3, 1, requires_grad=True), 0.5)
    assert weights.values.tolist() == [[1], [1], [1]]


@pytest.mark.parametrize("margin", [0.0, -0.3, 1.1])
def test_a_margin_that_settles_everything_or_cannot_be_is_refused(margin):
    with pytest.raises(ValueError, match=f"margin={margin}"):
        OneHot(margin=margin)


# GDAS


def test_a_hard_sample_is_one_hot_to_the_bit_and_names_what_runs():
    alpha = torch.randn(500, 8)
    values, chosen, _ = GDAS.sample(alpha, 0.5)
    assert values.sum(1).tolist() == [1.0] * 500
    assert values.amax(1).tolist() == [1.0] * 500
    assert list(chosen) == values.argmax(1).tolist()


@pytest.mark.parametrize("progress", [1 / 250, 1.0])
def test_a_hard_sample_draws_a_choice_with_its_probability_at_any_temperature(progress):
    logits, draws = [1.0, -0.5, 0.2, 2.0], 20_000
    values, *_ = GDAS.sample(torch.tensor(logits).expand(draws, 4), progress)
    probabilities = softmax(logits)
    deviation = (probabilities * (1 - probabilities) / draws).sqrt()
    assert ((values.mean(0) - probabilities).abs() < 5 * deviation).all()


@pytest.mark.parametrize(("epoch", "tau"), [(0, 9.9604), (124, 5.05), (249, 0.1)])
def test_the_gradient_of_a_hard_sample_is_the_drawn_row_of_the_softs_jacobian(epoch, tau):
    """Only the drawn operation k runs: dL/dalpha_j = c_k z_k (1[j = k] - z_j) / tau (GDAS)."""
    assert GDAS.soft.tau((epoch + 1) / 250) == pytest.approx(tau)
    alpha = torch.randn(28, 8, dtype=torch.float64).requires_grad_()
    credit = torch.randn(28, dtype=torch.float64)
    torch.manual_seed(epoch)
    values, chosen, _ = GDAS.sample(alpha, (epoch + 1) / 250)
    ran = values[torch.arange(28), list(chosen)]
    (credit * ran).sum().backward()
    torch.manual_seed(epoch)
    noise = -(-torch.rand(28, 8, dtype=torch.float64).log()).log()
    powers = ((alpha.detach() + noise) / tau).exp()
    z = powers / powers.sum(1, keepdim=True)
    expected = torch.zeros_like(z)
    for row, k in enumerate(chosen):
        for j in range(8):
            expected[row, j] = credit[row] * z[row, k] * (float(j == k) - z[row, j]) / tau
    torch.testing.assert_close(alpha.grad, expected)
    if epoch == 0:
        assert (alpha.grad != 0).all()  # every logit of an edge learns from the one that ran


# DrNAS


def concentration(alpha):
    return torch.tensor([[a + 1 if a > 0 else math.exp(a) for a in row] for row in alpha.tolist()])


def test_the_mean_of_a_dirichlet_is_its_concentration_over_the_sum():
    alpha = torch.tensor([[0.0, 1.0, -2.0], [3.0, MISSING, -0.5]])
    c = concentration(alpha)
    assert c[1, 1] == 0
    torch.testing.assert_close(Dirichlet().mean(alpha).values, c / c.sum(1, keepdim=True))


def test_dirichlet_samples_have_the_distributions_mean_and_variance():
    alpha, draws = torch.tensor([0.5, -1.0, MISSING, 2.0]), 40_000
    samples = Dirichlet().sample(alpha.expand(draws, 4), 1.0).values
    c = concentration(alpha[None])[0]
    mean = c / c.sum()
    variance = mean * (1 - mean) / (c.sum() + 1)
    assert ((samples.mean(0) - mean).abs() <= 5 * (variance / draws).sqrt()).all()
    torch.testing.assert_close(samples.var(0), variance, rtol=0.05, atol=1e-8)
    torch.testing.assert_close(samples.sum(1), torch.ones(draws))


def test_the_pathwise_gradient_of_a_dirichlet_is_on_average_that_of_its_mean():
    logits, draws = [0.5, -1.0, 2.0], 40_000
    alpha = torch.tensor(logits, dtype=torch.float64).expand(draws, 3).clone().requires_grad_()
    Dirichlet().sample(alpha, 1.0).values[:, 0].sum().backward()
    one = torch.tensor([logits], dtype=torch.float64).requires_grad_()
    Dirichlet().mean(one).values[0, 0].backward()
    error = alpha.grad.std(0) / math.sqrt(draws)
    assert ((alpha.grad.mean(0) - one.grad[0]).abs() < 5 * error).all()
    assert (one.grad[0].abs() > 20 * error).all()


def test_tiny_concentrations_give_finite_weights_and_gradients():
    alpha = torch.full((2000, 8), -7.0).requires_grad_()  # a concentration of 0.0009
    values = Dirichlet().sample(alpha, 1.0).values
    torch.testing.assert_close(values.sum(1), torch.ones(2000))
    values[:, 0].sum().backward()
    assert alpha.grad.isfinite().all()
