"""Growths choose the next network: one that was trained, and the morphs that make it larger."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch

from nasrun.genotype import Genotype
from nasrun.spaces.morph import MorphSpace
from nasrun.spaces.morphs import Morph


@dataclass(frozen=True)
class Tried:
    """A network that a search has taken up, with the number of the trial that it grew from.

    `cost` is `None` until it is known, and infinite if the network could not be trained.
    """

    number: int
    genotype: Genotype
    ancestor: int | None
    cost: float | None = None


@dataclass(frozen=True)
class Grown:
    """A new network: the number of the trial that it grows from, and its morphs in order."""

    ancestor: int
    morphs: tuple[Morph, ...]
    genotype: Genotype


class Growth(ABC):
    """Chooses the next network from what was tried."""

    @abstractmethod
    def next(
        self, tried: Sequence[Tried], space: MorphSpace, generator: torch.Generator
    ) -> Grown | None:
        """Return a network of the space that was not tried, or `None` if there is none to grow."""


def ancestors(tried: Sequence[Tried]) -> list[Tried]:
    """Return the trials that a network can grow from: the trained, or those of the first round."""
    sound = [trial for trial in tried if trial.cost is not None and math.isfinite(trial.cost)]
    return sound or [trial for trial in tried if trial.cost is None]


def children(
    genotype: Genotype,
    taken: Collection[Genotype],
    space: MorphSpace,
    generator: torch.Generator,
) -> Iterator[tuple[Morph, Genotype]]:
    """Yield the morphs of a network in random order with what they make, without those `taken`."""
    for morph in space.shuffled(genotype, generator):
        grown = morph.grown(genotype)
        if grown not in taken:
            yield morph, grown


class RandomGrowth(Growth):
    """A random morph of a uniformly drawn trained network."""

    def next(
        self, tried: Sequence[Tried], space: MorphSpace, generator: torch.Generator
    ) -> Grown | None:
        taken = {trial.genotype for trial in tried}
        possible = ancestors(tried)
        for place in torch.randperm(len(possible), generator=generator).tolist():
            found = _child(possible[place], taken, space, generator)
            if found is not None:
                return found
        return None


class BreadthFirst(Growth):
    """A random morph of the oldest trained network that has fewer than `children`."""

    def __init__(self, *, children: int) -> None:
        if children < 1:
            raise ValueError(f"children={children}: use 1 or more")
        self.children = children

    def next(
        self, tried: Sequence[Tried], space: MorphSpace, generator: torch.Generator
    ) -> Grown | None:
        taken = {trial.genotype for trial in tried}
        parents = [trial.ancestor for trial in tried]
        for oldest in ancestors(tried):
            if parents.count(oldest.number) < self.children:
                found = _child(oldest, taken, space, generator)
                if found is not None:
                    return found
        return None


def _child(
    trial: Tried, taken: Collection[Genotype], space: MorphSpace, generator: torch.Generator
) -> Grown | None:
    found = next(children(trial.genotype, taken, space, generator), None)
    return None if found is None else Grown(trial.number, (found[0],), found[1])
