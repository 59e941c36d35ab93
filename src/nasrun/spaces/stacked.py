"""What the networks with a supernet have in common: a stem, blocks one after the other, a head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from nasrun.ops.term import State
from nasrun.spaces.auxiliary import AuxiliaryHead
from nasrun.spaces.base import Mixture
from nasrun.spaces.region import Region

States = tuple[State, ...]


class StackedNetwork(nn.Module, ABC):
    """Images (B, C, H, W) to logits, then in training the auxiliary head's if there is one.

    A block runs the candidates of the decisions in its `rows`; with more than one candidate a
    `Mixture` is needed. `drop_path` is the probability that what they give is dropped for a sample
    while training. From block to block go the states that the next one reads, the latest last.
    """

    last: nn.Module
    """What the last map goes through before it is pooled for the classifier."""

    classifier: nn.Linear

    def __init__(self) -> None:
        super().__init__()
        self.drop_path = 0.0
        self.auxiliary: AuxiliaryHead | None = None
        self.auxiliary_at = 0  # the block after which it sits
        self.pool = nn.AdaptiveAvgPool2d(1)

    @property
    @abstractmethod
    def blocks(self) -> Sequence[Region]:
        """In order."""

    @abstractmethod
    def enter(self, x: Tensor) -> States:
        """What the first block reads, from images."""

    @abstractmethod
    def through(
        self, index: int, states: States, mixture: Mixture | None, drop_path: float
    ) -> States:
        """What the next block reads, from what this one does."""

    def forward(self, x: Tensor, mixture: Mixture | None = None) -> tuple[Tensor, ...]:
        drop_path = self.drop_path if self.training else 0.0
        extra: tuple[Tensor, ...] = ()
        states = self.enter(x)
        for index in range(len(self.blocks)):
            states = self.through(index, states, mixture, drop_path)
            if self.training and self.auxiliary is not None and index == self.auxiliary_at:
                extra = (self.auxiliary(states[-1].map),)
        return (self._classify(states), *extra)

    def compared(self, x: Tensor, mixtures: Sequence[Mixture]) -> Iterator[tuple[Tensor]]:
        """`forward` with each mixture, in evaluation; blocks before they differ run once."""
        rows = differing(mixtures)
        numbers = range(len(self.blocks))
        alike = next((number for number in numbers if rows & self.blocks[number].rows), 0)
        trunk = self.enter(x)
        for number in numbers[:alike]:
            trunk = self.through(number, trunk, mixtures[0], 0.0)
        for mixture in mixtures:
            states = trunk
            for number in numbers[alike:]:
                states = self.through(number, states, mixture, 0.0)
            yield (self._classify(states),)

    def _classify(self, states: States) -> Tensor:
        return self.classifier(self.pool(self.last(states[-1].map)).flatten(1))


def differing(mixtures: Sequence[Mixture]) -> set[int]:
    """The rows in which not all of the mixtures run and weigh the same."""
    first, *others = mixtures
    rows: set[int] = set()
    for other in others:
        changed = (other.weights != first.weights).any(1).tolist()
        pairs = zip(first.active, other.active, changed, strict=True)
        rows |= {row for row, (one, two, weighs) in enumerate(pairs) if weighs or one != two}
    return rows
