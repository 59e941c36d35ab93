"""Terms of the alphas' loss that do not depend on images: costs of a network, priors on alphas."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nasrun.costs.amounts import Amounts
from nasrun.costs.limits import Limits
from nasrun.genotype import NONE
from nasrun.machine import sent
from nasrun.stage import Metrics
from nasrun.supernet.relaxation import Concrete, Dirichlet
from nasrun.supernet.supernet import Supernet
from nasrun.tasks.base import ImageTask


class Penalty(ABC):
    """A differentiable function of a supernet's alphas, added to their loss."""

    @abstractmethod
    def begin(self, supernet: Supernet, task: ImageTask) -> None:
        """Receive the supernet, already on its device, and the task, already begun."""

    @abstractmethod
    def __call__(self) -> Tensor:
        """Return the weighted term, a scalar; it may draw its own sample."""

    @abstractmethod
    def metrics(self) -> Metrics:
        """Return the metrics that a round logs."""


class ResourceCost(Penalty):
    """weight * E_Z[C(Z)], the expected cost of a sampled cell (SNAS, 1812.09926).

    C sums over the edges of a cell, is averaged over the cells of a type, and sums over the types.
    An edge with expected parameters P, FLOPs F and memory access M costs

        linear  0.43 (2 P + F / 4000 + M / 100)
        log     (ln max(1, P) + ln max(1, F) + ln max(1, M)) / 3

    The released code divides by 6 normal and 2 reduction cells at any depth; we divide by the
    actual numbers. `estimator` estimates the expectation and its gradient.
    """

    def __init__(
        self, *, weight: float, form: Literal["linear", "log"], estimator: Estimator
    ) -> None:
        if not weight > 0:
            raise ValueError(f"weight={weight}: use more than 0; penalty=null switches it off")
        self.weight = weight
        self.form = FORMS[form]
        self.estimator = estimator

    def begin(self, supernet: Supernet, task: ImageTask) -> None:
        self.supernet = supernet
        self.estimator.check(supernet)
        space = supernet.space
        if space.layer_wise:
            raise ValueError(
                "penalty=ResourceCost: only the costs of cells' edges are known, not those of "
                f"space={space.name}; use null, or a space of cells"
            )
        costs = space.costs(inputs=task.inputs, outputs=task.outputs, size=task.size)
        self.costs = costs.to(supernet.alpha.device, torch.float32)

    def price(self, weights: Tensor) -> Tensor:
        """Return the cost of each decision, (decisions,), with choices weighted by `weights`."""
        costs = self.costs
        expected = (costs.expected(c, weights) for c in (costs.params, costs.flops, costs.access))
        return costs.by_decision(self.form(*expected)) / costs.places.clamp(min=1)

    def __call__(self) -> Tensor:
        return self.weight * self.estimator(self.supernet, self.price)

    @torch.no_grad()
    def metrics(self) -> Metrics:
        """Return the term by its exact expectation, and the mean costs of a sampled network."""
        p, costs = self.supernet.expectation(), self.costs
        sizes, macs = (float(costs.expected(c, p).sum()) for c in (costs.params, costs.macs))
        return {
            "penalty": self.weight * float(self.price(p).sum()),
            "expected_params": costs.rest.params + sizes,
            "expected_macs": costs.rest.macs + macs,
        }


def linear(params: Tensor, flops: Tensor, access: Tensor) -> Tensor:
    """Return the cost of every place in the released code's units."""
    return 0.43 * (2 * params + flops / 4000 + access / 100)


def log(params: Tensor, flops: Tensor, access: Tensor) -> Tensor:
    """Return the mean of the three logarithms; below 1 each is 0, so nearly `none` is free."""
    return torch.stack([params, flops, access]).clamp(min=1.0).log().mean(0)


FORMS = {"linear": linear, "log": log}

Price = Callable[[Tensor], Tensor]


class Estimator(ABC):
    """Estimates the expected cost of a sampled cell, and its gradient."""

    @abstractmethod
    def check(self, supernet: Supernet) -> None:
        """Raise ValueError if the estimator cannot work with the supernet's relaxation."""

    @abstractmethod
    def __call__(self, supernet: Supernet, price: Price) -> Tensor:
        """Return a scalar with a gradient to the alphas; `price(weights)` is (decisions,)."""


@dataclass(frozen=True, kw_only=True)
class Exact(Estimator):
    """C(softmax(alpha)): no variance, and no bias towards uniform as soft samples have."""

    def check(self, supernet: Supernet) -> None:
        """Accept every supernet, since all have probabilities."""

    def __call__(self, supernet: Supernet, price: Price) -> Tensor:
        return price(supernet.expectation()).sum()


@dataclass(frozen=True, kw_only=True)
class Reparametrised(Estimator):
    """C(Z) of one sample of the relaxation, differentiated along its path: SNAS's README."""

    def check(self, supernet: Supernet) -> None:
        """Accept every supernet, since all relaxations can sample."""

    def __call__(self, supernet: Supernet, price: Price) -> Tensor:
        return price(supernet.mixture(sampled=True).weights).sum()


@dataclass(frozen=True, kw_only=True)
class ScoreFunction(Estimator):
    """d E[C] = E[(C(Z) - b) d ln p(Z)], each decision with its own cost as reward.

    Z is a Concrete sample, a constant in both factors. With `baseline`, b = C(softmax(alpha)) is
    subtracted, which changes the variance but not the mean. The released code subtracts a constant
    instead, the mean over the cell's edges and operations, and also differentiates ln p(Z) along
    Z's path.
    """

    baseline: bool

    def check(self, supernet: Supernet) -> None:
        if not isinstance(supernet.relaxation, Concrete):
            name = type(supernet.relaxation).__name__
            raise ValueError(
                f"penalty.estimator=ScoreFunction: works with relaxation=Concrete, not {name}; "
                "use estimator=Exact"
            )

    def __call__(self, supernet: Supernet, price: Price) -> Tensor:
        relaxation = supernet.relaxation
        assert isinstance(relaxation, Concrete)
        logits = supernet.logits
        with torch.no_grad():
            log_z = relaxation.log_sample(logits, supernet.progress, supernet.noise)
            cost = price(supernet.decided(log_z.exp()))
            reward = cost - price(supernet.expectation()) if self.baseline else cost
        log_density = relaxation.log_density(logits, log_z, supernet.progress)
        decisions = enumerate(supernet.space.decisions)
        undecided = [row for row, decision in decisions if decision.name not in supernet.fixed]
        each = (reward * log_density).unbind()
        left = [each[row] for row in undecided] or [cost.new_zeros(())]
        surrogate = torch.stack(left).sum()
        return cost.sum() + surrogate - surrogate.detach()


class DirichletKL(Penalty):
    """scale * sum over decisions of KL(Dirichlet(c) || Dirichlet(1)): DrNAS (2006.10355).

    The anchor is the uniform distribution over mixtures. The released code's default instead is
    weight decay of alpha, which also pulls c towards 1.
    """

    def __init__(self, *, scale: float) -> None:
        if not scale > 0:
            raise ValueError(f"scale={scale}: use more than 0; penalty=null switches it off")
        self.scale = scale

    def begin(self, supernet: Supernet, task: ImageTask) -> None:
        if not isinstance(supernet.relaxation, Dirichlet):
            name = type(supernet.relaxation).__name__
            raise ValueError(
                f"penalty=DirichletKL: relaxation={name}; use relaxation=Dirichlet or penalty=null"
            )
        self.supernet, self.relaxation = supernet, supernet.relaxation

    def __call__(self) -> Tensor:
        there = ~self.supernet.missing
        # with c = 1, where there is no choice, every term below is zero
        c = self.relaxation.concentration(self.supernet.alpha).masked_fill(~there, 1.0)
        n = there.sum(dim=-1).to(c.dtype)
        total = c.sum(dim=-1) - (~there).sum(dim=-1)
        pull = (c - 1) * (torch.digamma(c) - torch.digamma(total)[:, None])
        normaliser = torch.lgamma(total) - torch.lgamma(c).sum(dim=-1) - torch.lgamma(n)
        divergence = normaliser + pull.sum(dim=-1)  # (decisions,)
        kept = torch.ones_like(divergence)
        for name in self.supernet.fixed:
            kept[self.supernet.space.rows[name]] = 0.0
        return self.scale * (kept * divergence).sum()

    @torch.no_grad()
    def metrics(self) -> Metrics:
        return {"penalty": float(self())}


class BetaDecay(Penalty):
    """lam * mean over open decisions of ln sum_k exp(alpha_k): beta-DARTS (2203.01665).

    Its gradient is lam softmax(alpha) / decisions: the likelier a choice, the more its alpha falls.
    lam rises linearly from 0 before the first round to `weight` in the last.
    """

    def __init__(self, *, weight: float) -> None:
        if not weight > 0:
            raise ValueError(f"weight={weight}: use more than 0; penalty=null switches it off")
        self.weight = weight

    def begin(self, supernet: Supernet, task: ImageTask) -> None:
        self.supernet = supernet

    def __call__(self) -> Tensor:
        supernet, decisions = self.supernet, enumerate(self.supernet.space.decisions)
        each = torch.logsumexp(supernet.logits, dim=-1).unbind()
        left = [each[row] for row, decision in decisions if decision.name not in supernet.fixed]
        if not left:
            return supernet.alpha.new_zeros(())
        return self.weight * supernet.progress * torch.stack(left).mean()

    @torch.no_grad()
    def metrics(self) -> Metrics:
        return {"penalty": float(self())}


class Within(Penalty):
    """sum_i lam_i max(0, share_i - 1): a penalty for exceeding limits of the network.

    share_i is E[cost_i] / limit_i, or for a lower limit on a ratio limit_i E[under_i] / E[over_i].
    E is over independent choices with probabilities softmax(alpha), and over the edges that a
    derived network keeps: all decided ones, and each of the others with equal probability.

    Every lam_i is a Lagrange multiplier that starts at `weight`; `ascend` changes it with step size
    `rate`. With rate 0 it is a fixed weight.
    """

    def __init__(self, limits: Limits, *, weight: float, rate: float) -> None:
        self.limits = limits
        self.rate = rate
        self.lam = {bound.key: weight for bound in limits.bounds}

    def begin(self, supernet: Supernet, task: ImageTask) -> None:
        self.supernet = supernet
        self.parts = {
            bound.key: tuple(
                self._scaled(amounts, self.limits.scales[bound.key])
                for amounts in (bound.used, bound.allowed)
            )
            for bound in self.limits.bounds
        }

    def _scaled(self, amounts: Amounts, scale: float) -> tuple[float, Tensor]:
        """Return the base, and what each choice adds, (decisions, choices), divided by `scale`."""
        space = self.supernet.space
        table = torch.zeros(len(space.decisions), space.width)
        for row, decision in enumerate(space.decisions):
            for column, choice in enumerate(decision.choices):
                table[row, column] = amounts.at(decision.name, choice) / scale
        return amounts.base / scale, table.to(self.supernet.alpha.device)

    def __call__(self) -> Tensor:
        shares = self._shares().items()
        return torch.stack([self.lam[key] * torch.relu(share - 1.0) for key, share in shares]).sum()

    @torch.no_grad()
    def ascend(self) -> None:
        """Dual ascent: lam_i <- max(0, lam_i + rate (share_i - 1))."""
        for key, share in self._shares().items():
            self.lam[key] = max(0.0, self.lam[key] + self.rate * (float(share) - 1.0))

    @torch.no_grad()
    def metrics(self) -> Metrics:
        found: Metrics = {}
        shares = self._shares()
        for bound in self.limits.bounds:
            name = bound.key.partition("_")[2]
            found[f"expected_{name}"] = bound.cost_at(float(shares[bound.key]))
            found[f"multiplier_{name}"] = self.lam[bound.key]
        return found

    def state_dict(self) -> dict[str, float]:
        """Return the multipliers by limit."""
        return dict(self.lam)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Continue with the multipliers of a state; limits not in it keep their initial weight."""
        self.lam |= {key: lam for key, lam in state.items() if key in self.lam}

    def _shares(self) -> dict[str, Tensor]:
        """Return the expected costs as shares of their limits."""
        p = self._kept()[:, None] * self.supernet.expectation()
        shares = {}
        for key, parts in self.parts.items():
            used, allowed = (base + (p * table).sum() for base, table in parts)
            shares[key] = used / allowed
        return shares

    def _kept(self) -> Tensor:
        """Return each edge's probability of being kept, (decisions,): 1 if it is decided."""
        space, fixed = self.supernet.space, self.supernet.fixed
        kept = torch.ones(len(space.decisions))
        for limit in space.limits:
            taken = sum(fixed.get(name, NONE) != NONE for name in limit.decisions)
            left = [name for name in limit.decisions if name not in fixed]
            for name in left:
                kept[space.rows[name]] = min(1.0, max(0, limit.count - taken) / len(left))
        return sent(kept, self.supernet.alpha.device)
