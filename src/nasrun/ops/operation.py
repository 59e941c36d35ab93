"""Operations of a cell, and sums of their terms (`nasrun.ops.term`)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nasrun.ops.alike import joined, kind, lined_up, normalise, settle, shape, side_by_side
from nasrun.ops.normalised import normalised
from nasrun.ops.shared import world_of
from nasrun.ops.state import State
from nasrun.ops.term import Term

MANY = 2**18
"""Number of elements of a group of maps above which folding pays, measured on 8 to 36 channels."""


@dataclass(frozen=True)
class Sum:
    """A weighted sum of terms, with one weight per term; `None` is all ones."""

    terms: tuple[Term, ...]
    weights: Tensor | None = None

    @staticmethod
    def of(sums: Sequence[Sum]) -> Sum:
        """Return the sum of sums, of which all or none must be weighted."""
        weights = [each.weights for each in sums if each.weights is not None]
        assert len(weights) in (0, len(sums)), "weighted and unweighted sums are mixed"
        terms = tuple(term for each in sums for term in each.terms)
        return Sum(terms, torch.cat(weights) if weights else None)

    def map(self) -> Tensor:
        """Return the sum as a map, (B, C, H, W)."""
        if any(term.state.gathers for term in self.terms):
            return self._together()
        terms = finished(self.terms)
        groups = _folding(terms)
        alone: list[int] = []
        for position in _others(terms, groups):
            fitting = (group for group in groups if terms[position].joins(terms[group[0]]))
            next(fitting, alone).append(position)
        parts = []
        for alike in groups:
            weights = None if self.weights is None else self.weights[alike]
            parts += normalised([terms[position] for position in alike], weights, add=True)
        for position in alone:
            weight = None if self.weights is None else self.weights[position]
            parts.append(terms[position].map(weight))
        return _added(parts)

    def _together(self) -> Tensor:
        """Return the sum by one call per kind of layer: first all maps, then the norms."""
        terms = [term.completed() for term in self.terms]
        maps = [term.projected.given for term in terms]
        settle(maps)
        groups: dict[Any, list[int]] = {}
        for position in lined_up(maps):
            norm = terms[position].norm
            how = None if norm is None else kind(norm)
            groups.setdefault((how, shape(maps[position])), []).append(position)
        single = None if self.weights is None else self.weights.split(1)
        parts = []
        for group in groups.values():
            x = side_by_side([maps[position] for position in group])
            weights = None if single is None else joined([single[k] for k in group])
            norms = [norm for k in group if (norm := terms[k].norm) is not None]
            parts.append(_summed(x, norms, weights, len(group)))
        return _added(parts)


def _summed(
    x: Tensor, norms: Sequence[nn.BatchNorm2d], weights: Tensor | None, count: int
) -> Tensor:
    """Return the sum of `count` maps that lie side by side, after their norms, if any."""
    if norms:
        x = normalise(norms, x, weights)
    elif weights is not None:
        x = (x.unflatten(1, (count, -1)) * weights.to(x.dtype)[:, None, None, None]).flatten(1, 2)
    return x if count == 1 else x.unflatten(1, (count, -1)).sum(1, dtype=x.dtype)


def _added(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def finished(terms: Sequence[Term]) -> list[Term]:
    """Return the terms with every following operation (`then`) applied.

    The maps that these operations need are computed together, so that small products are grouped.
    """
    found = list(terms)
    while places := [place for place, term in enumerate(found) if term.then is not None]:
        waiting = [found[place] for place in places]
        groups = _folding(waiting)
        maps = {position: waiting[position].map() for position in _others(waiting, groups)}
        for alike in groups:
            made = normalised([waiting[position] for position in alike], add=False)
            maps.update(zip(alike, made, strict=True))
        for position, (place, term) in enumerate(zip(places, waiting, strict=True)):
            assert term.then is not None
            spare = term.norm is not None  # without a norm it may be the state's own map
            found[place] = term.then.term(State(maps[position], spare=spare))
    return found


def _folding(terms: Sequence[Term]) -> list[list[int]]:
    """Return the positions of the terms that fold, in groups for `normalised`.

    Groups that are too small are left out: their fixed cost is larger than what they save.
    """
    groups: dict[Any, list[int]] = {}
    for position, term in enumerate(terms):
        if term.folds:
            assert term.norm is not None
            key = term.state.map.shape, term.norm.num_features, term.norm.affine, term.norm.eps
            groups.setdefault(key, []).append(position)
    return [
        group
        for (shape, *_), group in groups.items()
        if len(group) * _images(terms[group[0]]) * shape[1:].numel() >= MANY
    ]


def _images(term: Term) -> int:
    """Return the number of images, that of the largest slice where processes share statistics.

    All of them have to fold or none.
    """
    assert term.norm is not None
    world = world_of(term.norm)
    if world.part is None:
        return len(term.state.map)
    return math.ceil(world.part.whole / world.size)


def _others(terms: Sequence[Term], groups: Sequence[Sequence[int]]) -> list[int]:
    """Return the positions that are in no group, ascending."""
    taken = {position for group in groups for position in group}
    return [position for position in range(len(terms)) if position not in taken]


class Operation(nn.Module, ABC):
    """A candidate operation, from (B, C, H, W) to (B, C', H / stride, W / stride)."""

    @abstractmethod
    def term(self, state: State) -> Term:
        """Return the result as a term, whose last layers are applied by the sum."""

    def forward(self, x: Tensor) -> Tensor:
        return Sum((self.term(State(x)),)).map()


class Whole(Operation):
    """Wraps any module as an operation that applies all of its layers itself."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def term(self, state: State) -> Term:
        return Term(State(self.module(state.map)))
