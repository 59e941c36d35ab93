"""Which loss moves what: the levels of differentiable search. Read this file first.

`alpha` are the architecture's parameters, `w` the weights, `train` and `val` one batch of either
half of the data. Each level is one method's equation; a relaxation says how alphas become mixture
weights. Every update differentiates with respect to exactly the parameters it moves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

Losses = dict[str, Tensor]


class Level(ABC):
    """One step of a search.

    `graphs` are the forward passes that wait for their gradients at the same time: so many times a
    step keeps its activations.
    """

    graphs: ClassVar[int] = 1

    @abstractmethod
    def step(self, search: Search, train: Any, val: Any) -> Losses:
        """Move alphas and weights once; returns the detached losses by name."""


@dataclass(frozen=True, kw_only=True)
class Bilevel(Level):
    """alpha <- descend L_val(w, alpha);  w <- descend L_train (DARTS first order, 1806.09055)."""

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        val_loss = search.loss(val)
        search.update(alphas=val_loss)
        train_loss = search.loss(train)
        search.update(weights=train_loss)
        return {"train_loss": train_loss.detach(), "alpha_loss": val_loss.detach()}


@dataclass(frozen=True, kw_only=True)
class Unrolled(Level):
    """alpha <- descend L_val(w', alpha), w' = w - xi d_w L_train  (DARTS second order).

    xi is the weights' learning rate, w' includes momentum and weight decay, and the mixed second
    derivative is a central difference with eps = `radius` / |d_w' L_val| around w, not w'.
    """

    radius: float

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise ValueError(f"radius={self.radius}: more than 0")

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        gradient, val_loss = self.hypergradient(search, train, val)
        search.descend_alphas(gradient)
        train_loss = search.loss(train)
        search.update(weights=train_loss)
        return {"train_loss": train_loss.detach(), "alpha_loss": val_loss.detach()}

    def hypergradient(self, search: Search, train: Any, val: Any) -> tuple[list[Tensor], Tensor]:
        """d L_val(w'(alpha), alpha) / d alpha with w' one step ahead, and L_val(w', alpha)."""
        xi, weights = search.weight_lr, [w.detach().clone() for w in search.weights]
        seed = int(torch.randint(2**62, ()))  # the training loss is one function of w: same noise
        with search.kept(weights), _noise(seed):
            ahead = search.lookahead(search.loss(train))
        with search.kept(weights, ahead):
            val_loss = search.loss(val)
            both = _all_gradients(val_loss, [*search.alphas, *search.weights])
        direct, direction = both[: len(search.alphas)], both[len(search.alphas) :]
        norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in direction]))
        eps = self.radius / norm.clamp(min=torch.finfo(norm.dtype).tiny)
        sides = []
        for sign in (1.0, -1.0):
            moved = [w + sign * eps * v for w, v in zip(weights, direction, strict=True)]
            with search.kept(weights, moved), _noise(seed):
                sides.append(_all_gradients(search.loss(train), search.alphas))
        mixed = [(plus - minus) / (2 * eps) for plus, minus in zip(*sides, strict=True)]
        return [g - xi * h for g, h in zip(direct, mixed, strict=True)], val_loss


@dataclass(frozen=True, kw_only=True)
class SingleLevel(Level):
    """(alpha, w) <- descend L_train, one forward and backward for both (SNAS, 1812.09926)."""

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        loss = search.loss(train)
        search.update(both=loss)
        return {"train_loss": loss.detach()}


@dataclass(frozen=True, kw_only=True)
class MixedLevel(Level):
    """alpha <- descend L_train + lam L_val;  w <- descend L_train  (MiLeNAS, 2003.12238).

    One forward on the training batch serves both updates; the released code runs it twice, the
    second time with the new alphas.
    """

    graphs = 2
    lam: float

    def __post_init__(self) -> None:
        if self.lam < 0:
            raise ValueError(f"lam={self.lam}: from 0 (single level) on")

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        train_loss, val_loss = search.loss(train), search.loss(val)
        search.update(both=train_loss, alphas=self.lam * val_loss)
        return {"train_loss": train_loss.detach(), "alpha_loss": val_loss.detach()}


class Search:
    """Two sets of parameters, an optimizer for each, and the loss that both move.

    `loss(batch)` is a fresh forward; `weights` exclude `alphas`. `penalty()` is added to whatever
    loss a level makes the alphas descend. The clips are the largest norms of a gradient, null for
    none. `buffers` are put back after a trial forward (`kept`).
    """

    def __init__(
        self,
        *,
        loss: Callable[[Any], Tensor],
        alphas: Sequence[Tensor],
        weights: Sequence[Tensor],
        buffers: Sequence[Tensor] = (),
        alpha_optimizer: torch.optim.Optimizer,
        weight_optimizer: torch.optim.Optimizer,
        penalty: Callable[[], Tensor] | None = None,
        alpha_clip: float | None = None,
        weight_clip: float | None = None,
    ) -> None:
        self.loss = loss
        self.alphas, self.weights, self.buffers = list(alphas), list(weights), list(buffers)
        self.alpha_optimizer, self.weight_optimizer = alpha_optimizer, weight_optimizer
        self.penalty = penalty
        self.alpha_clip, self.weight_clip = alpha_clip, weight_clip

    @property
    def weight_lr(self) -> float:
        """The weights' current learning rate."""
        return self.weight_optimizer.param_groups[0]["lr"]

    def update(
        self,
        *,
        alphas: Tensor | None = None,
        weights: Tensor | None = None,
        both: Tensor | None = None,
    ) -> None:
        """One optimizer step on each set that a loss is given for.

        `both` moves alphas and weights with one backward pass; `alphas` then adds to the alphas'
        gradient, `weights` to the weights'.
        """
        alpha_gradient = _gradients(alphas, self.alphas) if alphas is not None else None
        weight_gradient = _gradients(weights, self.weights) if weights is not None else None
        if both is not None:
            shared = _gradients(both, [*self.alphas, *self.weights])
            alpha_gradient = _sum(shared[: len(self.alphas)], alpha_gradient)
            weight_gradient = _sum(shared[len(self.alphas) :], weight_gradient)
        if alpha_gradient is not None:
            self.descend_alphas(alpha_gradient)
        if weight_gradient is not None:
            _descend(self.weight_optimizer, self.weights, weight_gradient, self.weight_clip)

    def descend_alphas(self, gradient: Sequence[Tensor | None]) -> None:
        """One step of the alphas' optimizer along a given gradient, and that of the penalty."""
        if self.penalty is not None:
            gradient = _sum(gradient, _gradients(self.penalty(), self.alphas))
        _descend(self.alpha_optimizer, self.alphas, gradient, self.alpha_clip)

    def lookahead(self, loss: Tensor) -> list[Tensor]:
        """The weights after one SGD step on this loss: momentum and decay included, no clip."""
        if not isinstance(self.weight_optimizer, torch.optim.SGD):
            name = type(self.weight_optimizer).__name__
            raise ValueError(f"weight_optimizer={name}: an unrolled level looks ahead by SGD only")
        group = self.weight_optimizer.param_groups[0]
        momentum, decay, lr = group.get("momentum", 0.0), group["weight_decay"], group["lr"]
        gradients = _all_gradients(loss, self.weights)
        ahead = []
        for w, gradient in zip(self.weights, gradients, strict=True):
            buffer = self.weight_optimizer.state[w].get("momentum_buffer")
            direction = gradient + decay * w.detach()
            if buffer is not None:
                direction = direction + momentum * buffer
            ahead.append(w.detach() - lr * direction)
        return ahead

    @contextmanager
    def kept(
        self, weights: Sequence[Tensor], trial: Sequence[Tensor] | None = None
    ) -> Iterator[None]:
        """Run trial forwards, with other weights if given; weights and buffers are put back."""
        buffers = [b.clone() for b in self.buffers]
        _assign(self.weights, trial or weights)
        try:
            yield
        finally:
            _assign(self.weights, weights)
            _assign(self.buffers, buffers)


@contextmanager
def _noise(seed: int) -> Iterator[None]:
    """Draw the random numbers of this seed, then go on with the global ones."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor | None]:
    """d loss / d parameters, None for one that the loss does not depend on."""
    return list(torch.autograd.grad(loss, list(parameters), allow_unused=True))


def _all_gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """d loss / d parameters, zeros for one that the loss does not depend on."""
    return list(torch.autograd.grad(loss, list(parameters), materialize_grads=True))


def _sum(
    first: Sequence[Tensor | None], second: Sequence[Tensor | None] | None
) -> list[Tensor | None]:
    if second is None:
        return list(first)
    return [
        b if a is None else a if b is None else a + b for a, b in zip(first, second, strict=True)
    ]


def _descend(
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[Tensor],
    gradient: Sequence[Tensor | None],
    clip: float | None,
) -> None:
    for parameter, value in zip(parameters, gradient, strict=True):
        parameter.grad = value  # None: not part of this loss, the optimizer leaves it alone
    if clip is not None:
        clip_grad_norm_(parameters, clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _assign(targets: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for target, value in zip(targets, values, strict=True):
            target.copy_(value)
