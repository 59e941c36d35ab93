"""A space with one network that can hold all choices at once, and how such a one is measured."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from nasrun import ops
from nasrun.costs.cost import CandidateCosts, candidate_costs
from nasrun.genotype import NONE, Genotype
from nasrun.networks import ImageClassifier
from nasrun.ops.noise import Noise
from nasrun.spaces.base import ClassifierSpace
from nasrun.spaces.decision import DecisionSpace
from nasrun.spaces.layout import Layout
from nasrun.supernet.mixture import Mixture

if TYPE_CHECKING:
    from nasrun.supernet.stacked import StackedNetwork


class SupernetSpace(DecisionSpace, ClassifierSpace):
    """A space with one network that can hold all choices at once: a supernet."""

    words = "a supernet"
    options = ImageClassifier.spaces
    adds_undrawn: ClassVar[bool] = False
    """Whether the released cell adds the weights of candidates that a search did not draw, zeros
    with a gradient, to what the drawn one gives (`nasrun.supernet.relaxation.HardGumbel`)."""

    @abstractmethod
    def restrict(self, choices: Mapping[str, tuple[str, ...]]) -> SupernetSpace:
        """The subspace in which the named decisions have only these choices."""

    @abstractmethod
    def network(
        self,
        genotype: Genotype | None = None,
        *,
        inputs: int,
        outputs: int,
        layout: Layout | None = None,
    ) -> StackedNetwork:
        """The network of a genotype, or with all choices of every decision when none is given.

        It maps images (B, inputs, H, W) to a tuple of logits (B, outputs): the classifier's, then
        in training the auxiliary head's if `layout` has one. `layout` defaults to the search's.
        """

    @property
    @abstractmethod
    def search_layout(self) -> Layout:
        """The search network's layout: `network`'s default."""

    @property
    @abstractmethod
    def published_layout(self) -> Layout:
        """The layout of the networks that papers on this space report parameters of."""

    @property
    def width(self) -> int:
        """The number of columns of alphas and mixtures: the most choices a decision has."""
        return max(len(decision.choices) for decision in self.decisions)

    def costs(
        self, *, inputs: int, outputs: int, size: int, layout: Layout | None = None
    ) -> CandidateCosts:
        """What every candidate costs in the network with all choices, on square images.

        `size` is their side in pixels; the network needs `nasrun.costs.cost.Candidates`.
        """
        with torch.device("meta"):
            network = self.network(inputs=inputs, outputs=outputs, layout=layout)
            weights = torch.zeros(len(self.decisions), self.width)
        idle = Mixture(weights, ((),) * len(self.decisions))
        return candidate_costs(network, self.decisions, idle, inputs=inputs, size=size)

    def size(self, genotype: Genotype) -> tuple[int, ...]:
        """How many operations with weights of their own each group keeps: MiLeNAS's (n, r)."""
        counts = dict.fromkeys(self.groups, 0)
        for decision in self.decisions:
            counts[decision.group] += ops.parametric(genotype[decision.name])
        return tuple(counts.values())

    def one_hot(self, genotype: Genotype, device: torch.device | None = None) -> Mixture:
        """The mixture that runs one genotype's operations with weight one inside a supernet."""
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
        return Mixture(weights.to(device), tuple(active))


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, but batch norms use the batch and leave their buffers alone.

    The running statistics of shared weights mix all candidates; so a supernet is measured by the
    batch (DARTS, 1806.09055). Every noise operation draws numbers of its own, the same in every
    batch, whatever else runs: so two measurements differ by nothing but what they measure.
    """
    modes = {module: module.training for module in network.modules()}
    norms = [module for module in modes if isinstance(module, nn.BatchNorm2d)]
    noises = [module for module in modes if isinstance(module, Noise)]
    network.eval()
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    for seed, noise in enumerate(noises):
        noise.repeat(seed)
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        for noise in noises:
            noise.repeat(None)
        for module, training in modes.items():
            module.training = training
