"""What an operation gives: a map whose last linear layer and batch norm are not carried out yet.

Nearly every operation of a cell ends with a 1x1 convolution and a batch norm, or with a batch norm
alone, and an edge only wants the weighted sum of what its operations give. So an operation turns a
`State` into a `Term`, and a `Sum` adds terms up: one matrix product a term puts linear layer, norm
and weight into the sum (`nasrun.ops.normalised`), and no map in between is made or kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.ops.normalised import (
    advance,
    column_sums,
    crossed_sums,
    normalised,
    uses_batch,
)

RELU = nn.ReLU()
MANY = 2**18
"""Numbers in all maps that fold together, from which on it pays: measured on 8 to 36 channels."""


LAST = torch.channels_last


def lies(x: Tensor) -> torch.memory_format:
    """How a map (B, C, H, W) lies in memory: channels last, or first."""
    return LAST if x.is_contiguous(memory_format=LAST) else torch.contiguous_format


class State:
    """A feature map (B, C, H, W), and what several operations make of it alike, made once.

    No operation may change the map, which others read too; but of a `spare` one there is a single
    reader, and `rectified` may write over it.
    """

    def __init__(self, map: Tensor, *, spare: bool = False) -> None:
        self.map = map
        self.spare = spare
        self._made: dict[Any, State] = {}
        self._moments: tuple[Tensor, Tensor] | None = None

    def through(self, module: nn.Module) -> State:
        """What a module without parameters makes of the map.

        Such modules are alike if they are of one class and their public attributes are equal.
        """
        settings = (item for item in vars(module).items() if not item[0].startswith("_"))
        key = type(module), tuple(settings)
        if key not in self._made:
            self._made[key] = State(module(self.map))
        return self._made[key]

    @property
    def rectified(self) -> State:
        """max(map, 0); a spare map is written over where no gradient needs it."""
        if self.spare and not torch.is_grad_enabled():
            return State(self.map.relu_())
        return self.through(RELU)

    @property
    def pixels(self) -> Tensor:
        """The map as a matrix, (B * H * W, C): without a copy where channels are last in memory."""
        return self.map.permute(0, 2, 3, 1).reshape(-1, self.map.shape[1])

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (C,) and covariance (C, C) over all pixels, not differentiable."""
        if self._moments is None:
            with torch.no_grad():
                z = self.pixels
                mean = column_sums(z) / len(z)
                self._moments = mean, crossed_sums(z, z) / len(z) - torch.outer(mean, mean)
        return self._moments


@dataclass(frozen=True)
class Term:
    """`norm(linear(state))`, of which `linear`, a 1x1 convolution, and `norm` may be missing.

    With `then` what that operation makes of it.
    """

    state: State
    linear: nn.Conv2d | None = None
    norm: nn.BatchNorm2d | None = None
    then: Operation | None = None

    @property
    def folds(self) -> bool:
        """Whether norm and linear layer may become one matrix, which is quicker for most.

        Not with running statistics, for which nothing is measured; nor where a linear layer narrows
        the map, since then its moments cost more; nor a norm alone, unless several read its map and
        share its moments; nor in reduced precision, too coarse for a variance from second moments;
        nor on a GPU, where small products wait for each other; nor where channels lie first in
        memory: a map would be copied, and who wants them so wants statistics that are more precise
        (`nasrun.strategies.levels.Unrolled`).
        """
        if self.norm is None or not uses_batch(self.norm):
            return False
        if self.linear is None:
            pays = not self.state.spare
        else:
            pays = self.linear.in_channels <= self.linear.out_channels
        z = self.state.map
        exact = z.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
        by_shape = z.device.type == "meta"
        return pays and exact and (by_shape or (z.device.type == "cpu" and lies(z) is LAST))

    def joins(self, other: Term) -> bool:
        """Whether it is a map as it is that fits into a sum which begins with a folded term."""
        assert other.norm is not None
        shape = self.state.map.shape
        bare = self.linear is None and self.norm is None
        return bare and shape == other.state.map.shape and shape[1] == other.norm.num_features

    def map(self, weight: Tensor | None = None) -> Tensor:
        """`norm(linear(state))`, times a weight (a number); null is one."""
        z = self.state.map if self.linear is None else self.linear(self.state.map)
        if self.norm is not None:
            return _batch_norm(self.norm, z, weight)
        return z if weight is None else weight * z


@dataclass(frozen=True)
class Sum:
    """Terms that are added up, each times its weight (one number a term); null weighs all one."""

    terms: tuple[Term, ...]
    weights: Tensor | None = None

    @staticmethod
    def of(sums: Sequence[Sum]) -> Sum:
        """The sum of sums, of which all or none are weighted."""
        weights = [each.weights for each in sums if each.weights is not None]
        assert len(weights) in (0, len(sums)), "weighted sums with others"
        terms = tuple(term for each in sums for term in each.terms)
        return Sum(terms, torch.cat(weights) if weights else None)

    def map(self) -> Tensor:
        """The sum itself, (B, C, H, W)."""
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
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


def finished(terms: Sequence[Term]) -> list[Term]:
    """The same terms, those with another operation to come carried through to its own.

    What they wait for is made together: so what many small products share is done once.
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
            spare = term.norm is not None  # else it may be the state's own map
            found[place] = term.then.term(State(maps[position], spare=spare))
    return found


def _folding(terms: Sequence[Term]) -> list[list[int]]:
    """The positions of those that fold, in groups that `normalised` takes together.

    Few small ones do not: what a group costs whatever its size is then more than what it saves.
    """
    groups: dict[Any, list[int]] = {}
    for position, term in enumerate(terms):
        if term.folds:
            assert term.norm is not None
            key = term.state.map.shape, term.norm.num_features, term.norm.affine, term.norm.eps
            groups.setdefault(key, []).append(position)
    return [group for (shape, *_), group in groups.items() if len(group) * shape.numel() >= MANY]


def _others(terms: Sequence[Term], groups: Sequence[Sequence[int]]) -> list[int]:
    """The positions that are in no group, ascending."""
    taken = {position for group in groups for position in group}
    return [position for position in range(len(terms)) if position not in taken]


class Operation(nn.Module, ABC):
    """Maps (B, C, H, W) to (B, C', H / stride, W / stride)."""

    @abstractmethod
    def term(self, state: State) -> Term:
        """The result, its last steps left to whoever adds it up."""

    def forward(self, x: Tensor) -> Tensor:
        return Sum((self.term(State(x)),)).map()


class Whole(Operation):
    """A module of any kind as an operation: nothing of it is left undone."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def term(self, state: State) -> Term:
        return Term(State(self.module(state.map)))


def _batch_norm(norm: nn.BatchNorm2d, x: Tensor, weight: Tensor | None) -> Tensor:
    """`weight * norm(x)`, the weight folded into the norm's scale and shift."""
    if weight is None:
        return norm(x)
    # repeated, not expanded: batch norm reads a scale without its strides (torch 2.15)
    scale = weight.repeat(norm.num_features) if norm.weight is None else weight * norm.weight
    shift = None if norm.bias is None else weight * norm.bias
    tracked = not norm.training or norm.track_running_stats
    return F.batch_norm(
        x,
        norm.running_mean if tracked else None,
        norm.running_var if tracked else None,
        scale,
        shift,
        uses_batch(norm),
        advance(norm),
        norm.eps,
    )
