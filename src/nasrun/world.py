"""The processes that share the work of a command: each trains on its slice of every batch.

A single process is the world of size one (`ALONE`); `nasrun.ranks` has the world of several.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

Value = TypeVar("Value")


class Lost(Exception):
    """This process cannot go on with the others: one has ended, or numbers cannot be exchanged."""


class Closed(Lost):
    """All that is known of the end of another process is that its connection was closed."""


@dataclass(frozen=True)
class Slice:
    """The images `start` to `stop` - 1 of a batch of `whole` images."""

    start: int
    stop: int
    whole: int

    @property
    def range(self) -> slice:
        """The slice as an index."""
        return slice(self.start, self.stop)


class World(ABC):
    """The processes that share the work: this one is number `rank` of `size`.

    All of them call the same methods in the same order.
    """

    rank: int
    size: int
    part: Slice | None
    """The slice of the running forward pass, `None` if its batch is not divided."""

    @property
    def leads(self) -> bool:
        """Return whether this process writes and prints for all."""
        return self.rank == 0

    def slice(self, count: int) -> Slice:
        """Return this process's slice of a batch of `count` images; slices differ by at most one.

        All images of a batch are in one slice or another.
        """
        start, stop = (count * rank // self.size for rank in (self.rank, self.rank + 1))
        return Slice(start, stop, count)

    def own(self, items: Sequence[Value]) -> Sequence[Value]:
        """Return every `size`-th item, so that each item belongs to one process."""
        return items[self.rank :: self.size]

    @abstractmethod
    def meet(self) -> None:
        """Wait until all processes are here."""

    @abstractmethod
    def first(self, make: Callable[[], Value]) -> Value:
        """Return what the leader makes, which it sends to the others."""

    @abstractmethod
    def together(self, value: Value) -> list[Value]:
        """Return the values of all processes, by rank."""

    @abstractmethod
    def share(self, make: Callable[[], Value], take: Callable[[Value], None]) -> None:
        """Give what the leader makes to the others, which take it."""

    @abstractmethod
    def averaged(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the means of tensors over all processes, not differentiable."""

    @abstractmethod
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over all processes."""

    @abstractmethod
    def stacked(self, tensor: Tensor) -> Tensor:
        """Return the tensors of all processes, (size, ...), not differentiable."""

    @abstractmethod
    def total(self, *tensors: Tensor) -> Sequence[Tensor]:
        """Return the sums of tensors of one type over all processes, not differentiable."""

    @abstractmethod
    def shares(self, like: Tensor) -> Tensor | None:
        """Return the processes' shares of the divided batch, (size,), of the type of `like`."""

    @abstractmethod
    def dividing(self, part: Slice) -> AbstractContextManager[Any]:
        """Return the context of a forward pass on this slice of a batch."""

    @abstractmethod
    def weighed(self, loss: Tensor, part: Slice) -> Tensor:
        """Return the mean loss of a slice, weighed so that its mean over all is that of the batch.

        The same holds for its gradient.
        """

    @abstractmethod
    def each(self, draw: Callable[[int], Tensor], count: int) -> Tensor:
        """Return random numbers of `count` images, drawn by `draw` for those of the whole batch."""

    @abstractmethod
    def enter(self, network: nn.Module) -> None:
        """Prepare the random numbers and batch norms of a network for slices."""

    @abstractmethod
    def settle(self, network: nn.Module) -> None:
        """Give a network the same running statistics in all processes: their means."""

    @abstractmethod
    def reduction(self, network: nn.Module) -> Callable[[], None]:
        """Return a function to call after each `loss.backward()`: it averages all gradients."""


class Alone(World):
    """The world of one process."""

    rank, size, part = 0, 1, None

    def meet(self) -> None: ...

    def first(self, make: Callable[[], Value]) -> Value:
        return make()

    def together(self, value: Value) -> list[Value]:
        return [value]

    def share(self, make: Callable[[], Value], take: Callable[[Value], None]) -> None: ...

    def averaged(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return tensors

    def average(self, tensors: Sequence[Tensor]) -> None: ...

    def stacked(self, tensor: Tensor) -> Tensor:
        return tensor[None]

    def total(self, *tensors: Tensor) -> Sequence[Tensor]:
        return tensors

    def shares(self, like: Tensor) -> Tensor | None:
        return None

    def dividing(self, part: Slice) -> AbstractContextManager[Any]:
        return nullcontext()

    def weighed(self, loss: Tensor, part: Slice) -> Tensor:
        return loss

    def each(self, draw: Callable[[int], Tensor], count: int) -> Tensor:
        return draw(count)

    def enter(self, network: nn.Module) -> None: ...

    def settle(self, network: nn.Module) -> None: ...

    def reduction(self, network: nn.Module) -> Callable[[], None]:
        return _nothing


ALONE = Alone()


def _nothing() -> None: ...


@dataclass(frozen=True)
class Launched:
    """A process that torch's launcher has started: number `rank` of `size`.

    It is number `local` of the `beside` that run on this machine.
    """

    rank: int
    size: int
    local: int
    beside: int

    @classmethod
    def here(cls) -> Launched | None:
        """Return this process as torch's launcher started it; `None` for any other start."""
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            return None
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return cls(*(int(os.environ[name]) for name in names))
