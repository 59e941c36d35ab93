"""SDARTS: the neighbourhood of mixture weights, and which half of a step is perturbed."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.spaces.darts import DartsSpace
from nasrun.strategies.descent import Search
from nasrun.strategies.levels import Bilevel
from nasrun.strategies.sdarts import Adversarial, RandomNoise, Smoothed, distributions
from nasrun.streams import Streams
from nasrun.supernet.relaxation import Softmax
from nasrun.supernet.supernet import Supernet

OPERATIONS = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3")
SPACE = DartsSpace(operations=OPERATIONS, nodes=1, kept_edges=1, channels=2, layers=3).restrict(
    {"normal/2-1": ("skip_connect", "sep_conv_3x3")}
)
RANDOM = Smoothed(neighbour=RandomNoise(), eps_start=0.03, eps_end=0.3)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def search(alpha_lr=0.1, weight_lr=0.1):
    network = SPACE.network(inputs=1, outputs=3)
    supernet = Supernet(SPACE, network, Softmax(), alpha_mean=0.0, alpha_std=1.0)

    def loss(batch, mixture=None):
        return F.cross_entropy(network(batch[0], mixture or supernet.mixture())[0], batch[1])

    weights = supernet.weights()
    return Search(
        streams=Streams(0),
        loss=loss,
        supernet=supernet,
        alphas=[supernet.alpha],
        weights=weights,
        alpha_optimizer=torch.optim.SGD([supernet.alpha], alpha_lr),
        weight_optimizer=torch.optim.SGD(weights, weight_lr),
    )


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(6, 1, 8, 8, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2])


rows = st.lists(st.floats(-0.5, 1.5), min_size=4, max_size=4)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rows, st.integers(1, 4))
def test_cut_rows_are_distributions_over_the_choices_that_are_there(row, present):
    missing = torch.arange(4)[None] >= present
    (found,) = distributions(torch.tensor([row], dtype=torch.float64), missing).tolist()
    cut = [min(max(value, 0.0), 1.0) for value in row[:present]]
    if sum(cut) == 0:
        expected = [float(i == row.index(max(row[:present]))) for i in range(present)]
    else:
        expected = [value / sum(cut) for value in cut]
    assert found == pytest.approx([*expected, *[0.0] * (4 - present)])


def probabilities(supernet):
    return torch.softmax(supernet.alpha.detach().masked_fill(supernet.missing, -torch.inf), 1)


@pytest.mark.parametrize("eps", [0.0, 0.03, 0.3])
def test_random_weights_are_those_moved_by_up_to_eps_and_normalised(eps):
    supernet = search().supernet
    p = probabilities(supernet)
    torch.manual_seed(5)
    found = RandomNoise().near(None, supernet, p, eps)
    torch.manual_seed(5)
    delta = torch.empty_like(p).uniform_(-eps, eps)
    assert delta.abs().max() <= eps
    expected = (p + delta).clamp(0, 1) * ~supernet.missing
    torch.testing.assert_close(found, expected / expected.sum(1, keepdim=True))
    assert (found[SPACE.rows["normal/2-1"], 2:] == 0).all()


def test_the_attack_raises_the_loss_more_than_noise_and_stays_near():
    problem = search()
    supernet, p = problem.supernet, probabilities(problem.supernet)
    train = batch(1)
    seen = []

    def loss(weights):
        seen.append(supernet.training)
        return problem.loss(train, supernet.mixture(weights=weights))

    supernet.train()
    q = Adversarial(steps=7).near(loss, supernet, p, 0.1)
    assert seen == [False] * 9  # before, 7 steps, after
    assert supernet.training
    supernet.eval()
    noise = RandomNoise().near(loss, supernet, p, 0.1)
    with torch.no_grad():
        assert loss(q) > loss(p)
        assert loss(q) > loss(noise)
    assert all(parameter.grad is None for parameter in supernet.parameters())
    torch.testing.assert_close(q.sum(1), torch.ones(4))
    # within eps before the row is divided by its sum, which is within eps a choice of one
    sums = 1 + 0.1 * (~supernet.missing).sum(1, keepdim=True)
    assert ((q - p).abs() <= 0.1 * sums + (sums - 1)).all()


def test_an_attack_that_lowers_the_loss_is_discarded():
    supernet = search().supernet
    p = probabilities(supernet)
    calls = iter([2.0, *[1.0] * 20])

    def loss(weights):
        return next(calls) + 0 * weights.sum()

    assert torch.equal(Adversarial(steps=3).near(loss, supernet, p, 0.2), p)


def test_alphas_descend_at_the_mixture_itself_and_weights_at_its_neighbour():
    clean, smoothed = search(), search()
    smoothed.supernet.load_state_dict(clean.supernet.state_dict())
    for problem, level in ((clean, Bilevel()), (smoothed, RANDOM)):
        problem.supernet.progress = 1.0
        torch.manual_seed(7)
        level.step(problem, batch(1), batch(2))
    assert torch.equal(clean.supernet.alpha, smoothed.supernet.alpha)
    weights = zip(clean.weights, smoothed.weights, strict=True)
    assert any(not torch.equal(a, b) for a, b in weights)


def test_without_a_radius_it_is_darts_and_with_one_it_takes_the_gradient_there():
    still = Smoothed(neighbour=RandomNoise(), eps_start=0.0, eps_end=0.0)
    clean, smoothed = search(), search()
    smoothed.supernet.load_state_dict(clean.supernet.state_dict())
    for problem, level in ((clean, Bilevel()), (smoothed, still)):
        level.step(problem, batch(1), batch(2))
    for a, b in zip(clean.weights, smoothed.weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)

    problem = search(alpha_lr=0.0)
    problem.supernet.progress = 0.5
    p, before = probabilities(problem.supernet), [w.detach().clone() for w in problem.weights]
    torch.manual_seed(3)
    near = RandomNoise().near(None, problem.supernet, p, 0.165)
    loss = problem.loss(batch(1), problem.supernet.mixture(weights=near))
    gradients = torch.autograd.grad(loss, problem.weights)
    torch.manual_seed(3)
    RANDOM.step(problem, batch(1), batch(2))
    for w, old, gradient in zip(problem.weights, before, gradients, strict=True):
        torch.testing.assert_close(w, old - 0.1 * gradient, rtol=1e-4, atol=1e-6)


def test_a_decided_edge_is_not_perturbed():
    supernet = search().supernet
    supernet.fixed = {"reduce/2-0": "max_pool_3x3", "reduce/2-1": "none"}
    near = RandomNoise().near(None, supernet, probabilities(supernet), 0.3)
    weights = supernet.mixture(weights=near).weights
    assert weights[2].tolist() == [0, 1, 0, 0]
    assert weights[3].tolist() == [0, 0, 0, 0]
    assert torch.equal(weights[:2], near[:2])


def test_the_radius_grows_to_its_end_in_the_last_round():
    assert [RANDOM.eps(share) for share in (1 / 50, 0.5, 1.0)] == pytest.approx(
        [0.0354, 0.165, 0.3]
    )


@pytest.mark.parametrize(("start", "end"), [(0.3, 0.2), (-0.1, 0.3), (0.1, 1.5)])
def test_impossible_radii_are_refused(start, end):
    with pytest.raises(ValueError, match=f"^eps_start={start} eps_end={end}"):
        Smoothed(neighbour=RandomNoise(), eps_start=start, eps_end=end)
    with pytest.raises(ValueError, match=r"^steps=0"):
        Adversarial(steps=0)
