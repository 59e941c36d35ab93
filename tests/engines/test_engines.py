"""Engines: the same results everywhere, lost processes replaced, errors told."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from nasrun.budget import Budget
from nasrun.engines.cluster import RayCluster
from nasrun.engines.local import Pool, Serial

BUDGET = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Another process finds this file's jobs by their module's name, from the project's root."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2])


@dataclass(frozen=True)
class Product:
    """A job whose result depends on the order, the random stream and the number of threads."""

    size: int

    def __call__(self, order):
        torch.manual_seed(order)
        matrix = torch.randn(self.size, self.size)
        return float((matrix @ matrix).sum()), torch.get_num_threads()


@dataclass(frozen=True)
class Dies:
    """Kills its own process the first time that it sees an order."""

    folder: Path
    times: int

    def __call__(self, order):
        seen = len(list(self.folder.glob(f"{order}.*")))
        (self.folder / f"{order}.{seen}").touch()
        if order == 1 and seen < self.times:
            os.kill(os.getpid(), signal.SIGKILL)
        return order * 10


@dataclass(frozen=True)
class Fails:
    def __call__(self, order):
        raise ValueError(f"order={order}: cannot be done")


def results(engine, job, orders, cores=2):
    try:
        return dict(engine.run(job, orders, cores))
    finally:
        engine.close()


def test_a_pool_gives_what_this_process_gives():
    orders = [3, 5, 8, 13]
    here = results(Serial(), Product(300), orders)
    there = results(Pool(processes=2, retries=0), Product(300), orders)
    assert here == there
    assert {threads for _, threads in here.values()} == {1}


def test_the_number_of_threads_and_the_random_state_are_put_back():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    results(Serial(), Product(4), [1, 2])
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_worker_that_is_killed_is_replaced_and_its_order_done(tmp_path):
    assert results(Pool(processes=1, retries=1), Dies(tmp_path, 1), [0, 1, 2]) == {
        0: 0,
        1: 10,
        2: 20,
    }


def test_an_order_that_kills_every_worker_ends_the_run(tmp_path):
    with pytest.raises(ChildProcessError, match=r"died 2 times over one member .*exit code -9"):
        results(Pool(processes=1, retries=1), Dies(tmp_path, 9), [1])


def test_a_jobs_own_error_is_raised_here():
    with pytest.raises(ValueError, match="order=7: cannot be done") as raised:
        results(Pool(processes=1, retries=2), Fails(), [7])
    assert "in __call__" in str(raised.value.__cause__)  # where it was, in the other process


def test_ray_gives_what_this_process_gives():
    pytest.importorskip("ray")
    engine = RayCluster(address=None, cpus=1.0, gpus=0.0, retries=0)
    engine.check(BUDGET)
    assert results(engine, Product(300), [3, 5]) == results(Serial(), Product(300), [3, 5])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"cpus": 2}, "engine.cpus=2: one member needs more than all have; at most 1, budget.thre"),
        ({"gpus": 0.5}, "engine.gpus=0.5: members run on budget.device=cpu; .* 0 elsewhere"),
    ],
)
def test_ray_is_not_asked_for_what_never_comes(monkeypatch, settings, text):
    monkeypatch.setattr("nasrun.engines.cluster.find_spec", lambda name: name)
    engine = RayCluster(**{"address": None, "cpus": 1.0, "gpus": 0.0, "retries": 0} | settings)
    with pytest.raises(ValueError, match=text):
        engine.check(BUDGET)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Pool(processes=0, retries=0), "processes=0: at least 1"),
        (lambda: Pool(processes=1, retries=-1), "retries=-1: from 0 on"),
        (lambda: RayCluster(address=None, cpus=0, gpus=0, retries=0), "cpus=0: more than 0"),
        (lambda: RayCluster(address=None, cpus=1, gpus=-1, retries=0), "gpus=-1: from 0 on"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
