"""A population makes a child of two parents: PBT-NAS's mixing, SEARL's mutation.

Where mixing differs from the released code (2307.15621): optimizer moments are matched by parameter
name, not by position; they are inherited from the base parent and start empty for donated weights.
A child's memory (a replay buffer) is its base parent's, not the donor's.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from nasrun.genotype import Genotype
from nasrun.spaces.inheritance import InheritingSpace
from nasrun.trained import Tensors, Trained

Fresh = Callable[[Genotype], Tensors]
"""Returns the tensors of a newly initialised network."""


@dataclass(frozen=True)
class Parent:
    """A genotype and the trained state of its network."""

    genotype: Genotype
    trained: Trained


@dataclass(frozen=True)
class Child(Parent):
    """A child: `changed` lists the decisions that do not come unchanged from its base parent.

    `from_base` is true if no other parent gave anything.
    """

    changed: tuple[str, ...]
    from_base: bool


class Variation(ABC):
    """Makes a child of two parents."""

    @abstractmethod
    def child(
        self,
        base: Parent,
        donor: Parent,
        space: InheritingSpace,
        fresh: Fresh,
        generator: torch.Generator,
    ) -> Child:
        """Return a child; it shares no tensor that changes with a parent. `base` is the fitter."""


@dataclass(frozen=True, kw_only=True)
class Mixing(Variation):
    """A copy of the base parent that takes each decision from the donor with `probability`.

    The weights w of such a decision become

        w <- lam * w_donor + gam * w_fresh.

    Decisions that a limit ties together (the edges into a node of DARTS) are taken together. The
    space initialises the child's network (`InheritingSpace.inherit`).

    `with_itself` uses the base parent as the donor: nothing is mixed, but weights are shrunk and
    perturbed as often (the ablation "no mixing"). `donor_memory` gives the child the donor's replay
    buffer, as the released code does.
    """

    probability: float
    lam: float
    gam: float
    with_itself: bool
    donor_memory: bool

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability={self.probability}: use a number from 0 to 1")
        for key in ("lam", "gam"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"{key}={getattr(self, key)}: use a number from 0 to 1")
        if self.lam == self.gam == 0:
            raise ValueError("lam=0 gam=0: donated weights would be zero; use more for one of them")

    def child(
        self,
        base: Parent,
        donor: Parent,
        space: InheritingSpace,
        fresh: Fresh,
        generator: torch.Generator,
    ) -> Child:
        giver = base if self.with_itself else donor
        drawn = (torch.rand(len(space.tied), generator=generator) < self.probability).tolist()
        moved = [names for names, moves in zip(space.tied, drawn, strict=True) if moves]
        donated = tuple(name for names in moved for name in names)
        genotype = base.genotype.changed({name: giver.genotype[name] for name in donated})
        trained = space.inherit(
            base.trained, giver.trained, fresh(genotype), donated, lam=self.lam, gam=self.gam
        )
        if self.donor_memory:
            trained.memory = giver.trained.memory
        return Child(genotype, trained, donated, self.with_itself)


@dataclass(frozen=True, kw_only=True)
class Mutation(Variation):
    """A copy of the fitter parent, changed in one of three equally likely ways (SEARL, 2009.01555).

    It stays unchanged, some of its weights are perturbed, or one decision gets another choice with
    a new layer. A perturbed weight gets Gaussian noise of `super_strength` times its magnitude with
    `super_probability`, is drawn from N(0, 1) with `reset_probability`, and otherwise gets noise of
    `strength` times its magnitude.
    """

    strength: float
    super_strength: float
    super_probability: float
    reset_probability: float

    def __post_init__(self) -> None:
        if min(self.strength, self.super_strength) < 0:
            raise ValueError(
                f"strength={self.strength} super_strength={self.super_strength}: use 0 or more"
            )
        rare = (self.super_probability, self.reset_probability)
        if min(rare) < 0 or sum(rare) > 1:
            raise ValueError(
                f"super_probability={rare[0]} reset_probability={rare[1]}: "
                "use 0 or more for both, and a sum of at most 1"
            )

    def child(
        self,
        base: Parent,
        donor: Parent,
        space: InheritingSpace,
        fresh: Fresh,
        generator: torch.Generator,
    ) -> Child:
        kind = int(torch.randint(3, (), generator=generator))
        if kind == 0:
            return Child(base.genotype, base.trained, (), True)
        if kind == 1:
            network = self.perturbed(base.trained.network, generator)
            return Child(base.genotype, replace(base.trained, network=network), (), True)
        genotype = space.mutate(base.genotype, generator)
        changed = tuple(name for name in space.names if genotype[name] != base.genotype[name])
        tensors = fresh(genotype)
        averages = {}
        for key, own in base.trained.averages.items():
            modules = tuple({f"{name.split('.')[0]}." for name in own})
            averages[key] = {n: tensor for n, tensor in tensors.items() if n.startswith(modules)}
        new = Trained(tensors, averages)
        trained = space.inherit(base.trained, new, tensors, changed, lam=1.0, gam=0.0)
        return Child(genotype, trained, changed, True)

    def perturbed(self, network: Tensors, generator: torch.Generator) -> Tensors:
        """Return the weights with a random half of the matrices perturbed in random entries.

        Vectors, norms and integers stay. The share of perturbed entries is k / rows, where k is
        uniform below ceil(rows / 10): a matrix of ten rows or fewer stays.
        """
        changed = dict(network)
        for name, weight in network.items():
            is_matrix = weight.is_floating_point() and weight.dim() > 1 and "norm" not in name
            if not is_matrix or torch.rand((), generator=generator) < 0.5:
                continue
            rows = weight.shape[0]
            share = int(torch.randint(math.ceil(0.1 * rows), (), generator=generator)) / rows
            hit = torch.rand(weight.shape, generator=generator) < share
            way = torch.rand(weight.shape, generator=generator)
            noise = torch.randn(weight.shape, generator=generator)
            rare = self.super_probability + self.reset_probability
            scale = torch.where(way < self.super_probability, self.super_strength, self.strength)
            moved = weight + noise * scale * weight.abs()
            reset = (way >= self.super_probability) & (way < rare)
            moved = torch.where(reset, noise, moved).clamp(-1e6, 1e6)
            changed[name] = torch.where(hit, moved, weight)
        return changed
