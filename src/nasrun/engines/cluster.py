"""Ray as an engine (extra `ray`): jobs on a cluster."""

from __future__ import annotations

import logging
import os
import socket
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from nasrun.budget import Budget
from nasrun.engines.base import Engine, Job, prepare_worker
from nasrun.engines.nodes import HeadLost, Nodes, answers, differing, own
from nasrun.machine import own_signals
from nasrun.world import Lost

OOM_RETRIES = "RAY_task_oom_retries"
"""Ray's setting: how often a task is tried again that its node ended for lack of memory."""
TYPED = OOM_RETRIES in os.environ
"""Whether the user has set it, which then is left alone."""

LOOK = 2.0
"""Seconds between two looks at the nodes of the cluster while nothing finishes."""


class RayCluster(Engine):
    """One Ray task per order; all nodes need this nasrun, the run's folder and the data.

    `address` is that of a running cluster; `None` starts Ray on this machine. `cpus` and `gpus` are
    per member; with 0.5, two members share a GPU. A task whose worker or node dies is run again up
    to `retries` times, on any node. While no node can run a member, the engine waits up to
    `patience` seconds for another one.
    """

    def __init__(
        self, *, address: str | None, cpus: float, gpus: float, retries: int, patience: float
    ) -> None:
        if address is not None and "://" in address:
            raise ValueError(
                f"address={address}: Ray's client is not used; type the command on a node of the "
                "cluster, and use auto or HOST:PORT"
            )
        if cpus <= 0:
            raise ValueError(f"cpus={cpus}: use more than 0")
        if gpus < 0:
            raise ValueError(f"gpus={gpus}: use 0 or more")
        if retries < 0:
            raise ValueError(f"retries={retries}: use 0 or more")
        if patience < 0:
            raise ValueError(f"patience={patience}: use 0 or more")
        self.address = address
        self.cpus = cpus
        self.gpus = gpus
        self.retries = retries
        self.patience = patience
        self._job: Job | None = None
        self._stored: Any = None
        self._nodes: Nodes | None = None

    def check(self, budget: Budget) -> None:
        if find_spec("ray") is None:
            raise ValueError(
                "engine=ray: Ray is missing; pip install 'nasrun[ray]', or use engine=pool"
            )
        if (budget.resolved["device"] == "cuda") != (self.gpus > 0):
            raise ValueError(
                f"engine.gpus={self.gpus:g}: members run on budget.device="
                f"{budget.resolved['device']}; use engine.gpus=1 on cuda, 0.5 for two on one GPU, "
                "and 0 elsewhere"
            )
        if self.address is not None:
            self._connect(0).refuse_unlike()
            return
        import torch

        threads = budget.resolved["threads"]
        for key, asked, there, why in (
            ("cpus", self.cpus, threads, f"budget.threads={threads}"),
            ("gpus", self.gpus, torch.cuda.device_count(), "what this machine has"),
        ):
            if asked > there:  # Ray would wait for it forever
                raise ValueError(
                    f"engine.{key}={asked:g}: one member needs more than there is; use at "
                    f"most {there}, {why}"
                )

    def run(self, job: Job, orders: Sequence[Any], cores: int) -> Iterator[tuple[int, Any]]:
        import ray

        nodes = self._connect(cores)
        if job is not self._job:
            self._job, self._stored = job, ray.put(job)
        # a process that has used a GPU keeps it, also while it waits, and also for its next task
        remote = ray.remote(
            num_cpus=self.cpus,
            num_gpus=self.gpus,
            max_retries=self.retries,
            max_calls=1 if self.gpus else 0,
        )(_work)
        ours = own()
        running = {
            remote.remote(self._stored, order, ours): position
            for position, order in enumerate(orders)
        }
        try:
            while running:
                done, _ = ray.wait(list(running), num_returns=1, timeout=LOOK)
                for each in done:
                    result, failed = ray.get(each)
                    if failed is not None:
                        raise _named(result, failed) from RuntimeError(failed.trace)
                    yield running.pop(each), result
                nodes.look()
        except ray.exceptions.RayError as error:
            self.close()
            raise _lost(error, self.retries) from error
        except HeadLost:
            raise  # Ray would wait for it
        except BaseException:
            self.close()
            raise

    def side_by_side(self, cores: int) -> int:
        """Return the number of places in a running cluster, once checked, or on this machine."""
        if self._nodes is not None:
            return max(1, self._nodes.places)
        import torch

        places = [cores / self.cpus]
        if self.gpus:
            places.append(torch.cuda.device_count() / self.gpus)
        return max(1, int(min(places)))

    def close(self) -> None:
        import ray

        self._job = self._stored = self._nodes = None
        ray.shutdown()

    def _connect(self, cores: int) -> Nodes:
        """Return the nodes of the cluster, after joining it; `cores` are those of a new one."""
        import ray

        if self._nodes is None or not ray.is_initialized():
            if not ray.is_initialized():
                self._join(cores)
            self._nodes = Nodes(cpus=self.cpus, gpus=self.gpus, patience=self.patience)
        return self._nodes

    def _join(self, cores: int) -> None:
        import ray
        import ray._private.worker as worker

        # a lost node's log would be printed, for which Ray has no public switch
        worker._worker_logs_enabled = False
        local: dict[str, Any] = {} if self.address is not None else {"num_cpus": cores}
        # a member that its node ends for lack of memory would be tried again for ever
        if not TYPED:
            os.environ[OOM_RETRIES] = str(self.retries)
        try:
            if self.address not in (None, "auto"):
                answers(str(self.address))  # Ray would try for a minute
            with own_signals():  # Ray answers SIGTERM itself
                ray.init(
                    address=self.address or "local",  # None would be any cluster on this machine
                    log_to_driver=False,
                    include_dashboard=False,
                    logging_level=logging.ERROR,
                    **local,
                )
        except (OSError, RuntimeError, ValueError) as error:
            if self.address is None:
                raise
            why = str(error).split("\n")[0].rstrip(".")
            raise ValueError(
                f"engine.address={self.address}: cannot be joined ({why}); start a cluster by "
                "`ray start --head`, or leave it out to use this machine"
            ) from error


def _lost(error: Exception, retries: int) -> Lost:
    """Return an error of the cluster in one line."""
    from ray.exceptions import LocalRayletDiedError, RayTaskError

    lines = str(error).strip().splitlines()
    if isinstance(error, LocalRayletDiedError):
        return Lost("engine=ray: Ray on this machine has ended; start it again by `ray start`")
    if isinstance(error, RayTaskError):  # of Ray itself: those of jobs are results
        return Lost(
            f"engine=ray: a node cannot read the order of a member ({lines[-1]}); install the same "
            "there as here"
        )
    why = lines[0].rstrip(".")
    return Lost(
        f"engine=ray: a member was lost {retries + 1} times with its process ({why}); if memory "
        "ran out, use a larger engine.cpus, so that fewer members run on one node"
    )


@dataclass(frozen=True)
class Failed:
    """Where a job has failed: the node, and the lines of code."""

    node: str
    trace: str


def _named(error: Exception, failed: Failed) -> Exception:
    """Return the error of a job, with its node if that is another machine."""
    if isinstance(error, ValueError) and failed.node != socket.gethostname():
        return ValueError(f"on node {failed.node}: {error}")
    return error


def _work(job: Job, order: Any, ours: Mapping[str, str | None]) -> tuple[Any, Failed | None]:
    """Return the result of an order, or the error of the job.

    A node that came late may have other code.
    """
    node = socket.gethostname()
    try:
        if unlike := differing(ours, own()):
            raise ValueError(f"engine=ray: node {node} {unlike}")
        prepare_worker()
        return job(order), None
    except Exception as error:  # noqa: BLE001  the command raises it again
        return error, Failed(node, traceback.format_exc())
