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
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from nasrun.supernet.supernet import Supernet

Losses = dict[str, Tensor]


class Level(ABC):
    """One step of a search.

    `graphs` are the forward passes that wait for their gradients at the same time: so many times a
    step keeps its activations.
    """

    graphs: int = 1

    @property
    def phases(self) -> tuple[tuple[float, float], ...]:
        """When the step changes: the share of the search before it, and the share that it lasts."""
        return ((0.0, 1.0),)

    @abstractmethod
    def step(self, search: Search, train: Any, val: Any) -> Losses:
        """Move alphas and weights once; returns the detached losses by name."""


@dataclass(frozen=True, kw_only=True)
class Bilevel(Level):
    """alpha <- descend L_val(w, alpha);  w <- descend L_train (DARTS first order, 1806.09055)."""

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        val_loss = search.alphas_loss(val)
        search.update(alphas=val_loss)
        val_loss = val_loss.detach()  # what no alpha's gradient passed is freed with the graph only
        train_loss = search.weights_loss(train)
        search.update(weights=train_loss)
        return {"train_loss": train_loss.detach(), "alpha_loss": val_loss}


@dataclass(frozen=True, kw_only=True)
class Unrolled(Level):
    """alpha <- descend L_val(w', alpha), w' = w - xi d_w L_train  (DARTS second order).

    xi is the weights' learning rate, w' includes momentum and weight decay, and the mixed second
    derivative is a central difference with eps = `radius` / |d_w' L_val| around w, not w'.
    """

    radius: float

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise ValueError(f"radius={self.radius}: use more than 0")

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        gradient, val_loss = self.hypergradient(search, train, val)
        search.descend_alphas(gradient)
        train_loss = search.weights_loss(train)
        search.update(weights=train_loss)
        return {"train_loss": train_loss.detach(), "alpha_loss": val_loss.detach()}

    def hypergradient(self, search: Search, train: Any, val: Any) -> tuple[list[Tensor], Tensor]:
        """d L_val(w'(alpha), alpha) / d alpha with w' one step ahead, and L_val(w', alpha).

        The difference of two gradients shows every error that they have: `Search.precise`.
        """
        with search.precise():
            return self._hypergradient(search, train, val)

    def _hypergradient(self, search: Search, train: Any, val: Any) -> tuple[list[Tensor], Tensor]:
        xi, weights = search.weight_lr, [w.detach().clone() for w in search.weights]
        seed = int(torch.randint(2**62, ()))  # the training loss is one function of w: same noise
        with search.kept(weights), _noise(seed):
            ahead = search.lookahead(search.weights_loss(train))
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
                sides.append(_all_gradients(search.alphas_loss(train), search.alphas))
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
    """alpha <- descend lam_train L_train + lam_val L_val;  w <- descend L_train  (MiLeNAS).

    2003.12238, first order, where lam_train = 1 and lam_val = lam. `normalise` divides both by
    their sum: the weights are then 1 / (1 + lam) and lam / (1 + lam), so that the alphas' weight
    decay and clip mean the same at every lam. One forward on the training batch serves both
    updates; the released code runs it twice, the second time with the new alphas.
    """

    graphs = 2
    lam_train: float
    lam_val: float
    normalise: bool

    def __post_init__(self) -> None:
        _check_mix(self.lam_train, self.lam_val)

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        lam_train, lam_val = _mix(self.lam_train, self.lam_val, self.normalise)
        train_loss, val_loss = search.loss(train), search.alphas_loss(val)
        search.update(both=train_loss, alphas_share=lam_train, alphas=lam_val * val_loss)
        return {"train_loss": train_loss.detach(), "alpha_loss": val_loss.detach()}


@dataclass(frozen=True, kw_only=True)
class UnrolledMixed(Level):
    """alpha <- descend lam_train L_train(w', alpha) + lam_val L_val(w', alpha)  (MiLeNAS, 2nd).

    w' and each term's hypergradient are those of `Unrolled`, which `unrolled` is. Here the paper
    puts its lambda on the training term, in first order on the validation term.
    """

    unrolled: Unrolled
    lam_train: float
    lam_val: float
    normalise: bool

    def __post_init__(self) -> None:
        _check_mix(self.lam_train, self.lam_val)

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        lam_train, lam_val = _mix(self.lam_train, self.lam_val, self.normalise)
        of_train, _ = self.unrolled.hypergradient(search, train, train)
        of_val, val_loss = self.unrolled.hypergradient(search, train, val)
        search.descend_alphas(
            [lam_train * t + lam_val * v for t, v in zip(of_train, of_val, strict=True)]
        )
        train_loss = search.weights_loss(train)
        search.update(weights=train_loss)
        return {"train_loss": train_loss.detach(), "alpha_loss": val_loss.detach()}


@dataclass(frozen=True, kw_only=True)
class WeightsOnly(Level):
    """w <- descend L_train(w, alpha), alpha as it is (DARTS-PT's fixed alpha, 2108.04392)."""

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        train_loss = search.weights_loss(train)
        search.update(weights=train_loss)
        return {"train_loss": train_loss.detach()}


@dataclass(frozen=True, kw_only=True)
class Switched(Level):
    """`first` in the rounds that lie within the share `at` of the search, `then` afterwards.

    A warm-up (PC-DARTS: alphas rest for 15 of 50 epochs) or a change of method (MiLeNAS: bilevel
    until epoch 35 of 50, mixed after it). Both move the same parameters with the same optimizers.
    """

    first: Level
    then: Level
    at: float

    def __post_init__(self) -> None:
        if not 0 < self.at < 1:
            raise ValueError(
                f"at={self.at}: use a share of the search, more than 0 and less than 1"
            )
        object.__setattr__(self, "graphs", max(self.first.graphs, self.then.graphs))

    @property
    def phases(self) -> tuple[tuple[float, float], ...]:
        return ((0.0, self.at), (self.at, 1.0 - self.at))

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        level = self.first if search.progress <= self.at else self.then
        return level.step(search, train, val)


def _check_mix(lam_train: float, lam_val: float) -> None:
    if lam_train < 0 or lam_val < 0 or lam_train + lam_val == 0:
        raise ValueError(
            f"lam_train={lam_train} lam_val={lam_val}: use 0 or more, and more than 0 for one"
        )


def _mix(lam_train: float, lam_val: float, normalise: bool) -> tuple[float, float]:
    total = lam_train + lam_val if normalise else 1.0
    return lam_train / total, lam_val / total


class Search:
    """Two sets of parameters, an optimizer for each, and the loss that both move.

    `loss(batch)` is a fresh forward, `loss(batch, mixture)` one of the `supernet` with these
    weights of its candidates; `weights` exclude `alphas`. `penalty()` is added to whatever
    loss a level makes the alphas descend. The clips are the largest norms of a gradient, null for
    none. `buffers` are put back after a trial forward (`kept`). `progress` in (0, 1] is the share
    of the search that the running round completes; whoever runs the rounds sets it.
    `channels_first` says how the loss is to lay images out in memory (`precise`).
    """

    progress: float = 1.0
    channels_first: bool = False

    def __init__(
        self,
        *,
        loss: Callable[..., Tensor],
        supernet: Supernet | None = None,
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
        self.supernet = supernet
        self.alphas, self.weights, self.buffers = list(alphas), list(weights), list(buffers)
        self.alpha_optimizer, self.weight_optimizer = alpha_optimizer, weight_optimizer
        self.penalty = penalty
        self.alpha_clip, self.weight_clip = alpha_clip, weight_clip

    def alphas_loss(self, batch: Any) -> Tensor:
        """A fresh forward for the alphas alone: what the weights' gradients need is not kept."""
        with _frozen(self.weights):
            return self.loss(batch)

    def weights_loss(self, batch: Any) -> Tensor:
        """A fresh forward for the weights alone."""
        with _frozen(self.alphas):
            return self.loss(batch)

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
        alphas_share: float = 1.0,
    ) -> None:
        """One optimizer step on each set that a loss is given for.

        `both` moves alphas and weights with one backward pass, the alphas by `alphas_share` times
        its gradient; `alphas` then adds to the alphas' gradient, `weights` to the weights'.
        """
        alpha_gradient = _gradients(alphas, self.alphas) if alphas is not None else None
        weight_gradient = _gradients(weights, self.weights) if weights is not None else None
        if both is not None:
            shared = _gradients(both, [*self.alphas, *self.weights])
            own = [g if g is None else alphas_share * g for g in shared[: len(self.alphas)]]
            alpha_gradient = _sum(own, alpha_gradient)
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
            raise ValueError(f"weight_optimizer={name}: an unrolled level needs SGD; use sgd")
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
    def precise(self) -> Iterator[None]:
        """Compute on a CPU as the released codes do, with channels first in memory.

        With channels last torch adds up a batch norm's statistics in single precision, and so does
        a folded norm: logits are off by up to 1e-5 instead of 7e-7, and more pixels change sides at
        a ReLU or in a maximum, each of which is a jump of the gradient.
        """
        if self.channels_first or any(w.device.type != "cpu" for w in self.weights):
            yield
            return
        before = [w.data for w in self.weights]
        for w in self.weights:
            w.data = w.data.clone(memory_format=torch.contiguous_format)
        self.channels_first = True
        try:
            yield
        finally:
            self.channels_first = False
            for w, value in zip(self.weights, before, strict=True):
                w.data = value

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
def _frozen(parameters: Sequence[Tensor]) -> Iterator[None]:
    """What is computed inside has no gradient with respect to these."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def _noise(seed: int) -> Iterator[None]:
    """Draw the random numbers of this seed, then go on with the global ones."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor | None]:
    """d loss / d parameters, None for one that the loss does not depend on."""
    if not loss.requires_grad:  # a drawn path on which nothing of them lies
        return [None] * len(parameters)
    return list(torch.autograd.grad(loss, list(parameters), allow_unused=True))


def _all_gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """d loss / d parameters, zeros for one that the loss does not depend on."""
    if not loss.requires_grad:
        return [torch.zeros_like(parameter) for parameter in parameters]
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
        if value is not None and value.stride() != parameter.stride():  # fused kernels want them so
            value = torch.empty_like(parameter).copy_(value)
        parameter.grad = value  # None: not part of this loss, the optimizer leaves it alone
    if clip is not None:
        clip_grad_norm_(parameters, clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _assign(targets: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for target, value in zip(targets, values, strict=True):
            target.copy_(value)
