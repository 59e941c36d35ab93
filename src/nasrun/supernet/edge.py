"""An edge of a cell: its candidate operations, alone or mixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasrun import ops
from nasrun.costs.cost import Candidates
from nasrun.genotype import NONE
from nasrun.ops.conv import Identity
from nasrun.ops.operation import Sum
from nasrun.ops.pool import Pooling
from nasrun.ops.shared import OfImages
from nasrun.ops.state import State
from nasrun.ops.term import Term
from nasrun.spaces.layout import Layout
from nasrun.supernet.mixture import Mixture
from nasrun.supernet.region import Probability, dropped, drops


class Edge(Candidates, OfImages):
    """The candidates of one decision between two states."""

    def __init__(
        self, choices: Sequence[str], row: int, channels: int, stride: int, layout: Layout
    ) -> None:
        super().__init__()
        self.row = row
        self.columns = {choice: column for column, choice in enumerate(choices)}
        self.candidates = nn.ModuleDict()
        for choice in choices:
            if choice == NONE:
                continue
            module = ops.build(choice, channels, stride, layout.affine)
            if layout.pool_norm and isinstance(module, Pooling):
                module = Pooling(module.pool, nn.BatchNorm2d(channels, affine=layout.affine))
            self.candidates[choice] = module

    def forward(self, state: State, mixture: Mixture | None, drop_path: Probability) -> Sum | None:
        """Return the edge's sum for its node, or `None` if nothing runs."""
        weights: Tensor | None = None
        running: dict[str, Any] = dict(self.candidates.items())
        if mixture is None:
            assert len(running) <= 1, "an edge with several candidates needs a mixture"
        else:
            active = mixture.active[self.row]
            running = {c: m for c, m in running.items() if self.columns[c] in active}
        if not running:
            return None
        if mixture is not None:
            weights = _at(mixture.weights[self.row], [self.columns[choice] for choice in running])
        total = Sum(tuple(operation.term(state) for operation in running.values()), weights)
        # drop path spares the identity of a discretised network
        spared = mixture is None and isinstance(next(iter(running.values())), Identity)
        if spared or not drops(drop_path):
            return total
        return Sum((Term(State(dropped(total.map(), drop_path, self.world))),))


def joined(
    edges: Sequence[nn.Module],
    states: Sequence[State],
    mixture: Mixture | None,
    rows: Sequence[int],
    drop_path: Probability,
    nothing: Tensor,
) -> State:
    """Return a node's state: the sum of its edges' maps, zeros like `nothing` if none runs.

    Edge i reads state i; `rows` are the edges' decisions.
    """
    sums = [e(state, mixture, drop_path) for e, state in zip(edges, states, strict=True)]
    kept = [each for each in sums if each is not None]
    total = Sum.of(kept).map() if kept else torch.zeros_like(nothing)
    if mixture is not None:
        total = mixture.with_rest(total, rows)
    return State(total, gathers=mixture is not None)


def _at(row: Tensor, columns: Sequence[int]) -> Tensor:
    """Return the `columns` of a row, ascending; indexing by a list would synchronise with a GPU."""
    if len(columns) == columns[-1] + 1 - columns[0]:
        return row[columns[0] : columns[-1] + 1]
    return torch.stack([row[column] for column in columns])


def check_operations(
    operations: Sequence[str], choices: Mapping[str, Sequence[str]], edges: Sequence[str]
) -> None:
    """Raise ValueError unless a cell space and each narrowed edge have known operations."""
    strange = sorted(set(choices) - set(edges))
    if strange:
        raise ValueError(f"choices: {strange[0]} is not an edge; use {edges[0]} to {edges[-1]}")
    known = {NONE, *ops.known()}
    named = [*operations, *(choice for found in choices.values() for choice in found)]
    unknown = [operation for operation in named if operation not in known]
    if unknown:
        raise ValueError(
            f"operations: {unknown[0]} is unknown; use some of {', '.join(sorted(known))}"
        )
    if len(set(operations)) < len(operations):
        raise ValueError(f"operations={list(operations)}: give each once")
    if not set(operations) - {NONE}:
        raise ValueError("operations: use at least one operation other than none")
    for name, row in choices.items():
        if not set(row) - {NONE}:
            raise ValueError(f"choices.{name}: use at least one operation other than none")
