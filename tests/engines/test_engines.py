"""Engines: the same results everywhere, lost processes replaced, errors told."""

import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from nasrun.budget import Budget
from nasrun.engines.base import prepare_worker
from nasrun.engines.cluster import RayCluster
from nasrun.engines.local import Pool, Serial, Worker

BUDGET = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
RAY = {"address": None, "cpus": 1.0, "gpus": 0.0, "retries": 0, "patience": 0.0}


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


@dataclass(frozen=True)
class Nested:
    """Runs a pool of its own, as an arm of a claim does whose search trains on the engine."""

    def __call__(self, order):
        engine = Pool(processes=2, retries=0)
        return engine.side_by_side(2), results(engine, Product(4), [order, order + 1])


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


def test_a_pool_in_a_process_of_a_pool_starts_no_processes_and_gives_the_same():
    expected = results(Serial(), Product(4), [7, 8])
    assert results(Pool(processes=1, retries=0), Nested(), [7]) == {0: (1, expected)}


def test_the_number_of_threads_and_the_random_state_are_put_back():
    state = torch.get_rng_state()
    torch.set_num_threads(2)
    found = results(Serial(), Product(4), [1, 2])
    assert {threads for _, threads in found.values()} == {1}
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), state)


def test_a_pool_has_two_processes_per_gpu_and_divides_them_among_the_gpus(monkeypatch):
    started = []

    def start(job, gpu):
        started.append(gpu)
        return Worker(process=None, line=None, gpu=gpu)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    there = replace(BUDGET)
    there.resolved["device"] = "cuda"
    pool = Pool(processes=None, retries=0)
    pool.check(there)
    assert [pool.side_by_side(cores) for cores in (4, 64)] == [4, 6]
    pool._workers = [Worker(process=None, line=None, gpu=gpu) for gpu in (0, 0, 1, 2, 2)]
    assert pool._free() == 1  # where a process has died
    pool._workers = []
    monkeypatch.setattr(Worker, "start", start)
    for _ in range(6):
        pool._workers.append(Worker.start(None, pool._free()))
    assert started == [0, 1, 2, 0, 1, 2]
    assert Pool(processes=9, retries=0).side_by_side(4) == 9
    pool.check(BUDGET)
    assert pool.side_by_side(64) == 64 and pool._free() is None
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "1" if name.endswith("RANK") else "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "run")
    pool.check(there)
    assert pool.side_by_side(64) == 2 and pool._free() == 1


def test_a_worker_computes_on_its_gpu(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    prepare_worker(2)
    prepare_worker()
    assert chosen == [2]


def test_a_worker_that_is_killed_is_replaced_and_its_order_done(tmp_path):
    assert results(Pool(processes=1, retries=1), Dies(tmp_path, 1), [0, 1, 2]) == {
        0: 0,
        1: 10,
        2: 20,
    }


def test_an_order_that_kills_every_worker_ends_the_run(tmp_path):
    with pytest.raises(ChildProcessError, match=r"died 2 times on the same work .*exit code -9"):
        results(Pool(processes=1, retries=1), Dies(tmp_path, 9), [1])


def test_a_jobs_own_error_is_raised_here():
    with pytest.raises(ValueError, match="order=7: cannot be done") as raised:
        results(Pool(processes=1, retries=2), Fails(), [7])
    assert "in __call__" in str(raised.value.__cause__)  # where it was, in the other process


@pytest.fixture
def parent(tmp_path):
    """Starts a process whose pool has a job; returns it and a pipe that its worker holds."""
    name = tmp_path / "pipe"
    os.mkfifo(name)
    held = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    processes = []

    def start(job):
        text = f"""
if __name__ == "__main__":
    from nasrun.cli.ending import Ended, heard
    from nasrun.engines.local import Pool
    from tests.engines.endless import {job}
    try:
        with heard():
            dict(Pool(processes=1, retries=0).run({job}({str(name)!r}), [0], 1))
    except Ended as ended:
        raise SystemExit(128 + ended.number)
    except KeyboardInterrupt:
        raise SystemExit(130)
"""
        path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", text],
                env={**os.environ, **path},
                stderr=subprocess.PIPE,
                start_new_session=True,
                # a job in a shell's background inherits SIGINT as ignored; a terminal's does not
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        )
        return processes[-1], held

    yield start
    os.close(held)
    for process in processes:
        with process:
            process.kill()


def read(held, lines):
    """Return the lines that were written into a pipe, fewer if no process holds it any more."""
    text = b""
    while text.count(b"\n") < lines:
        assert select.select([held], [], [], 30)[0], text
        if not (more := os.read(held, 100)):
            break
        text += more
    return text.splitlines()


def test_workers_end_with_a_parent_that_is_killed(parent):
    process, held = parent("Endless")
    assert read(held, 1) == [b"working"]
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
    assert read(held, 1) == []  # the worker holds it no more


def test_workers_end_with_a_parent_that_is_asked_to_end(parent):
    process, held = parent("Endless")
    assert read(held, 1) == [b"working"]
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    assert read(held, 1) == []


def test_an_interrupt_while_workers_start_is_heard_by_their_parent_alone(parent):
    process, held = parent("Slow")
    assert read(held, 1) == [b"working"]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(30) == 130
    assert read(held, 1) == []
    assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"cpus": 2},
            "engine.cpus=2: one member needs more than there is; use at most 1, budget.thre",
        ),
        ({"gpus": 0.5}, "engine.gpus=0.5: members run on budget.device=cpu; .* 0 elsewhere"),
    ],
)
def test_ray_is_not_asked_for_what_never_comes(monkeypatch, settings, text):
    monkeypatch.setattr("nasrun.engines.cluster.find_spec", lambda name: name)
    engine = RayCluster(**RAY | settings)
    with pytest.raises(ValueError, match=text):
        engine.check(BUDGET)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Pool(processes=0, retries=0), "processes=0: use at least 1"),
        (lambda: Pool(processes=1, retries=-1), "retries=-1: use 0 or more"),
        (lambda: RayCluster(**RAY | {"cpus": 0}), "cpus=0: use more than 0"),
        (lambda: RayCluster(**RAY | {"gpus": -1}), "gpus=-1: use 0 or more"),
        (lambda: RayCluster(**RAY | {"patience": -1}), "patience=-1: use 0 or more"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
