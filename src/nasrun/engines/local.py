"""Engines on one machine: this process, or a pool of processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

from nasrun.budget import Budget
from nasrun.engines.base import Engine, Job, prepare_worker
from nasrun.machine import one_thread
from nasrun.streams import restored
from nasrun.world import Launched

PER_GPU = 2
"""Ours: how many processes share a GPU, each of which keeps a context and libraries in it."""


class Serial(Engine):
    """One order after the other in this process, on one thread."""

    elsewhere = False

    def check(self, budget: Budget) -> None:
        """Accept every budget."""

    def run(self, job: Job, orders: Sequence[Any], cores: int) -> Iterator[tuple[int, Any]]:
        for position, order in enumerate(orders):
            with one_thread(), restored():
                result = job(order)
            yield position, result

    def side_by_side(self, cores: int) -> int:
        return 1

    def close(self) -> None:
        """Do nothing, since no process is kept."""


@dataclass
class Worker:
    """A process that runs the orders sent to it, one at a time."""

    process: BaseProcess
    line: Connection
    gpu: int | None
    position: int | None = None

    @classmethod
    def start(cls, job: Job, gpu: int | None) -> Worker:
        """Start a new process that has the job and, on CUDA, computes on this GPU."""
        spawn = multiprocessing.get_context("spawn")  # a fork would inherit locked threads
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_work, args=(theirs, job, gpu), daemon=True)
        with _deaf():
            process.start()
        theirs.close()  # so that the line ends when the process dies
        return cls(process, ours, gpu)

    def stop(self) -> None:
        """End the process, even in the middle of an order."""
        self.line.close()
        self.process.terminate()
        self.process.join()


class Pool(Engine):
    """`processes` processes with one thread each; `None` is one per thread of the budget.

    On CUDA, `None` is at most `PER_GPU` per GPU, and the processes are divided among the GPUs. They
    are started once and run one order after the other. A process that dies is replaced, and its
    order is run again, up to `retries` times per order. A process of a pool starts no others: a
    pool in it runs one order after the other.
    """

    def __init__(self, *, processes: int | None, retries: int) -> None:
        if processes is not None and processes < 1:
            raise ValueError(f"processes={processes}: use at least 1, or null for one per thread")
        if retries < 0:
            raise ValueError(f"retries={retries}: use 0 or more")
        self.processes = processes
        self.retries = retries
        self._job: Job | None = None
        self._workers: list[Worker] = []
        self._gpus: Sequence[int] = ()

    def check(self, budget: Budget) -> None:
        """Accept every budget; on CUDA, find the GPUs that this process may use."""
        self._gpus = ()
        if budget.resolved["device"] == "cuda":
            import torch

            launched = Launched.here()  # if there is one, each of its processes has its own GPU
            self._gpus = range(torch.cuda.device_count()) if launched is None else [launched.local]

    def run(self, job: Job, orders: Sequence[Any], cores: int) -> Iterator[tuple[int, Any]]:
        if _in_a_pool():
            yield from Serial().run(job, orders, cores)
            return
        if job is not self._job:
            self.close()
            self._job = job
        waiting = deque(range(len(orders)))
        lost = dict.fromkeys(waiting, 0)
        size = min(self.side_by_side(cores), len(orders))
        try:
            left = len(orders)
            while left:
                while len(self._workers) < size:
                    self._workers.append(Worker.start(job, self._free()))
                for worker in self._workers:
                    if worker.position is None and waiting:
                        self._give(worker, waiting.popleft(), orders)
                busy = [worker for worker in self._workers if worker.position is not None]
                ready = wait([worker.line for worker in busy])
                for worker in [worker for worker in busy if worker.line in ready]:
                    position = worker.position
                    assert position is not None
                    try:
                        result, trace = worker.line.recv()
                    except (EOFError, ConnectionResetError):
                        self._replace(worker)
                        lost[position] += 1
                        if lost[position] > self.retries:
                            raise ChildProcessError(_lost(worker, lost[position])) from None
                        waiting.appendleft(position)
                        continue
                    worker.position = None
                    if trace is not None:
                        raise result from RuntimeError(f"in a worker process:\n{trace}")
                    left -= 1
                    yield position, result
        except BaseException:
            self.close()
            raise

    def side_by_side(self, cores: int) -> int:
        if _in_a_pool():
            return 1
        return self.processes or min(cores, PER_GPU * len(self._gpus) or cores)

    def close(self) -> None:
        for worker in self._workers:
            worker.stop()
        self._workers, self._job = [], None

    def _free(self) -> int | None:
        """Return the first GPU with the fewest processes, `None` if there is none."""
        used = Counter(worker.gpu for worker in self._workers)
        return min(self._gpus, key=lambda gpu: used[gpu], default=None)

    def _give(self, worker: Worker, position: int, orders: Sequence[Any]) -> None:
        worker.position = position
        # if the worker died while idle, `run` notices the end of its line
        with suppress(BrokenPipeError, ConnectionResetError):
            worker.line.send(orders[position])

    def _replace(self, worker: Worker) -> None:
        worker.stop()
        self._workers.remove(worker)


def _in_a_pool() -> bool:
    """Return whether this process works for a pool, so that it may start no processes."""
    return multiprocessing.current_process().daemon


def _lost(worker: Worker, times: int) -> str:
    code = worker.process.exitcode
    return (
        f"a worker process died {times} times on the same work (exit code {code}; -9 usually means "
        "too little memory); use engine.processes=1, which needs the least memory"
    )


@contextmanager
def _deaf() -> Iterator[None]:
    """Start processes that ignore Ctrl-C; this one receives it after the context.

    A terminal sends Ctrl-C to all processes; the one that the user started ends the others.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # its start would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(line: Connection, job: Job, gpu: int | None) -> None:
    """Run orders until the parent closes its end of the line, or dies."""
    Thread(target=_end_with_parent, daemon=True).start()
    prepare_worker(gpu)
    while True:
        try:
            order = line.recv()
        except (EOFError, ConnectionResetError):
            return
        answer: tuple[Any, str | None]  # a result, or an error and its traceback
        try:
            answer = job(order), None
        except Exception as error:  # noqa: BLE001  the parent raises it again
            answer = error, traceback.format_exc()
        try:
            line.send(answer)
        except (BrokenPipeError, ConnectionResetError):
            return


def _end_with_parent() -> None:
    """End this process at once when its parent dies."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
