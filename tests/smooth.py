"""Searches with known results: the toy of the DARTS paper, a smooth net, a small supernet."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch.autograd import grad

from nasrun.spaces.darts import DartsSpace
from nasrun.strategies.descent import Search
from nasrun.streams import Streams
from nasrun.supernet.relaxation import Softmax
from nasrun.supernet.supernet import Supernet

# The toy of the DARTS paper (1806.09055, section 2.3): L_val = a w - 2a + 1, and
# L_train = w^2 - 2 a w + a^2, whose solution is w = a. Start at (2, -2).


def toy(alpha_lr=0.0, weight_lr=0.5, a=2.0, w=-2.0):
    alpha, weight = (torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (a, w))

    def loss(batch):
        if batch == "train":
            value = weight**2 - 2 * alpha * weight + alpha**2
        else:
            value = alpha * weight - 2 * alpha + 1
        return value.sum()

    return Search(
        streams=Streams(0),
        loss=loss,
        supernet=SimpleNamespace(progress=1.0),
        alphas=[alpha],
        weights=[weight],
        alpha_optimizer=torch.optim.SGD([alpha], alpha_lr),
        weight_optimizer=torch.optim.SGD([weight], weight_lr),
    )


# A smooth network: two linear layers, between them a mixture of three activations by alpha.


def function(alpha, weights, batch):
    first, bias, second = weights
    hidden = F.linear(batch[0], first, bias)
    candidates = torch.stack([hidden.tanh(), hidden.sin(), hidden])
    mixed = torch.einsum("k,kbh->bh", alpha.softmax(0), candidates)
    return F.cross_entropy(mixed @ second.T, batch[1])


def data():
    return torch.randn(12, 5, dtype=torch.float64), torch.randint(3, (12,))


def mlp(*, momentum=0.9, decay=0.01, lr=0.1, alpha_lr=0.05, alpha_clip=None, weight_clip=None):
    """A search on the smooth network, with everything that a test may ask for beside it."""
    alpha = torch.randn(3, dtype=torch.float64).requires_grad_()
    weights = [
        torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in ((7, 5), (7,), (3, 7))
    ]
    search = Search(
        streams=Streams(0),
        loss=lambda batch: function(alpha, weights, batch),
        supernet=SimpleNamespace(progress=1.0),
        alphas=[alpha],
        weights=weights,
        alpha_optimizer=torch.optim.SGD([alpha], alpha_lr),
        weight_optimizer=torch.optim.SGD(weights, lr, momentum, weight_decay=decay),
        alpha_clip=alpha_clip,
        weight_clip=weight_clip,
    )
    return SimpleNamespace(search=search, alpha=alpha, weights=weights, train=data(), val=data())


def values(tensors):
    return [tensor.detach().clone() for tensor in tensors]


def gradients(point, batch, wanted):
    """d loss / d wanted at a point (alpha, weights) of its own."""
    alpha, weights = point
    alpha = alpha.detach().clone().requires_grad_()
    weights = [w.detach().clone().requires_grad_() for w in weights]
    found = grad(function(alpha, weights, batch), {"alpha": [alpha], "weights": weights}[wanted])
    return found[0] if wanted == "alpha" else list(found)


def norm(tensors):
    return sum(t.square().sum() for t in tensors).sqrt()


def warm(net, steps=3):
    """Some steps, so that there is momentum."""
    for _ in range(steps):
        net.search.update(weights=net.search.loss(data()))


def small_supernet():
    space = DartsSpace(
        operations=("none", "avg_pool_3x3", "skip_connect", "dil_conv_3x3"),
        nodes=1,
        kept_edges=1,
        channels=2,
        layers=3,
    )
    network = space.network(inputs=1, outputs=3)
    model = Supernet(space, network, Softmax(), alpha_mean=0.0, alpha_std=0.1).double()
    search = Search(
        streams=Streams(0),
        loss=lambda batch: F.cross_entropy(model(batch[0])[0], batch[1]),
        supernet=model,
        alphas=[model.alpha],
        weights=model.weights(),
        buffers=list(network.buffers()),
        alpha_optimizer=torch.optim.Adam([model.alpha], 0.01, betas=(0.5, 0.999)),
        weight_optimizer=torch.optim.SGD(model.weights(), 0.1, 0.9, weight_decay=3e-4),
        weight_clip=5.0,
    )
    batches = [(torch.randn(8, 1, 8, 8).double(), torch.randint(3, (8,))) for _ in range(2)]
    return model, search, *batches
