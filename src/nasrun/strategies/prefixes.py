"""Architectures decided down to a depth only, and what stands for the rest.

A prefix decides the first depths of a space; a filler decides the others: `skip_connect` where a
decision has it, else its choice with the fewest parameters. So every prefix is an architecture of
the space, and every evaluator can score it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor

from nasrun.genotype import NONE, SKIP, AtMost, Genotype
from nasrun.spaces.decision import DecisionSpace


class Prefixes:
    """The prefixes of a space as tensors (N, t): columns of the first t decisions, by depth.

    The columns of a decision are its `options`: its candidates, and `none` where a limit drops
    edges. `alive` (decisions, columns) is true where there is such an option. `ends` lists how many
    decisions each depth ends with. `params` (of a decision and its choice) are
    needed where a decision has no `skip_connect`.
    """

    def __init__(self, space: DecisionSpace, params: Mapping[str, Mapping[str, float]]) -> None:
        self.space = space
        self.names = tuple(name for depth in space.depths for name in depth)
        self.ends = tuple(accumulate(map(len, space.depths)))
        self._limits = {name: limit for limit in space.limits for name in limit.decisions}
        self.options = tuple(self._options(name) for name in self.names)
        width = max(map(len, self.options))
        self.alive = torch.tensor([[c < len(row) for c in range(width)] for row in self.options])
        self._params = params

    def _options(self, name: str) -> tuple[str, ...]:
        candidates = self.space.candidates(self.space.decisions[self.space.rows[name]])
        return (*candidates, *([NONE] if name in self._limits else []))

    @property
    def depth(self) -> int:
        """Number of depths of the space."""
        return len(self.ends)

    @property
    def empty(self) -> Tensor:
        """The one prefix that decides nothing."""
        return torch.zeros(1, 0, dtype=torch.long)

    def uniform(self, columns: Tensor) -> Tensor:
        """Return log-probabilities (N, columns) of the next decision if genotypes are uniform.

        Where a limit keeps k of the n edges not decided yet, the next one is kept with k / n.
        """
        row = columns.shape[1]
        options, limit = self.options[row], self._limits.get(self.names[row])
        shares = torch.zeros(len(columns), self.alive.shape[1], dtype=torch.float64)
        if limit is None:
            shares[:, : len(options)] = 1 / len(options)
        else:
            kept = self._kept(columns, row, limit)
            shares[:, : len(options) - 1] = kept[:, None] / (len(options) - 1)
            shares[:, len(options) - 1] = 1 - kept
        return shares.log()

    def _kept(self, columns: Tensor, row: int, limit: AtMost) -> Tensor:
        """Return the probability that an edge of a limit is kept, (N,)."""
        rows = [self.names.index(name) for name in limit.decisions]
        before = [earlier for earlier in rows if earlier < row]
        dropped = torch.tensor([len(self.options[earlier]) - 1 for earlier in before])
        kept = (columns[:, before] != dropped).sum(dim=1).double()
        return ((limit.count - kept) / (len(rows) - len(before))).clamp(0, 1)

    def log_probs(self, logits: Tensor, columns: Tensor) -> Tensor:
        """Return log-probabilities (N, t, columns) of all options of decided ones.

        logits: (N, t, columns), added to those of the uniform draw.
        """
        uniform = [self.uniform(columns[:, :row]) for row in range(columns.shape[1])]
        return torch.log_softmax(logits.double() + torch.stack(uniform, dim=1), dim=2)

    def genotypes(self, columns: Tensor) -> list[Genotype]:
        """Return the architectures of prefixes: what they decide, then the filler."""
        return [
            self.space.cheapest(
                self._price,
                {
                    name: options[column]
                    for name, options, column in zip(self.names, self.options, row, strict=False)
                },
            )
            for row in columns.tolist()
        ]

    def _price(self, name: str, choice: str) -> float:
        return -math.inf if choice == SKIP else self._params.get(name, {}).get(choice, 0.0)
