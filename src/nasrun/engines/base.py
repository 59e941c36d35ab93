"""What an engine is: a way to run one job on many orders, here or elsewhere.

Every engine gives the same results, to the byte: a job depends on its order alone, draws from
streams of its own, and computes on one thread, in this process too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasrun.budget import Budget

Job = Callable[[Any], Any]
"""Order to result; the job, its orders and its results can be sent to another process."""


class Engine(ABC):
    """Runs a job on every order; settings first, what to run with `run`.

    `elsewhere` says whether it does so in other processes than this.
    """

    elsewhere = True

    @abstractmethod
    def check(self, budget: Budget) -> None:
        """ValueError if what the engine needs is not there."""

    @abstractmethod
    def run(self, job: Job, orders: Sequence[Any], cores: int) -> Iterator[tuple[int, Any]]:
        """The position of an order with its result, in whatever order they are done.

        `cores` is how many threads this machine may give. An order whose process is lost is run
        again; a job's own error ends the run.
        """

    @abstractmethod
    def side_by_side(self, cores: int) -> int:
        """How many orders it works off at a time where this machine gives so many threads."""

    @abstractmethod
    def close(self) -> None:
        """End the processes that are kept between runs; the next run starts new ones."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute as a job does."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def prepare_worker() -> None:
    """In a process that only works off jobs: as `Budget.apply` in the parent, on one thread."""
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


class OnEngine(ABC):
    """What may hand jobs to the engine of its context; `on_engine` says whether it does."""

    engine: Engine

    @property
    @abstractmethod
    def on_engine(self) -> bool:
        """Whether it needs an engine, as it is set up."""


def given(engine: Engine | None) -> Engine:
    """The engine of a context; a plan gives one to whatever is `OnEngine`."""
    assert engine is not None
    return engine
