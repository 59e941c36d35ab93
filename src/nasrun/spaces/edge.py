"""An edge of a cell: the operations that it chooses among, alone or mixed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nasrun import ops
from nasrun.genotype import NONE
from nasrun.spaces.base import Layout, Mixture


class Edge(nn.Module):
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
            if layout.pool_norm and isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
                module = nn.Sequential(module, nn.BatchNorm2d(channels, affine=layout.affine))
            self.candidates[choice] = module

    def forward(self, x: Tensor, mixture: Mixture | None, drop_path: float) -> Tensor | None:
        total: Tensor | None = None
        if mixture is None:
            assert len(self.candidates) <= 1, "an edge with several candidates needs a mixture"
            for module in self.candidates.values():
                total = module(x)
                if isinstance(module, nn.Identity):
                    return total  # drop path spares the identity
        else:
            active = mixture.active[self.row]
            weights = mixture.weights[self.row]
            for choice, module in self.candidates.items():
                column = self.columns[choice]
                if column in active:
                    y = weights[column] * module(x)
                    total = y if total is None else total + y
        if total is None or drop_path == 0.0:
            return total
        keep = 1.0 - drop_path
        mask = torch.bernoulli(torch.full((len(x), 1, 1, 1), keep, device=x.device))
        return total * (mask / keep).to(total.dtype)
