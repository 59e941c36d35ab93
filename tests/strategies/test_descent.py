"""One optimizer step on each set: it moves that set alone, by its own gradient."""

from types import SimpleNamespace

import pytest
import torch
from smooth import data, gradients, mlp, small_supernet, toy, values, warm
from torch.autograd import grad

from nasrun.strategies.descent import Search
from nasrun.streams import Streams


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_the_weights_one_step_ahead_are_those_of_torchs_sgd():
    net = mlp()
    warm(net)
    ahead = net.search.lookahead(net.search.loss(net.train))
    net.search.update(weights=net.search.loss(net.train))
    for expected, w in zip(net.weights, ahead, strict=True):
        torch.testing.assert_close(w, expected.detach(), rtol=1e-12, atol=1e-14)


def test_an_update_of_alphas_leaves_weights_alone_and_one_of_weights_alphas():
    net = mlp()
    alpha, weights = net.alpha.detach().clone(), values(net.weights)
    net.search.update(alphas=net.search.loss(net.val))
    assert all(
        torch.equal(after, before) for after, before in zip(net.weights, weights, strict=True)
    )
    assert not torch.equal(net.alpha, alpha)
    alpha = net.alpha.detach().clone()
    net.search.update(weights=net.search.loss(net.train))
    assert torch.equal(net.alpha, alpha)
    assert not any(
        torch.equal(after, before) for after, before in zip(net.weights, weights, strict=True)
    )


def test_a_joint_update_adds_up_separate_gradients():
    net = mlp(momentum=0.0, decay=0.0)
    point = net.alpha.detach().clone(), values(net.weights)
    third = data()
    net.search.update(
        both=net.search.loss(net.train),
        alphas=2 * net.search.loss(net.val),
        weights=3 * net.search.loss(third),
    )
    slope = gradients(point, net.train, "alpha") + 2 * gradients(point, net.val, "alpha")
    torch.testing.assert_close(net.alpha.detach(), point[0] - 0.05 * slope)
    first, second = (gradients(point, batch, "weights") for batch in (net.train, third))
    for after, before, a, b in zip(net.weights, point[1], first, second, strict=True):
        torch.testing.assert_close(after.detach(), before - 0.1 * (a + 3 * b))


def test_a_clip_keeps_the_direction_and_spares_small_gradients():
    net = mlp(momentum=0.0, decay=0.0, alpha_clip=1e-3)
    alpha = net.alpha.detach().clone()
    slope = gradients((alpha, net.weights), net.val, "alpha")
    net.search.update(alphas=net.search.loss(net.val))
    step = (alpha - net.alpha.detach()) / 0.05
    torch.testing.assert_close(step, 1e-3 * slope / slope.norm(), rtol=1e-3, atol=0)
    alpha = net.alpha.detach().clone()
    net.search.update(alphas=1e-4 * net.search.loss(net.val))
    step = (alpha - net.alpha.detach()) / 0.05
    expected = 1e-4 * gradients((alpha, net.weights), net.val, "alpha")
    torch.testing.assert_close(step, expected)


@pytest.mark.parametrize("joint", [False, True])
def test_weights_that_a_loss_does_not_depend_on_do_not_even_decay(joint):
    alpha, used, unused = (torch.ones(2, requires_grad=True) for _ in range(3))
    weights = [used, unused]
    search = Search(
        streams=Streams(0),
        loss=lambda batch: (used * alpha * batch).sum(),
        supernet=SimpleNamespace(progress=1.0),
        alphas=[alpha],
        weights=weights,
        alpha_optimizer=torch.optim.SGD([alpha], 0.1),
        weight_optimizer=torch.optim.SGD(weights, 0.1, momentum=0.9, weight_decay=0.1),
        weight_clip=5.0,
    )
    with torch.no_grad():  # once part of the loss, it has momentum
        search.weight_optimizer.state[unused]["momentum_buffer"] = torch.ones(2)
    for _ in range(2):
        loss = search.loss(1.0)
        search.update(both=loss) if joint else search.update(weights=loss)
    assert unused.tolist() == [1.0, 1.0]
    assert (used < 1.0).all()


def test_weights_and_statistics_are_put_back_when_a_trial_fails():
    model, search, train, _ = small_supernet()
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    trial = [torch.zeros_like(w) for w in search.weights]

    def interrupted():
        with search.kept(values(search.weights), trial):
            search.loss(train)
            assert all((w == 0).all() for w in search.weights)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_loss_of_one_set_has_no_gradient_of_the_other():
    search = toy()
    alphas, weights = search.alphas_loss("val"), search.weights_loss("train")
    assert grad(alphas, [*search.alphas, *search.weights], allow_unused=True)[1] is None
    assert grad(weights, [*search.alphas, *search.weights], allow_unused=True)[0] is None
    assert all(value.requires_grad for value in (*search.alphas, *search.weights))
