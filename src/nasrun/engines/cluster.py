"""Ray as an engine (extra `ray`): jobs on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from nasrun.budget import Budget
from nasrun.engines.base import Engine, Job, prepare_worker


class RayCluster(Engine):
    """One Ray task per order; all nodes must see the run's folder.

    `address` is that of a running cluster; `None` starts Ray on this machine. `cpus` and `gpus` are
    per member; with 0.5, two members share a GPU. A task whose worker dies is run again up to
    `retries` times.
    """

    def __init__(self, *, address: str | None, cpus: float, gpus: float, retries: int) -> None:
        if cpus <= 0:
            raise ValueError(f"cpus={cpus}: use more than 0")
        if gpus < 0:
            raise ValueError(f"gpus={gpus}: use 0 or more")
        if retries < 0:
            raise ValueError(f"retries={retries}: use 0 or more")
        self.address = address
        self.cpus = cpus
        self.gpus = gpus
        self.retries = retries
        self._job: Job | None = None
        self._stored: Any = None

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

        if not ray.is_initialized():
            here: dict[str, Any] = {} if self.address is not None else {"num_cpus": cores}
            ray.init(address=self.address, log_to_driver=False, include_dashboard=False, **here)
        if job is not self._job:
            self._job, self._stored = job, ray.put(job)
        remote = ray.remote(
            num_cpus=self.cpus, num_gpus=self.gpus, max_retries=self.retries, max_calls=0
        )(_work)
        running = {
            remote.remote(self._stored, order): position for position, order in enumerate(orders)
        }
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            yield running.pop(done), ray.get(done)

    def side_by_side(self, cores: int) -> int:
        """Return the number for this machine, also for a running cluster, whose size is unknown."""
        return max(1, int(cores / self.cpus))

    def close(self) -> None:
        import ray

        self._job = self._stored = None
        ray.shutdown()


def _work(job: Job, order: Any) -> Any:
    prepare_worker()
    return job(order)
