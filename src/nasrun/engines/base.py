"""Engines: they run one job on many orders, in this process or in others.

All engines give the same bytes: a job depends only on its order, draws from its own random streams,
and computes on one thread, in this process, too.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasrun.budget import Budget

Job = Callable[[Any], Any]
"""Maps an order to a result; job, orders and results can be sent to another process."""


class Engine(ABC):
    """Runs a job on every order; settings in the constructor, the work in `run`.

    `elsewhere` is true if it runs in other processes than this one.
    """

    elsewhere = True

    @abstractmethod
    def check(self, budget: Budget) -> None:
        """Raise ValueError if the engine cannot run here."""

    @abstractmethod
    def run(self, job: Job, orders: Sequence[Any], cores: int) -> Iterator[tuple[int, Any]]:
        """Yield (position of an order, its result) in the order in which they finish.

        `cores` is the number of threads to use on this machine. An order whose process dies is run
        again; a job's own error ends the run.
        """

    @abstractmethod
    def side_by_side(self, cores: int) -> int:
        """Return how many orders run at a time with `cores` threads on this machine."""

    @abstractmethod
    def close(self) -> None:
        """End the processes kept between runs; the next run starts new ones."""


def prepare_worker(gpu: int | None = None) -> None:
    """Configure a worker process like `Budget.apply` in its parent, but with one thread.

    `gpu` is the number of the GPU that it computes on if it computes on one.
    """
    import torch

    if gpu is not None:
        torch.cuda.set_device(gpu)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def refuse_unseen(folder: Path) -> None:
    """Raise ValueError if this process, perhaps on another machine, does not see a folder."""
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: {socket.gethostname()} has no such folder; use a file system that all "
            "nodes share"
        )


class OnEngine(ABC):
    """An object that can give jobs to the engine of its context."""

    engine: Engine

    @property
    @abstractmethod
    def on_engine(self) -> bool:
        """Return whether the object needs an engine with its settings."""


def given(engine: Engine | None) -> Engine:
    """Return the engine of a context; a plan gives one to every object that is `on_engine`."""
    assert engine is not None
    return engine
