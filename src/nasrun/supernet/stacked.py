"""The common structure of networks with a supernet: a stem, a sequence of blocks, a head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence

from torch import Tensor, nn

from nasrun.networks import ImageClassifier
from nasrun.ops.state import State
from nasrun.supernet.auxiliary import AuxiliaryHead
from nasrun.supernet.mixture import Mixture
from nasrun.supernet.region import Maps, Region

States = tuple[State, ...]


class StackedNetwork(ImageClassifier, ABC):
    """Maps images (B, C, H, W) to logits and, in training, to those of the auxiliary head, if any.

    Blocks pass on the states that the next one reads, the latest last. A mixture may be a function
    that returns one per block. `drop_path` is the probability that the candidates' output is
    dropped for a sample in training.
    """

    last: nn.Module
    """Layers between the last map and the pooling before the classifier."""

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
        """The blocks in order."""

    @abstractmethod
    def enter(self, x: Tensor) -> States:
        """Return the states that the first block reads, from images."""

    @abstractmethod
    def read(self, number: int, states: States) -> Maps:
        """Return the input maps of a block, from the states before it."""

    def forward(
        self, x: Tensor, mixture: Mixture | Callable[[], Mixture] | None = None
    ) -> tuple[Tensor, ...]:
        drop_path = self.drop_path if self.training else 0.0
        extra: tuple[Tensor, ...] = ()
        states = self.enter(x)
        for number in range(len(self.blocks)):
            own = mixture() if callable(mixture) else mixture
            states = self._after(number, states, self.read(number, states), own, drop_path)
            if self.training and self.auxiliary is not None and number == self.auxiliary_at:
                extra = (self.auxiliary(states[-1].map),)
        return (self._classify(states), *extra)

    def compared(
        self, x: Tensor, mixtures: Sequence[Mixture], rows: Collection[int]
    ) -> Iterator[tuple[Tensor]]:
        """Yield `forward` for each mixture, in evaluation; mixtures differ only in `rows`.

        The blocks before these rows run only once.
        """
        numbers = range(len(self.blocks))
        first = next((n for n in numbers if self.blocks[n].columns.keys() & rows), 0)
        states = self.enter(x)
        for number in numbers[:first]:
            states = self._after(number, states, self.read(number, states), mixtures[0], 0.0)
        maps = self.read(first, states)
        for mixture in mixtures:
            ends = self._after(first, states, maps, mixture, 0.0)
            for number in numbers[first + 1 :]:
                ends = self._after(number, ends, self.read(number, ends), mixture, 0.0)
            yield (self._classify(ends),)

    def _after(
        self, number: int, states: States, maps: Maps, mixture: Mixture | None, drop_path: float
    ) -> States:
        """Return the states after a block with these input maps."""
        return *states[1:], State(self.blocks[number](maps, mixture, drop_path))

    def _classify(self, states: States) -> Tensor:
        return self.classifier(self.pool(self.last(states[-1].map)).flatten(1))
