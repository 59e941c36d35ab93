"""Terms of the alphas' loss that no image has a part in: what a network costs, priors on alphas."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nasrun.costs.limits import Limits
from nasrun.genotype import NONE
from nasrun.stage import Metrics
from nasrun.supernet.relaxation import Concrete, Dirichlet
from nasrun.supernet.supernet import Supernet
from nasrun.tasks.base import ImageTask


class Penalty(ABC):
    """A differentiable function of a supernet's alphas, added to the loss that they descend."""

    @abstractmethod
    def begin(self, supernet: Supernet, task: ImageTask) -> None:
        """Take the supernet, its weights on their device; the task has begun."""

    @abstractmethod
    def __call__(self) -> Tensor:
        """The term, a scalar, weighted; it may draw a sample of its own."""

    @abstractmethod
    def metrics(self) -> Metrics:
        """What a round logs of it."""


class ResourceCost(Penalty):
    """weight * E_Z[C(Z)], what a drawn cell costs (SNAS, 1812.09926).

    C sums over the edges of a cell and is the mean over the cells of a type; both types add up.
    An edge costs, of its expected parameters P, multiply-adds F and memory access M,

        linear  0.43 (2 P + F / 4000 + M / 100)
        log     (ln max(1, P) + ln max(1, F) + ln max(1, M)) / 3

    The released code divides by 6 normal and 2 reduction cells whatever the depth; we, by those
    that there are. `estimator` says how the expectation and its gradient are found.
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
        costs = space.costs(inputs=task.inputs, outputs=task.outputs, size=task.size)
        self.costs = costs.to(supernet.alpha.device, torch.float32)

    def price(self, weights: Tensor) -> Tensor:
        """What each decision costs, (decisions,), where choices count as `weights`."""
        costs = self.costs
        expected = (costs.expected(c, weights) for c in (costs.params, costs.flops, costs.access))
        return costs.by_decision(self.form(*expected)) / costs.places.clamp(min=1)

    def __call__(self) -> Tensor:
        return self.weight * self.estimator(self.supernet, self.price)

    @torch.no_grad()
    def metrics(self) -> Metrics:
        """The term by its exact expectation, and what a drawn network costs on average."""
        p, costs = self.supernet.expectation(), self.costs
        sizes, macs = (float(costs.expected(c, p).sum()) for c in (costs.params, costs.macs))
        return {
            "penalty": self.weight * float(self.price(p).sum()),
            "expected_params": costs.rest.params + sizes,
            "expected_macs": costs.rest.macs + macs,
        }


def linear(params: Tensor, flops: Tensor, access: Tensor) -> Tensor:
    """Every place's cost in the released code's units."""
    return 0.43 * (2 * params + flops / 4000 + access / 100)


def log(params: Tensor, flops: Tensor, access: Tensor) -> Tensor:
    """The mean of the three logarithms, flat below 1: a place that is nearly `none` is free."""
    return torch.stack([params, flops, access]).clamp(min=1.0).log().mean(0)


FORMS = {"linear": linear, "log": log}

Price = Callable[[Tensor], Tensor]


class Estimator(ABC):
    """How the expected cost of a drawn cell is found, and its gradient."""

    @abstractmethod
    def check(self, supernet: Supernet) -> None:
        """ValueError if the supernet's relaxation does not have what is needed."""

    @abstractmethod
    def __call__(self, supernet: Supernet, price: Price) -> Tensor:
        """A scalar with a gradient to the alphas; `price(weights)` is (decisions,)."""


@dataclass(frozen=True, kw_only=True)
class Exact(Estimator):
    """C(softmax(alpha)): without variance, and without the soft sample's pull to uniform."""

    def check(self, supernet: Supernet) -> None:
        """Every supernet has probabilities."""

    def __call__(self, supernet: Supernet, price: Price) -> Tensor:
        return price(supernet.expectation()).sum()


@dataclass(frozen=True, kw_only=True)
class Reparametrised(Estimator):
    """C(Z) of one sample of the relaxation, differentiated along its path: SNAS's README."""

    def check(self, supernet: Supernet) -> None:
        """Every relaxation samples."""

    def __call__(self, supernet: Supernet, price: Price) -> Tensor:
        return price(supernet.mixture(sampled=True).weights).sum()


@dataclass(frozen=True, kw_only=True)
class ScoreFunction(Estimator):
    """d E[C] = E[(C(Z) - b) d ln p(Z)], each decision with its own cost as reward.

    Z is a Concrete sample, a constant in both factors. `baseline` subtracts b = C(softmax(alpha)),
    which changes the variance and not the mean; the released code subtracts a constant, the mean
    over the cell's edges and operations, and differentiates ln p(Z) along Z's path, too.
    """

    baseline: bool

    def check(self, supernet: Supernet) -> None:
        if not isinstance(supernet.relaxation, Concrete):
            name = type(supernet.relaxation).__name__
            raise ValueError(
                "penalty.estimator=ScoreFunction: needs the density of relaxation=Concrete, not "
                f"of {name}; use estimator=Exact"
            )

    def __call__(self, supernet: Supernet, price: Price) -> Tensor:
        relaxation = supernet.relaxation
        assert isinstance(relaxation, Concrete)
        logits = supernet.logits
        with torch.no_grad():
            log_z = relaxation.log_sample(logits, supernet.progress)
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

    The anchor is the uniform distribution over mixtures. The released code's default is another
    anchor, the weight decay of alpha, which pulls c to 1 as well.
    """

    def __init__(self, *, scale: float) -> None:
        if not scale > 0:
            raise ValueError(f"scale={scale}: use more than 0; penalty=null switches it off")
        self.scale = scale

    def begin(self, supernet: Supernet, task: ImageTask) -> None:
        if not isinstance(supernet.relaxation, Dirichlet):
            name = type(supernet.relaxation).__name__
            raise ValueError(f"penalty=DirichletKL: needs relaxation=Dirichlet, not {name}")
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


class Within(Penalty):
    """sum_i lam_i max(0, E[cost_i] / limit_i - 1): what the limits on the found network ask for.

    E is over independent choices with probabilities softmax(alpha), and over which edges are kept
    where a derived network drops some: of those that are left each as likely as the other.
    Every lam_i begins as `weight` and is a Lagrange multiplier, which `ascend` moves by `rate`: at
    rate zero a fixed weight.
    """

    def __init__(self, limits: Limits, *, weight: float, rate: float) -> None:
        self.limits = limits
        self.rate = rate
        self.lam = dict.fromkeys(limits.maxima, weight)

    def begin(self, supernet: Supernet, task: ImageTask) -> None:
        self.supernet = supernet
        space, device = supernet.space, supernet.alpha.device
        self.costs: dict[str, tuple[float, Tensor]] = {}
        for key, most in self.limits.maxima.items():
            amounts = self.limits.amounts[key]
            table = torch.zeros(len(space.decisions), space.width)
            for row, decision in enumerate(space.decisions):
                for column, choice in enumerate(decision.choices):
                    table[row, column] = amounts.each[decision.name][choice] / most
            self.costs[key] = amounts.base / most, table.to(device)

    def __call__(self) -> Tensor:
        shares = self._shares().items()
        return torch.stack([self.lam[key] * torch.relu(share - 1.0) for key, share in shares]).sum()

    @torch.no_grad()
    def ascend(self) -> None:
        """lam_i <- max(0, lam_i + rate (E[cost_i] / limit_i - 1)): a step of dual ascent."""
        for key, share in self._shares().items():
            self.lam[key] = max(0.0, self.lam[key] + self.rate * (float(share) - 1.0))

    @torch.no_grad()
    def metrics(self) -> Metrics:
        found: Metrics = {}
        for key, share in self._shares().items():
            name = key.removeprefix("max_")
            found[f"expected_{name}"] = float(share) * self.limits.maxima[key]
            found[f"multiplier_{name}"] = self.lam[key]
        return found

    def state_dict(self) -> dict[str, float]:
        """The multipliers by limit."""
        return dict(self.lam)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Continue with the multipliers of such a state; of limits that it did not have, anew."""
        self.lam |= {key: lam for key, lam in state.items() if key in self.lam}

    def _shares(self) -> dict[str, Tensor]:
        """The expected costs as shares of their limits."""
        p = self._kept()[:, None] * self.supernet.expectation()
        return {key: base + (p * table).sum() for key, (base, table) in self.costs.items()}

    def _kept(self) -> Tensor:
        """The probability of every edge that is not dropped yet to be kept, (decisions,)."""
        space, fixed = self.supernet.space, self.supernet.fixed
        kept = torch.ones(len(space.decisions))
        for limit in space.limits:
            left = [name for name in limit.decisions if fixed.get(name) != NONE]
            for name in left:
                kept[space.rows[name]] = min(1.0, limit.count / len(left))
        return kept.to(self.supernet.alpha.device)
