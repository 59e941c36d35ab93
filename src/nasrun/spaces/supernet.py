"""Spaces with a supernet, and the batch norm mode in which supernets are measured."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from nasrun import ops
from nasrun.costs.cost import CandidateCosts, candidate_costs
from nasrun.genotype import NONE, Genotype
from nasrun.machine import sent
from nasrun.ops.noise import Noise
from nasrun.spaces.base import ClassifierSpace
from nasrun.spaces.inheritance import InheritingSpace
from nasrun.spaces.layout import Layout
from nasrun.supernet.mixture import Mixture

if TYPE_CHECKING:
    from nasrun.supernet.stacked import StackedNetwork


class SupernetSpace(InheritingSpace, ClassifierSpace):
    """A space with a supernet: one network that contains all choices at once."""

    words = "a supernet"
    options = "space=darts, mobile or nasbench201"
    adds_undrawn: ClassVar[bool] = False
    """True if the released cell adds the weights of candidates that were not drawn, zeros with a
    gradient, to the output of the drawn one (`nasrun.supernet.relaxation.HardGumbel`).
    """

    @abstractmethod
    def network(
        self,
        genotype: Genotype | None = None,
        *,
        inputs: int,
        outputs: int,
        layout: Layout | None = None,
    ) -> StackedNetwork:
        """Return a new network of the genotype, or with all choices if it is `None`.

        It maps images (B, inputs, H, W) to a tuple of logits (B, outputs): the classifier's and, in
        training, the auxiliary head's if `layout` has one. `layout` defaults to `search_layout`.
        """

    @property
    @abstractmethod
    def search_layout(self) -> Layout:
        """Layout of the search network, the default of `network`."""

    def partial_layout(self, parts: int) -> Layout:
        """Return the search network's layout with candidates that see one of `parts` of channels.

        ValueError if its channels cannot be split so.
        """
        channels = self.search_layout.channels
        if self.layer_wise and parts > 1:
            raise ValueError(f"partial_channels={parts}: this space has no edges; use 1")
        if channels % parts:
            raise ValueError(
                f"partial_channels={parts}: use a divisor of the search network's {channels} "
                "channels"
            )
        return replace(self.search_layout, partial=parts)

    @property
    @abstractmethod
    def published_layout(self) -> Layout:
        """Layout of the networks whose parameters papers on this space report."""

    @property
    def width(self) -> int:
        """Number of columns of alphas and mixtures: the largest number of choices."""
        return max(len(decision.choices) for decision in self.decisions)

    def column(self, decision: str, choice: str) -> int:
        """Return the column of a choice of the decision with this name."""
        return self.decisions[self.rows[decision]].choices.index(choice)

    def costs(
        self, *, inputs: int, outputs: int, size: int, layout: Layout | None = None
    ) -> CandidateCosts:
        """Return the costs of every candidate in the network with all choices, on square images.

        `size` is their side in pixels; the network needs `nasrun.costs.cost.Candidates`.
        """
        with torch.device("meta"):
            network = self.network(inputs=inputs, outputs=outputs, layout=layout)
            weights = torch.zeros(len(self.decisions), self.width)
        idle = Mixture(weights, ((),) * len(self.decisions))
        return candidate_costs(network, self.decisions, idle, inputs=inputs, size=size)

    def size(self, genotype: Genotype) -> tuple[int, ...]:
        """Return how many operations with weights each group keeps: MiLeNAS's (n, r)."""
        counts = dict.fromkeys(self.groups, 0)
        for decision in self.decisions:
            counts[decision.group] += ops.parametric(genotype[decision.name])
        return tuple(counts.values())

    def one_hot(self, genotype: Genotype, device: torch.device | None = None) -> Mixture:
        """Return the mixture that runs only the genotype's operations, with weight one."""
        assert not genotype.concat, "a supernet joins all nodes"
        weights = torch.zeros(len(self.decisions), self.width)
        active: list[tuple[int, ...]] = []
        for row, decision in enumerate(self.decisions):
            choice = genotype[decision.name]
            if choice == NONE:
                active.append(())
                continue
            column = decision.choices.index(choice)
            weights[row, column] = 1.0
            active.append((column,))
        return Mixture(sent(weights, device or weights.device), tuple(active))

    def alone(self, row: int, column: int, device: torch.device | None = None) -> Mixture:
        """Return the mixture in which one choice of one decision runs; none of row -1."""
        active = tuple((column,) if row == r else () for r in range(len(self.decisions)))
        return Mixture(torch.ones(len(active), self.width, device=device), active)


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Evaluation mode in which batch norms use the batch and do not change their buffers.

    Running statistics of shared weights mix all candidates, so a supernet is measured with batch
    statistics (DARTS, 1806.09055). Every noise operation uses its own random numbers, the same in
    every batch, so that measurements of different candidates are comparable.
    """
    modes = {module: module.training for module in network.modules()}
    norms = {m: m.track_running_stats for m in modes if isinstance(m, nn.BatchNorm2d)}
    noises = [module for module in modes if isinstance(module, Noise)]
    network.eval()
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    for seed, noise in enumerate(noises):
        noise.repeat(seed)
    try:
        yield
    finally:
        for norm, tracks in norms.items():
            norm.track_running_stats = tracks
        for noise in noises:
            noise.repeat(None)
        for module, training in modes.items():
            module.training = training
