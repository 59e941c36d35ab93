"""Levels against their equations: a toy with known answers, and a smooth network in doubles."""

import copy
import weakref
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from smooth import data, function, gradients, mlp, norm, small_supernet, toy, values, warm
from torch.autograd import grad

from nasrun.strategies.descent import Search
from nasrun.strategies.levels import (
    Bilevel,
    Level,
    MixedLevel,
    SingleLevel,
    Switched,
    Unrolled,
    UnrolledMixed,
    WeightsOnly,
)
from nasrun.strategies.sdarts import RandomNoise, Smoothed
from nasrun.streams import Streams

MIXED = MixedLevel(lam_train=1.0, lam_val=1.0, normalise=True)
RADIUS = 0.01  # the released code's, divided by the norm of the direction


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_the_first_hypergradient_of_the_toy_is_two():
    search = toy(weight_lr=0.5)
    ((gradient, val_loss),) = Unrolled(radius=RADIUS).hypergradients(search, "train", "val")
    assert gradient[0].item() == pytest.approx(2.0)  # without the mixed derivative it would be 0
    assert val_loss.item() == pytest.approx(2 * 2 - 2 * 2 + 1)  # one step ahead w is 2
    assert (search.alphas[0].item(), search.weights[0].item()) == (2.0, -2.0)


@pytest.mark.parametrize("radius", [1e-4, 0.01, 1.0])
@pytest.mark.parametrize(("a", "w", "xi"), [(2.0, -2.0, 0.7), (-1.0, 3.0, 0.1), (0.5, 0.5, 1.3)])
def test_the_hypergradient_of_the_toy_is_exact_for_any_radius(a, w, xi, radius):
    ((gradient, _),) = Unrolled(radius=radius).hypergradients(toy(0.0, xi, a, w), "train", "val")
    ahead = w - xi * (2 * w - 2 * a)
    assert gradient[0].item() == pytest.approx(ahead - 2 + 2 * xi * a)


@pytest.mark.parametrize("xi", [0.5, 0.7])
def test_the_second_order_comes_to_rest_where_the_paper_says(xi):
    search = toy(alpha_lr=0.3, weight_lr=xi)
    for _ in range(60):
        Unrolled(radius=RADIUS).step(search, "train", "val")
    expected = pytest.approx(2 / (1 + 2 * xi))
    assert (search.alphas[0].item(), search.weights[0].item()) == (expected, expected)


def test_the_first_order_comes_to_rest_at_two():
    search = toy(alpha_lr=0.3, weight_lr=0.5)
    for _ in range(90):
        Bilevel().step(search, "train", "val")
    expected = pytest.approx(2.0)
    assert (search.alphas[0].item(), search.weights[0].item()) == (expected, expected)


def test_a_hypergradient_without_a_direction_is_the_direct_gradient():
    search = toy(weight_lr=0.5, a=0.0, w=3.0)  # at a = 0 the validation loss ignores w
    ((gradient, _),) = Unrolled(radius=RADIUS).hypergradients(search, "train", "val")
    assert gradient[0].item() == pytest.approx(0.0 - 2.0)  # w' = 0


def test_a_radius_must_be_positive():
    for radius in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="radius"):
            Unrolled(radius=radius)


def released_formula(net, *, xi, momentum, decay):
    """DARTS's hypergradient by the published finite difference."""
    alpha, weights = net.alpha.detach(), values(net.weights)
    buffers = [
        net.search.weight_optimizer.state[w].get("momentum_buffer", torch.zeros_like(w))
        for w in net.weights
    ]
    slopes = gradients((alpha, weights), net.train, "weights")
    ahead = [
        w - xi * (momentum * buffer + slope + decay * w)
        for w, buffer, slope in zip(weights, buffers, slopes, strict=True)
    ]
    v = gradients((alpha, ahead), net.val, "weights")
    eps = 0.01 / norm(v)
    plus, minus = (
        gradients(
            (alpha, [w + sign * eps * d for w, d in zip(weights, v, strict=True)]),
            net.train,
            "alpha",
        )
        for sign in (1, -1)
    )
    return gradients((alpha, ahead), net.val, "alpha") - xi * (plus - minus) / (2 * eps)


def differentiated_twice(net, *, xi, momentum, decay):
    """d L_val(w'(alpha), alpha) / d alpha by differentiating through the step."""
    alpha = net.alpha.detach().clone().requires_grad_()
    weights = [w.detach().clone().requires_grad_() for w in net.weights]
    slopes = grad(function(alpha, weights, net.train), weights, create_graph=True)
    buffers = [
        net.search.weight_optimizer.state[w].get("momentum_buffer", 0.0) for w in net.weights
    ]
    ahead = [
        w - xi * (momentum * buffer + slope + decay * w)
        for w, buffer, slope in zip(weights, buffers, slopes, strict=True)
    ]
    return grad(function(alpha, ahead, net.val), alpha)[0]


@pytest.mark.parametrize("steps", [0, 3])
def test_the_hypergradient_is_the_published_formula_with_momentum_and_weight_decay(steps):
    net = mlp()
    warm(net, steps)
    expected = released_formula(net, xi=0.1, momentum=0.9, decay=0.01)
    ((gradient, _),) = Unrolled(radius=0.01).hypergradients(net.search, net.train, net.val)
    torch.testing.assert_close(gradient[0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("steps", [0, 3])
def test_with_a_small_radius_the_hypergradient_is_the_exact_derivative(steps):
    net = mlp()
    warm(net, steps)
    expected = differentiated_twice(net, xi=0.1, momentum=0.9, decay=0.01)
    ((gradient, _),) = Unrolled(radius=1e-3).hypergradients(net.search, net.train, net.val)
    torch.testing.assert_close(gradient[0], expected, rtol=1e-4, atol=1e-8)
    direct = gradients((net.alpha, net.weights), net.val, "alpha")
    assert (expected - direct).norm() > 0.01 * direct.norm()  # the second order is not nothing


def test_the_step_of_the_hypergradient_is_the_current_learning_rate():
    net = mlp()
    for xi in (0.1, 0.025):
        net.search.weight_optimizer.param_groups[0]["lr"] = xi
        expected = released_formula(net, xi=xi, momentum=0.9, decay=0.01)
        ((gradient, _),) = Unrolled(radius=0.01).hypergradients(net.search, net.train, net.val)
        torch.testing.assert_close(gradient[0], expected, rtol=1e-9, atol=1e-12)


def test_a_second_order_step_descends_the_hypergradient_then_the_training_loss():
    net = mlp(momentum=0.0, decay=0.0)
    alpha, weights = net.alpha.detach().clone(), values(net.weights)
    hypergradient = differentiated_twice(net, xi=0.1, momentum=0.0, decay=0.0)
    losses = Unrolled(radius=1e-3).step(net.search, net.train, net.val)
    torch.testing.assert_close(net.alpha.detach(), alpha - 0.05 * hypergradient, rtol=1e-4, atol=0)
    slopes = gradients((net.alpha, weights), net.train, "weights")  # with the new alphas
    for after, before, slope in zip(net.weights, weights, slopes, strict=True):
        torch.testing.assert_close(after.detach(), before - 0.1 * slope)
    train_loss = function(net.alpha.detach(), weights, net.train)
    torch.testing.assert_close(losses["train_loss"], train_loss)


# Every level's step as equations


def test_the_first_order_descends_validation_by_alphas_then_training_by_weights():
    net = mlp(momentum=0.0, decay=0.0)
    alpha, weights = net.alpha.detach().clone(), values(net.weights)
    slope = gradients((alpha, weights), net.val, "alpha")
    losses = Bilevel().step(net.search, net.train, net.val)
    torch.testing.assert_close(net.alpha.detach(), alpha - 0.05 * slope)
    slopes = gradients((net.alpha, weights), net.train, "weights")
    for after, before, slope in zip(net.weights, weights, slopes, strict=True):
        torch.testing.assert_close(after.detach(), before - 0.1 * slope)
    torch.testing.assert_close(losses["alpha_loss"], function(alpha, weights, net.val))
    torch.testing.assert_close(
        losses["train_loss"], function(net.alpha.detach(), weights, net.train)
    )


class Activation:
    """A value that autograd keeps for a backward pass; it lives as long as the graph."""

    def __init__(self, tensor):
        self.tensor = tensor


def test_the_graph_of_the_validation_loss_is_gone_before_the_training_loss_has_one():
    """An operation before the first alpha gets no gradient by the alphas: it is not freed by it."""
    alpha, w = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    kept, alive = [], []

    def pack(tensor):
        kept.append(weakref.ref(found := Activation(tensor)))
        return found

    def loss(batch):
        alive.append(sum(reference() is not None for reference in kept))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda found: found.tensor):
            return (alpha * (w * batch).sin()).sum()

    search = Search(
        streams=Streams(0),
        loss=loss,
        supernet=SimpleNamespace(progress=1.0),
        alphas=[alpha],
        weights=[w],
        alpha_optimizer=torch.optim.SGD([alpha], lr=0.1),
        weight_optimizer=torch.optim.SGD([w], lr=0.1),
    )
    Bilevel().step(search, torch.ones(4), torch.ones(4))
    assert len(kept) >= 4
    assert alive == [0, 0]


def test_a_single_level_descends_the_training_loss_by_both_at_once():
    net = mlp(momentum=0.0, decay=0.0)
    point = net.alpha.detach().clone(), values(net.weights)
    losses = SingleLevel().step(net.search, net.train, net.val)
    expected = point[0] - 0.05 * gradients(point, net.train, "alpha")
    torch.testing.assert_close(net.alpha.detach(), expected)
    slopes = gradients(point, net.train, "weights")
    for after, before, slope in zip(net.weights, point[1], slopes, strict=True):
        torch.testing.assert_close(after.detach(), before - 0.1 * slope)
    assert set(losses) == {"train_loss"}


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(
    ("lam_train", "lam_val"), [(1.0, 0.1), (1.0, 1.0), (1.0, 999.0), (3.0, 0.5)]
)
def test_a_mixed_level_weighs_both_losses_in_the_alphas_gradient_only(
    lam_train, lam_val, normalise
):
    net = mlp()
    warm(net)
    point = net.alpha.detach().clone(), values(net.weights)
    plain = torch.optim.SGD([w.requires_grad_() for w in values(net.weights)], 0.1, 0.9)
    plain.load_state_dict(copy.deepcopy(net.search.weight_optimizer.state_dict()))
    level = MixedLevel(lam_train=lam_train, lam_val=lam_val, normalise=normalise)
    level.step(net.search, net.train, net.val)
    train, val = (gradients(point, batch, "alpha") for batch in (net.train, net.val))
    slope = lam_train * train + lam_val * val
    if normalise:
        slope = slope / (lam_train + lam_val)
    torch.testing.assert_close(net.alpha.detach(), point[0] - 0.05 * slope)
    twins = plain.param_groups[0]["params"]
    for twin, slope in zip(twins, gradients(point, net.train, "weights"), strict=True):
        twin.grad = slope
    plain.step()
    for after, twin in zip(net.weights, twins, strict=True):
        torch.testing.assert_close(after.detach(), twin.detach())


def with_adam(net, alpha_lr, weight_decay):
    """A search on a copy of the net's parameters, its alphas moved by Adam as DARTS does."""
    alpha = net.alpha.detach().clone().requires_grad_()
    weights = [w.requires_grad_() for w in values(net.weights)]
    return Search(
        streams=Streams(0),
        loss=lambda batch: function(alpha, weights, batch),
        supernet=SimpleNamespace(progress=1.0),
        alphas=[alpha],
        weights=weights,
        alpha_optimizer=torch.optim.Adam(
            [alpha], alpha_lr, betas=(0.5, 0.999), weight_decay=weight_decay
        ),
        weight_optimizer=torch.optim.SGD(weights, 0.1, 0.9, weight_decay=0.01),
    )


def trajectory(step, search, batches):
    """Alphas and weights after every step, as one vector each."""
    found = []
    for train, val in batches:
        step(search, train, val)
        parameters = (*search.alphas, *search.weights)
        found.append(torch.cat([parameter.detach().flatten() for parameter in parameters]).clone())
    return torch.stack(found)


def test_lambda_zero_walks_the_path_of_a_single_level():
    net, batches = mlp(), [(data(), data()) for _ in range(20)]
    for normalise in (True, False):
        level = MixedLevel(lam_train=1.0, lam_val=0.0, normalise=normalise)
        paths = [
            trajectory(one.step, with_adam(net, 0.02, 1e-3), batches)
            for one in (level, SingleLevel())
        ]
        assert torch.equal(*paths)
        assert (paths[0][-1] - paths[0][0]).norm() > 0.1


def bilevel_at_once(search, train, val):
    """First-order bilevel whose two gradients are both those of the state before the step."""
    slope = torch.autograd.grad(search.loss(val), search.alphas)
    slopes = torch.autograd.grad(search.loss(train), search.weights)
    for optimizer, parameters, found in (
        (search.alpha_optimizer, search.alphas, slope),
        (search.weight_optimizer, search.weights, slopes),
    ):
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize(("normalise", "decay"), [(True, 1e-3), (True, 0.1), (False, 0.0)])
def test_a_large_lambda_walks_the_path_of_bilevel(normalise, decay):
    net, batches = mlp(), [(data(), data()) for _ in range(20)]
    level = MixedLevel(lam_train=1.0, lam_val=1e7, normalise=normalise)
    path = trajectory(level.step, with_adam(net, 0.02, decay), batches)
    expected = trajectory(bilevel_at_once, with_adam(net, 0.02, decay), batches)
    torch.testing.assert_close(path, expected, rtol=1e-4, atol=1e-5)
    mixed = MixedLevel(lam_train=1.0, lam_val=1.0, normalise=True)
    other = trajectory(mixed.step, with_adam(net, 0.02, decay), batches)
    assert (other - expected).norm() > 100 * (path - expected).norm()


def test_a_large_lambda_without_normalisation_loses_the_weight_decay():
    """Why dividing by the sum is the default: Adam adds the decay to the gradient."""
    net, batches = mlp(), [(data(), data()) for _ in range(20)]
    expected = trajectory(bilevel_at_once, with_adam(net, 0.02, 1.0), batches)
    lost = trajectory(bilevel_at_once, with_adam(net, 0.02, 0.0), batches)
    level = MixedLevel(lam_train=1.0, lam_val=1e7, normalise=False)
    path = trajectory(level.step, with_adam(net, 0.02, 1.0), batches)
    assert (path - lost).norm() < 0.01 * (path - expected).norm()


def test_sharing_a_forward_differs_from_dartss_order_by_the_alphas_step_only():
    """Ours takes the weights' gradient before the alphas moved: the gap closes with their rate."""
    net, batches = mlp(), [(data(), data()) for _ in range(20)]
    gaps = []
    for rate in (0.02, 0.002):
        level = MixedLevel(lam_train=0.0, lam_val=1.0, normalise=True)
        ours, darts = (
            trajectory(one.step, with_adam(net, rate, 1e-3), batches) for one in (level, Bilevel())
        )
        gaps.append((ours - darts).norm())
    assert 0 < gaps[1] < 0.2 * gaps[0]


@pytest.mark.parametrize(("lam_train", "lam_val"), [(-0.5, 1.0), (1.0, -0.5), (0.0, 0.0)])
def test_weights_of_losses_that_say_nothing_are_refused(lam_train, lam_val):
    message = f"lam_train={lam_train} lam_val={lam_val}: use 0 or more"
    with pytest.raises(ValueError, match=message):
        MixedLevel(lam_train=lam_train, lam_val=lam_val, normalise=True)
    with pytest.raises(ValueError, match=message):
        UnrolledMixed(
            unrolled=Unrolled(radius=RADIUS), lam_train=lam_train, lam_val=lam_val, normalise=True
        )


# MiLeNAS, second order


def second(radius, lam_train=1.0, lam_val=1.0, normalise=False):
    return UnrolledMixed(
        unrolled=Unrolled(radius=radius), lam_train=lam_train, lam_val=lam_val, normalise=normalise
    )


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(("lam_train", "lam_val"), [(1.0, 1.0), (0.1, 1.0), (2.0, 0.5)])
def test_the_mixed_second_order_descends_the_exact_derivative_of_both_losses_one_step_ahead(
    lam_train, lam_val, normalise, steps
):
    net = mlp()
    warm(net, steps)
    alpha = net.alpha.detach().clone()
    facts = {"xi": 0.1, "momentum": 0.9, "decay": 0.01}
    of_val = differentiated_twice(net, **facts)
    net.val, held = net.train, net.val
    of_train = differentiated_twice(net, **facts)
    net.val = held
    slope = lam_train * of_train + lam_val * of_val
    if normalise:
        slope = slope / (lam_train + lam_val)
    second(1e-3, lam_train, lam_val, normalise).step(net.search, net.train, net.val)
    torch.testing.assert_close(net.alpha.detach(), alpha - 0.05 * slope, rtol=1e-4, atol=1e-7)
    first_order = lam_train * gradients((alpha, values(net.weights)), net.train, "alpha")
    assert (slope - first_order).norm() > 0.01 * slope.norm()


def test_without_the_training_term_the_mixed_second_order_is_dartss():
    paths = []
    net, batches = mlp(), [(data(), data()) for _ in range(5)]
    for level in (second(RADIUS, lam_train=0.0), Unrolled(radius=RADIUS)):
        search = with_adam(net, 0.02, 1e-3)
        torch.manual_seed(1)
        paths.append(trajectory(level.step, search, batches))
    torch.testing.assert_close(*paths)


def test_both_losses_of_the_mixed_second_order_are_taken_at_one_step_ahead_of_a_noisy_loss():
    search, seen = toy(), []
    (weight,), exact = search.weights, search.loss

    def noisy(batch):
        seen.append((batch, weight.item()))
        return exact(batch) * torch.rand((), dtype=torch.float64)

    search.loss = noisy
    second(RADIUS).step(search, "train", "val")
    assert [batch for batch, _ in seen] == ["train"] * 4 + ["val"] + ["train"] * 3
    assert seen[1][1] == seen[4][1] != seen[0][1]


# Warm-up and switch


def test_weights_alone_leave_alphas_and_their_optimizer_alone():
    net = mlp(momentum=0.0, decay=0.0)
    point = net.alpha.detach().clone(), values(net.weights)
    losses = WeightsOnly().step(net.search, net.train, net.val)
    assert torch.equal(net.alpha.detach(), point[0])
    assert not net.search.alpha_optimizer.state
    slopes = gradients(point, net.train, "weights")
    for after, before, slope in zip(net.weights, point[1], slopes, strict=True):
        torch.testing.assert_close(after.detach(), before - 0.1 * slope)
    assert set(losses) == {"train_loss"}


class Named(Level):
    def __init__(self, name, seen):
        self.name, self.seen = name, seen

    def step(self, search, train, val):
        self.seen.append(self.name)
        return {}


@pytest.mark.parametrize(
    ("at", "rounds", "first"),
    [(0.3, 50, 15), (0.7, 50, 35), (0.3, 10, 3), (0.3, 5, 1), (0.5, 2, 1), (0.1, 5, 0)],
)
def test_a_switch_happens_after_the_rounds_that_lie_within_its_share(at, rounds, first):
    seen = []
    level = Switched(first=Named("first", seen), then=Named("then", seen), at=at)
    search = toy()
    for round in range(rounds):
        search.supernet.progress = (round + 1) / rounds
        level.step(search, "train", "val")
    assert seen == ["first"] * first + ["then"] * (rounds - first)


def test_a_switch_is_exact_if_one_of_its_levels_is():
    exact, other = Unrolled(radius=RADIUS), Bilevel()
    pairs = ((exact, other), (other, exact), (other, other))
    found = [Switched(first=first, then=then, at=0.5).exact for first, then in pairs]
    assert found == [True, True, False]


def test_a_switch_before_or_after_the_search_is_refused():
    for at in (0.0, 1.0, 15):
        with pytest.raises(ValueError, match=f"at={at}: use a share"):
            Switched(first=WeightsOnly(), then=Bilevel(), at=at)


def test_no_gradient_is_left_behind():
    net = mlp()
    for level in (
        Bilevel(),
        Unrolled(radius=RADIUS),
        SingleLevel(),
        MIXED,
        second(RADIUS),
        WeightsOnly(),
    ):
        level.step(net.search, net.train, net.val)
        assert all(parameter.grad is None for parameter in (net.alpha, *net.weights))


@pytest.mark.parametrize("clipped", ["alpha", "weight"])
@pytest.mark.parametrize(
    "level", [Bilevel(), SingleLevel(), MIXED, Unrolled(radius=1), second(1.0)]
)
def test_a_clip_bounds_the_norm_of_its_own_set_only(level, clipped):
    clip = 1e-3
    net = mlp(momentum=0.0, decay=0.0, **{f"{clipped}_clip": clip})
    alpha, weights = net.alpha.detach().clone(), values(net.weights)
    level.step(net.search, net.train, net.val)
    alpha_step = norm([net.alpha.detach() - alpha]) / 0.05
    weight_step = norm([a.detach() - b for a, b in zip(net.weights, weights, strict=True)]) / 0.1
    own, other = (alpha_step, weight_step) if clipped == "alpha" else (weight_step, alpha_step)
    assert own.item() == pytest.approx(clip, rel=2e-3)  # torch adds 1e-6 to the norm
    assert other > 2 * clip


# A real supernet: trial forwards leave no trace


def test_after_a_hypergradient_weights_and_statistics_are_the_same_to_the_bit():
    model, search, train, val = small_supernet()
    SingleLevel().step(search, train, val)  # momentum, and statistics that are no longer fresh
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    alpha = model.alpha.detach().clone()
    ((gradient, _),) = Unrolled(radius=RADIUS).hypergradients(search, train, val)
    assert gradient[0].shape == alpha.shape
    assert (gradient[0] != 0).any()
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(model.alpha, alpha)


def test_a_second_order_step_shows_batch_norms_the_training_batch_only():
    model, search, train, val = small_supernet()
    twin = copy.deepcopy(model)
    Unrolled(radius=RADIUS).step(search, train, val)
    with torch.no_grad():
        twin.alpha.copy_(model.alpha)
        twin(train[0])
    for (name, one), other in zip(
        model.network.named_buffers(), twin.network.buffers(), strict=True
    ):
        torch.testing.assert_close(one, other, msg=name)
        if name.endswith("num_batches_tracked"):
            assert one == 1


def test_the_hypergradient_of_a_supernet_predicts_what_its_alphas_do_after_one_step():
    """Against a difference of L_val(w'(alpha)) in a random direction: every forward by hand."""
    model, search, train, val = small_supernet()
    # ReLUs and maxima have kinks: the radius must be too small to step over one.
    ((gradient, _),) = Unrolled(radius=1e-5).hypergradients(search, train, val)
    direction, step = torch.randn_like(model.alpha), 1e-5
    losses = []
    for sign in (1, -1):
        twin = copy.deepcopy(model)
        with torch.no_grad():
            twin.alpha += sign * step * direction
        optimizer = torch.optim.SGD(twin.network.parameters(), 0.1, 0.9, weight_decay=3e-4)
        F.cross_entropy(twin(train[0])[0], train[1]).backward()
        optimizer.step()
        losses.append(F.cross_entropy(twin(val[0])[0], val[1]).item())
    slope = (losses[0] - losses[1]) / (2 * step)
    assert (gradient[0] * direction).sum().item() == pytest.approx(slope, rel=1e-4)


def test_a_switch_keeps_as_many_graphs_as_the_larger_of_its_levels():
    mixed = MixedLevel(lam_train=1.0, lam_val=1.0, normalise=True)
    assert [level.graphs for level in (Bilevel(), mixed)] == [1, 2]
    assert Switched(first=Bilevel(), then=mixed, at=0.5).graphs == 2
    assert Switched(first=WeightsOnly(), then=Bilevel(), at=0.5).graphs == 1


def test_a_switch_smooths_if_one_of_its_levels_does():
    smoothed = Smoothed(neighbour=RandomNoise(), eps_start=0.0, eps_end=0.1)
    for first, then in ((smoothed, Bilevel()), (Bilevel(), smoothed), (smoothed, smoothed)):
        assert Switched(first=first, then=then, at=0.5).smooths
    assert not Switched(first=WeightsOnly(), then=Bilevel(), at=0.5).smooths


def test_a_loss_that_the_alphas_are_not_in_moves_the_weights_only():
    """A drawn path on which nothing of them lies: all its edges are none."""
    search = toy(alpha_lr=0.1)
    weight = search.weights[0]
    search.loss = lambda batch: weight.sum()
    before = values(search.alphas)
    Bilevel().step(search, "train", "val")
    assert search.alphas[0].tolist() == [2.0]
    assert torch.equal(torch.cat(before), torch.cat(values(search.alphas)))
    assert weight.item() == pytest.approx(-2.5)
