"""Ray: two nodes give this process's bytes, also if one of them is killed; faults are one line."""

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from nasrun.budget import Budget
from nasrun.engines import nodes
from nasrun.engines.base import Job
from nasrun.engines.cluster import RayCluster
from nasrun.world import Lost

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
from check_kills import differences

BUDGET = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
TINY = ["images=64", "batch_size=16", "width=2", "budget.threads=1", "budget.device=cpu"]
CELLS = ["depth=3", "space.nodes=1", "space.kept_edges=1", "strategy.evaluator.epochs=1"]
MEMBERS = ["task=classification", "space=darts", "depth=3", "space.nodes=2", "space.kept_edges=1"]
MEMBERS += ["strategy.size=4", "strategy.children=1", "strategy.parents=2", "rounds=2"]
GROWING = ["strategy.trials=2", "strategy.intervals=1", "strategy.patience=null"]
SEARCHES = {
    "pbtnas": MEMBERS,
    "random": [*CELLS, "strategy.num_candidates=3", "strategy.together=2"],
    "evolution": [
        *CELLS,
        "strategy.num_candidates=3",
        "strategy.population=2",
        "strategy.tournament=1",
        "strategy.together=2",
    ],
    "autokeras": GROWING,
}
HALVING = ["method=halving", "selector.contestants=2", "selector.evaluator.epochs=1"]
told = nodes.differing


@pytest.fixture(scope="session")
def cluster():
    """Two nodes on this machine; all commands join as one driver, so that workers are warm."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray")  # short, since it holds sockets
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 200}
    quick["health_check_failure_threshold"] = 3
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)  # its default may not exist, or be another cluster's
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        made = Cluster(
            initialize_head=True,
            head_node_args={**node, "_system_config": quick},
        )
        made.add_node(**node)
        shutdown = ray.shutdown
        patch.setattr(ray, "shutdown", lambda: None)
        yield made
        shutdown()
        made.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def ray(cluster):
    """The words that choose the cluster."""
    return ["engine=ray", f"engine.address={cluster.address}"]


@pytest.fixture
def engine(cluster):
    """Returns an engine on the cluster, with other settings than the usual ones."""
    usual = {"address": cluster.address, "cpus": 1.0, "gpus": 0.0, "retries": 0, "patience": 0.0}
    return lambda **settings: RayCluster(**usual | settings)


def test_two_nodes_write_the_files_of_one_process(nasrun, here, ray):
    """Those of searches whose members or candidates train on an engine, and of a selection."""
    for strategy, words in SEARCHES.items():
        words = ["search", f"strategy={strategy}", *TINY, *words]
        for outputs, engine in (("here", ["engine=serial"]), ("there", ray)):
            answer = nasrun(*words, *engine, f"outputs={outputs}")
            assert (answer.status, answer.err) == (0, "")
    for outputs, engine in (("here", ["engine=serial"]), ("there", ray)):
        (run,) = Path(outputs).glob("*-random-*/v001")
        answer = nasrun("select", f"run={run}", *HALVING, *engine, "budget.threads=1")
        assert (answer.status, answer.err) == (0, "")
    assert differences(Path("here"), Path("there")) == []
    assert len(list(Path("there").glob("*/v001"))) == len(SEARCHES)


def test_two_nodes_compare_cells_and_draw_landscapes_as_one_process_does(nasrun, here, ray):
    Path("cell.txt").write_text("normal skip_connect@0 dil_conv_3x3@1; reduce max_pool_3x3@0")
    tiny = ["images=48", "epochs=1", "retrain.channels=2", "retrain.layers=3", "dataset.size=4"]
    tiny += ["retrain.auxiliary=false", "retrain.batch_size=16"]
    cpu = ["budget.threads=1", "budget.device=cpu"]
    found = []
    for out, engine in (("one", ["engine=serial"]), ("two", ray)):
        words = ["analyze", "convergence", "genotype=cell.txt", "seeds=2", *tiny, *cpu, *engine]
        answer = nasrun(*words, f"out={out}")
        assert (answer.status, answer.err) == (0, "")
        solutions = ",".join(f"{out}/weights/cell-seed{seed}.safetensors" for seed in (0, 1))
        words = ["analyze", "landscape", f"solution={solutions}", "images=40", "batch_size=10"]
        answer = nasrun(*words, "grid=3", "line=4", *cpu, *engine, f"out={out}/landscape")
        assert (answer.status, answer.err) == (0, "")
        made = [Path(out, name) for name in ("convergence.json", "landscape/landscape.json")]
        found.append([json.loads(path.read_text().replace(f"{out}/", "")) for path in made])
    assert found[0] == found[1]
    one, two = (
        {path.name: path.read_bytes() for path in Path(out, "weights").iterdir()}
        for out in ("one", "two")
    )
    assert one == two
    assert len(one) == 2


@dataclass(frozen=True)
class Deadly:
    """Kills the Ray of a node when that gets its first order, and goes on elsewhere afterwards."""

    job: Job
    victim: str
    killed: Path

    def __call__(self, order):
        import ray

        if not self.killed.exists():
            if ray.get_runtime_context().get_node_id() == self.victim:
                self.killed.touch()
                for process in (os.getppid(), os.getpid()):  # Ray's own, and this worker
                    os.kill(process, signal.SIGKILL)
            while self.victim in (node["NodeID"] for node in ray.nodes() if node["Alive"]):
                time.sleep(0.05)
        return self.job(order)


def test_a_node_that_is_killed_in_an_interval_is_one_line_and_changes_no_byte(
    nasrun, here, ray, cluster, monkeypatch
):
    words = ["search", "strategy=pbtnas", *TINY, *MEMBERS]
    assert nasrun(*words, "engine=serial", "outputs=here").status == 0
    (head, *_, victim) = cluster.list_all_nodes()
    assert head.is_head()
    run, killed = RayCluster.run, here / "killed"

    def deadly(engine, job, orders, cores):
        return run(engine, Deadly(job, victim.node_id, killed), orders, cores)

    with monkeypatch.context() as patch:
        patch.setattr(RayCluster, "run", deadly)
        answer = nasrun(*words, *ray, "outputs=there")
    assert killed.exists()
    assert (answer.status, len(answer.err.splitlines())) == (0, 1), answer.err
    assert f"({victim.node_id[:8]}) is lost; other nodes train its members again" in answer.err
    assert differences(Path("here"), Path("there")) == []


@dataclass(frozen=True)
class Fails:
    def __call__(self, order):
        raise ValueError(f"order={order}: cannot be done")


@dataclass(frozen=True)
class Dies:
    def __call__(self, order):
        os.kill(os.getpid(), signal.SIGKILL)


def test_faults_on_a_cluster_are_one_line_and_none_waits_for_ever(engine, recwarn, monkeypatch):
    with pytest.raises(ValueError, match=r"^order=7: cannot be done$"):
        dict(engine().run(Fails(), [7], 1))
    with pytest.raises(Lost, match=r"lost 1 times with its process .*a larger engine.cpus"):
        dict(engine().run(Dies(), [7], 1))
    needs = "no node of the cluster has engine.cpus=64 engine.gpus=0; add one by `ray start"
    with pytest.raises(Lost, match=needs):
        dict(engine(cpus=64).run(Fails(), [7], 1))
    (warning,) = recwarn.list
    assert "within engine.patience=0 s" in str(warning.message)
    monkeypatch.setattr(nodes, "HEAD", 0.0)
    monkeypatch.setattr(nodes, "_accepts", lambda address: False)
    with pytest.raises(Lost, match=r"the head node .* does not answer"):
        dict(engine(cpus=64).run(Fails(), [7], 1))


def test_joining_a_cluster_keeps_the_answer_to_sigterm_and_counts_its_places(engine, monkeypatch):
    def answer(*given): ...

    import ray

    joined, init = engine(cpus=0.5), ray.init
    joined.check(BUDGET)
    before = signal.signal(signal.SIGTERM, answer)
    monkeypatch.setattr(ray, "init", lambda **words: init(ignore_reinit_error=True, **words))
    try:
        joined._join(1)
        assert signal.getsignal(signal.SIGTERM) == answer
    finally:
        signal.signal(signal.SIGTERM, before)
    alive = sum(node["Alive"] for node in ray.nodes())
    assert joined.side_by_side(1) == 2 * alive


@pytest.mark.parametrize(("gpus", "calls"), [(0.5, 1), (0.0, 0)])
def test_a_process_that_has_used_a_gpu_takes_no_second_member(monkeypatch, gpus, calls):
    asked = {}

    def remote(**words):
        asked.update(words)
        return lambda work: SimpleNamespace(remote=lambda stored, order, ours: order)

    fake = SimpleNamespace(
        put=lambda job: job,
        remote=remote,
        wait=lambda running, num_returns, timeout: (running[:num_returns], running[num_returns:]),
        get=lambda order: (-order, None),
        exceptions=SimpleNamespace(RayError=OSError),
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    engine = RayCluster(address=None, cpus=1.0, gpus=gpus, retries=2, patience=0.0)
    monkeypatch.setattr(engine, "_connect", lambda cores: SimpleNamespace(look=lambda: None))
    assert dict(engine.run(None, [3, 4], 1)) == {0: -3, 1: -4}
    assert asked["num_gpus"] == gpus and asked["max_calls"] == calls


def test_members_of_this_machine_share_its_cores_and_its_gpus(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    for gpus, places in ((0.0, 8), (0.5, 2), (1.0, 1)):
        engine = RayCluster(address=None, cpus=2.0, gpus=gpus, retries=0, patience=0.0)
        assert engine.side_by_side(16) == places


def test_a_cluster_that_cannot_be_used_is_refused_before_anything_begins(
    nasrun, here, ray, monkeypatch
):
    search = ["search", "strategy=pbtnas", "task=classification", "space=darts"]
    for words, text in (
        (["engine.address=ray://head:10001"], "Ray's client is not used"),
        (["engine.address=127.0.0.1:1"], "cannot be joined (no connection); start a cluster by"),
        (["engine.address=head"], "cannot be joined (not HOST:PORT)"),
        (["engine.patience=-1"], "engine.patience=-1: use 0 or more"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr("ray.is_initialized", lambda: False)
            assert text in nasrun(*search, "engine=ray", *words).refusal
    ours = nodes.installed()()
    for name, version, text in (
        ("nasrun", "code 0", f"has nasrun {ours['nasrun']}, and this machine has code 0; install"),
        ("torch", "2.6.0", f"has torch {ours['torch']}, and this machine has 2.6.0"),
    ):
        monkeypatch.setattr(
            nodes,
            "differing",
            lambda ours, theirs, new={name: version}: told({**ours, **new}, theirs),
        )
        assert text in nasrun(*search, *ray).refusal
    assert told(ours, {**ours, "nasrun": None}).startswith("has no nasrun, and this machine has")
    assert list(here.iterdir()) == []


def test_without_an_address_ray_starts_here_and_joins_no_cluster(monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is not installed")

    asked = []

    def init(**words):
        asked.append(words)
        raise KeyboardInterrupt

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setenv("RAY_task_oom_retries", "")  # so that it is removed afterwards
    monkeypatch.delenv("RAY_task_oom_retries")
    engine = RayCluster(address=None, cpus=1.0, gpus=0.0, retries=0, patience=0.0)
    engine.check(BUDGET)
    with pytest.raises(KeyboardInterrupt):
        dict(engine.run(Fails(), [7], 3))
    (words,) = asked
    assert (words["address"], words["num_cpus"]) == ("local", 3)
    # Ray's default is to try a member for ever that its node ends for lack of memory
    assert os.environ["RAY_task_oom_retries"] == "0"  # noqa: SIM112  Ray spells it so
