"""The levels of differentiable search: which loss moves what. Read this file first.

`alpha` are the architecture's parameters, `w` the weights; `train` and `val` are one batch from
each half of the data. Each level is one method's equation, a relaxation turns alphas into mixture
weights, and `descent.py` takes the gradients: each update differentiates with respect to exactly
the parameters that it moves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nasrun.strategies.descent import Search

Losses = dict[str, Tensor]


class Level(ABC):
    """One step of a search."""

    @property
    def graphs(self) -> int:
        """How many forward passes, whose activations a step keeps, wait for their gradients."""
        return 1

    @property
    def smooths(self) -> bool:
        """Whether weights descend the loss near the mixture, not at it alone."""
        return False

    @property
    def exact(self) -> bool:
        """Whether a part of the step computes in fp32 whatever the precision is."""
        return False

    @property
    def phases(self) -> tuple[tuple[float, float], ...]:
        """The parts of the search with the same step, as (share before it, share that it lasts)."""
        return ((0.0, 1.0),)

    def moves_alphas(self, progress: float) -> bool:
        """Return whether alphas move at this share of the search, more than 0 and at most 1."""
        return True

    def reads_validation(self, progress: float) -> bool:
        """Return whether a step reads `val`, which is `None` otherwise, at this share."""
        return True

    def check(self, weight_optimizer: torch.optim.Optimizer) -> None:
        """Raise ValueError, which begins with a key, if the level cannot use the optimizer."""
        del weight_optimizer  # any is fine

    @abstractmethod
    def step(self, search: Search, train: Any, val: Any) -> Losses:
        """Move alphas and weights once; return the detached losses by name."""


@dataclass(frozen=True, kw_only=True)
class Bilevel(Level):
    """alpha <- descend L_val(w, alpha);  w <- descend L_train (DARTS first order, 1806.09055)."""

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        val_loss = search.alphas_loss(val)
        search.update(alphas=val_loss)
        train_loss = search.weights_loss(train)
        search.update(weights=train_loss)
        return {"train_loss": train_loss.detach(), "alpha_loss": val_loss.detach()}


@dataclass(frozen=True, kw_only=True)
class Unrolled(Level):
    """alpha <- descend L_val(w', alpha), w' = w - xi d_w L_train  (DARTS second order).

    xi is the learning rate of the weights, w' includes momentum and weight decay, and the mixed
    second derivative is a central difference with eps = `radius` / |d_w' L_val| around w, not w'.
    """

    exact = True

    radius: float

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise ValueError(f"radius={self.radius}: use more than 0")

    def check(self, weight_optimizer: torch.optim.Optimizer) -> None:
        name = type(weight_optimizer).__name__
        if not isinstance(weight_optimizer, torch.optim.SGD):
            raise ValueError(f"weight_optimizer={name}: an unrolled level needs SGD; use sgd")
        group = weight_optimizer.param_groups[0]
        for key in ("nesterov", "dampening", "maximize"):
            if group[key]:
                raise ValueError(
                    f"weight_optimizer.{key}={group[key]}: an unrolled level needs plain SGD with "
                    "momentum; leave it out"
                )

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        ((gradient, val_loss),) = self.hypergradients(search, train, val)
        search.descend_alphas(gradient)
        train_loss = search.weights_loss(train)
        search.update(weights=train_loss)
        return {"train_loss": train_loss.detach(), "alpha_loss": val_loss}

    def hypergradients(
        self, search: Search, train: Any, *batches: Any
    ) -> list[tuple[list[Tensor], Tensor]]:
        """Return d L(w'(alpha), alpha) / d alpha and L(w', alpha) for every batch, all at one w'.

        A difference of two gradients magnifies their rounding errors, hence `Search.precise`.
        """
        with search.precise():
            return self._hypergradients(search, train, batches)

    def _hypergradients(
        self, search: Search, train: Any, batches: Sequence[Any]
    ) -> list[tuple[list[Tensor], Tensor]]:
        xi, weights = search.weight_lr, [w.detach().clone() for w in search.weights]
        (seed,) = search.streams.numbers("unrolled", 1)
        # the training loss is one function of w: the same noise each time
        noise = partial(search.streams.aside, "unrolled", seed)
        with search.kept(weights), noise():
            ahead = search.lookahead(search.weights_loss(train))
        found = []
        for batch in batches:
            with search.kept(weights, ahead):
                loss = search.loss(batch)
                both = search.gradients(loss, [*search.alphas, *search.weights])
            both = [g.clone() for g in both]  # those of a CUDA graph last until the next pass
            direct, direction = both[: len(search.alphas)], both[len(search.alphas) :]
            norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in direction]))
            eps = self.radius / norm.clamp(min=torch.finfo(norm.dtype).tiny)
            sides = []
            for sign in (1.0, -1.0):
                moved = [w + sign * eps * v for w, v in zip(weights, direction, strict=True)]
                with search.kept(weights, moved), noise():
                    sides.append(search.gradients(search.alphas_loss(train), search.alphas))
            mixed = [(plus - minus) / (2 * eps) for plus, minus in zip(*sides, strict=True)]
            found.append(([g - xi * h for g, h in zip(direct, mixed, strict=True)], loss.detach()))
        return found


@dataclass(frozen=True, kw_only=True)
class SingleLevel(Level):
    """(alpha, w) <- descend L_train, one forward and backward for both (SNAS, 1812.09926)."""

    def reads_validation(self, progress: float) -> bool:
        return False

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        loss = search.loss(train)
        search.update(both=loss)
        return {"train_loss": loss.detach()}


@dataclass(frozen=True, kw_only=True)
class Mixed(Level):
    """A level whose alphas descend lam_train of a training term plus lam_val of a validation term.

    `normalise` divides both by their sum: for lam_train = 1 and lam_val = lam, the weights are then
    1 / (1 + lam) and lam / (1 + lam), so that the weight decay and the clip of the alphas have the
    same effect at each lam.
    """

    lam_train: float
    lam_val: float
    normalise: bool

    def __post_init__(self) -> None:
        lam_train, lam_val = self.lam_train, self.lam_val
        if lam_train < 0 or lam_val < 0 or lam_train + lam_val == 0:
            raise ValueError(
                f"lam_train={lam_train} lam_val={lam_val}: use 0 or more, and more than 0 for one"
            )

    @property
    def lams(self) -> tuple[float, float]:
        """The weights of the training and the validation term."""
        total = self.lam_train + self.lam_val if self.normalise else 1.0
        return self.lam_train / total, self.lam_val / total


@dataclass(frozen=True, kw_only=True)
class MixedLevel(Mixed):
    """alpha <- descend lam_train L_train + lam_val L_val;  w <- descend L_train  (MiLeNAS).

    2003.12238, first order, where lam_train = 1 and lam_val = lam. One forward pass on the training
    batch serves both updates; the released code runs two, the second one with the new alphas.
    """

    graphs = 2

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        lam_train, lam_val = self.lams
        train_loss, val_loss = search.loss(train), search.alphas_loss(val)
        search.update(both=train_loss, alphas_share=lam_train, alphas=lam_val * val_loss)
        return {"train_loss": train_loss.detach(), "alpha_loss": val_loss.detach()}


@dataclass(frozen=True, kw_only=True)
class UnrolledMixed(Mixed):
    """alpha <- descend lam_train L_train(w', alpha) + lam_val L_val(w', alpha)  (MiLeNAS, 2nd).

    w' and the hypergradient of each term are those of `unrolled`. The paper puts its lambda on the
    training term here, and on the validation term in first order.
    """

    exact = True

    unrolled: Unrolled

    def check(self, weight_optimizer: torch.optim.Optimizer) -> None:
        self.unrolled.check(weight_optimizer)

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        lam_train, lam_val = self.lams
        (of_train, _), (of_val, val_loss) = self.unrolled.hypergradients(search, train, train, val)
        search.descend_alphas(
            [lam_train * t + lam_val * v for t, v in zip(of_train, of_val, strict=True)]
        )
        train_loss = search.weights_loss(train)
        search.update(weights=train_loss)
        return {"train_loss": train_loss.detach(), "alpha_loss": val_loss}


@dataclass(frozen=True, kw_only=True)
class WeightsOnly(Level):
    """w <- descend L_train(w, alpha), alpha does not move (fixed alpha of DARTS-PT, 2108.04392)."""

    def moves_alphas(self, progress: float) -> bool:
        return False

    def reads_validation(self, progress: float) -> bool:
        return False

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        train_loss = search.weights_loss(train)
        search.update(weights=train_loss)
        return {"train_loss": train_loss.detach()}


@dataclass(frozen=True, kw_only=True)
class Switched(Level):
    """The level `first` in the rounds within the share `at` of the search, `then` afterwards.

    It serves a warm-up (PC-DARTS: alphas rest for 15 of 50 epochs) or a change of method (MiLeNAS:
    bilevel until epoch 35 of 50, mixed after it). Both levels use the same two optimizers.
    """

    first: Level
    then: Level
    at: float

    def __post_init__(self) -> None:
        if not 0 < self.at < 1:
            raise ValueError(
                f"at={self.at}: use a share of the search, more than 0 and less than 1"
            )

    @property
    def graphs(self) -> int:
        return max(self.first.graphs, self.then.graphs)

    @property
    def smooths(self) -> bool:
        return self.first.smooths or self.then.smooths

    @property
    def exact(self) -> bool:
        return self.first.exact or self.then.exact

    @property
    def phases(self) -> tuple[tuple[float, float], ...]:
        return ((0.0, self.at), (self.at, 1.0 - self.at))

    def moves_alphas(self, progress: float) -> bool:
        return self._level(progress).moves_alphas(progress)

    def reads_validation(self, progress: float) -> bool:
        return self._level(progress).reads_validation(progress)

    def check(self, weight_optimizer: torch.optim.Optimizer) -> None:
        self.first.check(weight_optimizer)
        self.then.check(weight_optimizer)

    def step(self, search: Search, train: Any, val: Any) -> Losses:
        return self._level(search.supernet.progress).step(search, train, val)

    def _level(self, progress: float) -> Level:
        return self.first if progress <= self.at else self.then
