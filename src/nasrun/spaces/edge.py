"""An edge of a cell: the operations that it chooses among, alone or mixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nasrun import ops
from nasrun.cost import Candidates
from nasrun.genotype import NONE
from nasrun.ops.conv import Identity
from nasrun.ops.pool import Pool
from nasrun.ops.term import State, mix
from nasrun.spaces.base import Layout, Mixture


class Edge(Candidates):
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
            if layout.pool_norm and isinstance(module, Pool):
                module = Pool(module.pool, nn.BatchNorm2d(channels, affine=layout.affine))
            self.candidates[choice] = module

    def forward(self, state: State, mixture: Mixture | None, drop_path: float) -> Tensor | None:
        if mixture is None:
            assert len(self.candidates) <= 1, "an edge with several candidates needs a mixture"
            running, weights = list(self.candidates.values()), None
        else:
            active = mixture.active[self.row]
            columns = [self.columns[c] for c in self.candidates if self.columns[c] in active]
            running = [m for c, m in self.candidates.items() if self.columns[c] in active]
            weights = mixture.weights[self.row][columns]
        if not running:
            return None
        total = mix([operation.term(state) for operation in running], weights)
        # drop path spares the identity of a discretised network
        if drop_path == 0.0 or (mixture is None and isinstance(running[0], Identity)):
            return total
        keep = 1.0 - drop_path
        mask = torch.bernoulli(torch.full((len(total), 1, 1, 1), keep, device=total.device))
        return total * (mask / keep).to(total.dtype)


def check_operations(operations: Sequence[str], choices: Mapping[str, Sequence[str]]) -> None:
    """ValueError unless all operations of a cell space and of its single edges are known."""
    known = {NONE, *ops.known()}
    named = [*operations, *(choice for found in choices.values() for choice in found)]
    unknown = [operation for operation in named if operation not in known]
    if unknown:
        raise ValueError(
            f"operations: {unknown[0]} is unknown; known are {', '.join(sorted(known))}"
        )
    if not set(operations) - {NONE}:
        raise ValueError("operations: at least one operation other than none")
