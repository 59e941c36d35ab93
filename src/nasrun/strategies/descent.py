"""Alphas and weights descend a loss, each set by its own gradients and its own optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from nasrun.streams import Streams
from nasrun.supernet.supernet import Supernet
from nasrun.world import ALONE, World


class Search:
    """Two sets of parameters, an optimizer for each, and the loss that both descend.

    `loss(batch)` runs a new forward pass, `loss(batch, mixture)` one of the `supernet` with these
    weights of its candidates; `weights` exclude `alphas`. `penalty()` is added to each loss that
    the alphas descend. A clip is the largest norm of a gradient, `None` for no clip. `buffers` are
    restored after a trial forward pass (`kept`). `precisely()` is the context in which the loss is
    computed in fp32; `channels_first` tells it how to lay images out in memory (`precise`).
    """

    channels_first: bool = False

    def __init__(
        self,
        *,
        loss: Callable[..., Tensor],
        streams: Streams,
        supernet: Supernet,
        alphas: Sequence[Tensor],
        weights: Sequence[Tensor],
        buffers: Sequence[Tensor] = (),
        alpha_optimizer: torch.optim.Optimizer,
        weight_optimizer: torch.optim.Optimizer,
        penalty: Callable[[], Tensor] | None = None,
        alpha_clip: float | None = None,
        weight_clip: float | None = None,
        precisely: Callable[[], AbstractContextManager[None]] = nullcontext,
        world: World = ALONE,
    ) -> None:
        self.loss = loss
        self.streams = streams
        self.supernet = supernet
        self.alphas, self.weights, self.buffers = list(alphas), list(weights), list(buffers)
        self.alpha_optimizer, self.weight_optimizer = alpha_optimizer, weight_optimizer
        self.penalty = penalty
        self.alpha_clip, self.weight_clip = alpha_clip, weight_clip
        self.precisely = precisely
        self.world = world

    def alphas_loss(self, batch: Any) -> Tensor:
        """Return the loss of a new forward pass that keeps only what gradients of alphas need."""
        with _frozen(self.weights):
            return self.loss(batch)

    def weights_loss(self, batch: Any) -> Tensor:
        """Return the loss of a new forward pass that keeps only what gradients of weights need."""
        with _frozen(self.alphas):
            return self.loss(batch)

    @property
    def weight_lr(self) -> float:
        """Current learning rate of the weights."""
        return self.weight_optimizer.param_groups[0]["lr"]

    def update(
        self,
        *,
        alphas: Tensor | None = None,
        weights: Tensor | None = None,
        both: Tensor | None = None,
        alphas_share: float = 1.0,
    ) -> None:
        """Take one optimizer step on each set for which a loss is given.

        `both` gives gradients to alphas and weights by one backward pass, those of the alphas
        multiplied by `alphas_share`; the gradients of `alphas` and of `weights` are added to them.
        All are averaged over the processes that share the batch.
        """
        alpha_gradient = self._of(alphas, self.alphas) if alphas is not None else None
        weight_gradient = self._of(weights, self.weights) if weights is not None else None
        if both is not None:
            shared = self._of(both, [*self.alphas, *self.weights])
            own = [g if g is None else alphas_share * g for g in shared[: len(self.alphas)]]
            alpha_gradient = _sum(own, alpha_gradient)
            weight_gradient = _sum(shared[len(self.alphas) :], weight_gradient)
        if alpha_gradient is not None:
            self.descend_alphas(alpha_gradient)
        if weight_gradient is not None:
            _descend(self.weight_optimizer, self.weights, weight_gradient, self.weight_clip)

    def descend_alphas(self, gradient: Sequence[Tensor | None]) -> None:
        """Take one step on the alphas along this gradient plus that of the penalty."""
        if self.penalty is not None:
            gradient = _sum(gradient, _gradients(self.penalty(), self.alphas))
        _descend(self.alpha_optimizer, self.alphas, gradient, self.alpha_clip)

    def gradients(self, loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return d loss / d parameters of the whole batch, of which `loss` is that of a slice.

        It is zero for a parameter on which the loss does not depend.
        """
        found = self._of(loss, parameters)
        pairs = zip(parameters, found, strict=True)
        return [torch.zeros_like(p) if gradient is None else gradient for p, gradient in pairs]

    def _of(self, loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor | None]:
        found = _gradients(loss, parameters)
        means = iter(self.world.averaged([each for each in found if each is not None]))
        return [each if each is None else next(means) for each in found]

    def lookahead(self, loss: Tensor) -> list[Tensor]:
        """Return the weights after one unclipped SGD step on this loss, with momentum and decay.

        As in a step, weights on which the loss does not depend stay.
        """
        group = self.weight_optimizer.param_groups[0]
        momentum, decay, lr = group.get("momentum", 0.0), group["weight_decay"], group["lr"]
        ahead = []
        for w, gradient in zip(self.weights, self._of(loss, self.weights), strict=True):
            if gradient is None:
                ahead.append(w.detach())
                continue
            buffer = self.weight_optimizer.state[w].get("momentum_buffer")
            direction = gradient + decay * w.detach()
            if buffer is not None:
                direction = direction + momentum * buffer
            ahead.append(w.detach() - lr * direction)
        return ahead

    @contextmanager
    def precise(self) -> Iterator[None]:
        """Compute inside in fp32, on a CPU with channels first in memory, as the released codes do.

        bf16 and TF32 keep 8 and 11 binary digits of a number, so a difference of gradients at two
        near points would be rounding errors. With channels last on a CPU, torch sums the statistics
        of a batch norm in single precision, and so does a folded norm: the error of logits is up to
        1e-5 instead of 7e-7, and more pixels change sides at a ReLU or in a maximum. Each such
        change is a jump of the gradient.
        """
        if self.channels_first:
            yield
            return
        with self.precisely(), laid_out(self.weights) as changed:
            self.channels_first = changed
            try:
                yield
            finally:
                self.channels_first = False

    @contextmanager
    def kept(
        self, weights: Sequence[Tensor], trial: Sequence[Tensor] | None = None
    ) -> Iterator[None]:
        """Run trial forward passes, on the weights `trial` if given, then restore all tensors."""
        buffers = [b.clone() for b in self.buffers]
        _assign(self.weights, trial or weights)
        try:
            yield
        finally:
            _assign(self.weights, weights)
            _assign(self.buffers, buffers)


@contextmanager
def laid_out(weights: Sequence[Tensor]) -> Iterator[bool]:
    """Lay these weights out with channels first inside, on a CPU; yield whether it does so."""
    if any(w.device.type != "cpu" for w in weights):
        yield False
        return
    before = [w.data for w in weights]
    for w in weights:
        w.data = w.data.clone(memory_format=torch.contiguous_format)
    try:
        yield True
    finally:
        for w, value in zip(weights, before, strict=True):
            w.data = value


@contextmanager
def _frozen(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Compute inside without gradients with respect to these parameters."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor | None]:
    """Return d loss / d parameters, `None` for one on which the loss does not depend."""
    if not loss.requires_grad:  # a sampled path on which none of them lies
        return [None] * len(parameters)
    return list(torch.autograd.grad(loss, list(parameters), allow_unused=True))


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
        if value is not None and value.stride() != parameter.stride():  # fused kernels need this
            value = torch.empty_like(parameter).copy_(value)
        parameter.grad = value  # `None`: not part of this loss, so the optimizer does not move it
    if clip is not None:
        clip_grad_norm_(parameters, clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _assign(targets: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for target, value in zip(targets, values, strict=True):
            target.copy_(value)
