"""How sharp the validation loss is in the alphas: the largest eigenvalue of its Hessian.

RobustDARTS (1909.09656): it grows when a search of DARTS collapses, and the larger it is, the more
accuracy the found cell loses. The paper computes the whole Hessian; here Lanczos's method finds its
largest eigenvalue from a few products with vectors, which a second backward pass gives exactly.

Where we differ from the released code: the images are the same in each round, and not augmented;
the mixture is the relaxation's mean; the Hessian is that of the loss alone, without the alphas'
weight decay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite, nan

import torch
import torch.nn.functional as F
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from nasrun.keyed import keyed
from nasrun.spaces.supernet import batch_statistics
from nasrun.strategies.descent import laid_out
from nasrun.supernet.supernet import Supernet
from nasrun.tasks.base import Batch, ImageTask, Split

Product = Callable[[Tensor], Tensor]
"""Maps a vector to a symmetric matrix times the vector; both are (n,) in double precision."""


GRAPHS = 3
"""Ours: it takes less memory than that many forward passes of a training step (2.3 measured)."""


@dataclass(frozen=True)
class Eigenvalue:
    """An eigenvalue; some eigenvalue is nearer to `value` than `error`.

    `products` is the number of products with vectors that it took.
    """

    value: float
    error: float
    products: int


@dataclass(frozen=True, kw_only=True)
class Curvature:
    """The largest eigenvalue of the Hessian of the loss on some images with respect to the alphas.

    `images` is the number of validation images, a fixed stratified part; they are one batch. It
    ends when its `error` is at most `tolerance` times its value, or after `products` products.
    """

    images: int
    tolerance: float = 1e-3
    products: int = 60

    def __post_init__(self) -> None:
        if self.images < 2:
            raise ValueError(f"images={self.images}: use at least 2, for batch norm")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance={self.tolerance}: use more than 0 and less than 1")
        if self.products < 1:
            raise ValueError(f"products={self.products}: use 1 or more")

    def check(self, supernet: Supernet, task: ImageTask, validation: Split) -> None:
        """Raise ValueError if there are too few images, or no second derivative."""
        with keyed("curvature"):
            task.subset(validation, self.images)
        if not supernet.mixture(sampled=False).weights.requires_grad:
            name = type(supernet.relaxation).__name__
            raise ValueError(
                f"curvature: with relaxation={name}, the supernet is measured with one "
                "choice per decision, so its loss has no second derivative; use null"
            )

    def measure(self, supernet: Supernet, task: ImageTask, validation: Split) -> Eigenvalue:
        """Return the eigenvalue; batch norms use the batch, and nothing is changed or drawn."""
        part = task.subset(validation, self.images)
        (batch,) = part.batches(self.images)
        with task.budget.precisely(), hessian(supernet, batch) as product:
            size = sum(alphas.numel() for alphas in supernet.alphas())
            return largest_eigenvalue(
                product, size, tolerance=self.tolerance, products=self.products
            )


@contextmanager
def hessian(supernet: Supernet, batch: Batch) -> Iterator[Product]:
    """Yield the product with the Hessian of the batch's cross entropy with respect to the alphas.

    H v = d (g . v) / d alpha, with g = d L / d alpha, whose graph is kept inside. It is computed
    with channels first in memory, since a folded norm has no second derivative.
    """
    images, labels = batch
    weights, alphas = supernet.weights(), supernet.alphas()
    trained = [weight for weight in weights if weight.requires_grad]
    with batch_statistics(supernet), laid_out(weights):
        for weight in trained:
            weight.requires_grad_(False)
        try:
            logits, *_ = supernet.network(images.contiguous(), supernet.mixture(sampled=False))
            loss = F.cross_entropy(logits, labels)
            gradients = torch.autograd.grad(loss, alphas, create_graph=True, materialize_grads=True)
            gradient = torch.cat([each.flatten() for each in gradients])

            def product(vector: Tensor) -> Tensor:
                along = gradient @ vector.to(gradient)
                rows = torch.autograd.grad(along, alphas, retain_graph=True, materialize_grads=True)
                return torch.cat([row.flatten() for row in rows]).cpu().double()

            yield product
        finally:
            for weight in trained:
                weight.requires_grad_(True)


def largest_eigenvalue(
    product: Product, size: int, *, tolerance: float, products: int
) -> Eigenvalue:
    """Return the largest eigenvalue of a symmetric matrix, (size, size), by Lanczos's method.

    Every new vector is made orthogonal to all before it, so that none returns by rounding errors.
    """
    start = torch.randn(size, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        new = product(basis[-1])
        diagonal.append(float(new @ basis[-1]))
        if not isfinite(diagonal[-1]):
            return Eigenvalue(nan, nan, len(diagonal))
        known = torch.stack(basis)
        for _ in range(2):
            new = new - known.T @ (known @ new)
        length = float(new.norm())
        values, vectors = eigh_tridiagonal(diagonal, beside)
        value, error = float(values[-1]), length * abs(float(vectors[-1, -1]))
        enough = error <= tolerance * abs(value)
        if enough or len(basis) == min(size, products):
            return Eigenvalue(value, error, len(diagonal))
        beside.append(length)
        basis.append(new / length)
