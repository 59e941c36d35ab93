"""MLflow: a real local store that its client reads back, and a server that dies."""

import json
import random
import threading
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest

from nasrun.runs.run import Run
from nasrun.trackers import mirror
from nasrun.trackers.base import SavedRound, TrackedRun
from nasrun.trackers.mirror import tracking
from nasrun.trackers.mlflow import AMBIENT, MLflow

pytest.importorskip("mlflow", reason="needs nasrun[mlflow]")


@pytest.fixture(autouse=True)
def ambient(monkeypatch):
    """Restore what MLflow reads from the environment."""
    for name in (*AMBIENT, "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def uri(tmp_path_factory):
    """A data base for all tests of a process: to make it takes as long as a search."""
    pytest.importorskip("sqlalchemy", reason="needs nasrun[mlflow]")
    return f"sqlite:///{tmp_path_factory.getbasetemp()}/mlflow.db"


def runs_of(uri, experiment):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    return client, client.search_runs([found.experiment_id])


def history(client, run):
    names = run.data.metrics
    found = {name: client.get_metric_history(run.info.run_id, name) for name in names}
    return {name: [(one.step, one.value) for one in values] for name, values in found.items()}


def test_a_finished_run_is_one_run_of_mlflow_with_all_its_stages(finished, uri, rounds_of):
    before = random.getstate()
    for sweep in ("", "2026-11-28/12-00-00"):
        tracker = MLflow(uri=uri, experiment="finished")
        with tracking({"mlflow": tracker}, Run(finished), sweep) as tracked:
            tracked.catch_up()
    assert random.getstate() == before
    client, (run,) = runs_of(uri, "finished")
    assert run.info.run_name == "digits-darts-darts/v001"
    assert run.info.status == "FINISHED"
    assert run.data.tags["nasrun.sweep"] == "2026-11-28/12-00-00"
    assert run.data.params["strategy"] == "darts"
    assert run.data.params["space.channels"] == "2"
    assert run.data.params["retrain/magnitude/epochs"] == "2"
    found = history(client, run)
    assert {name: x for name, x in found.items() if name[:7] != "result/"} == rounds_of(finished)
    result = json.loads((finished / "retrain/magnitude/result.json").read_text())
    assert found["result/retrain/magnitude/test_accuracy"] == [(2, result["test_accuracy"])]
    assert run.data.tags["select/magnitude/genotype"] == result["genotype"]
    for folder in ("select/magnitude", "search"):
        files = {one.path for one in client.list_artifacts(run.info.run_id, folder)}
        pictures = {f"{folder}/{path.name}" for path in (finished / folder).glob("*.png")}
        genotype = {f"{folder}/genotype.json"} if folder != "search" else set()
        assert files == pictures | genotype


def test_a_sweep_is_a_run_per_job_in_a_group_and_a_continued_job_is_no_new_run(nasrun, small, uri):
    words = [*small, "rounds=1", "tracker=mlflow", f"tracker.mlflow.uri={uri}"]
    words += ["tracker.mlflow.experiment=sweep"]
    for _ in range(2):
        assert nasrun("search", "-m", "seed=0,1", *words).status == 0
        client, runs = runs_of(uri, "sweep")
        assert {run.data.params["seed"] for run in runs} == {"0", "1"}
        assert len(runs) == 2
        assert len({run.data.tags["nasrun.sweep"] for run in runs}) == 1
        for run in runs:
            assert history(client, run)["search/round"] == [(1, 1)]


class Server(ThreadingHTTPServer):
    """As much of MLflow's server as a run needs; when the first round comes, it dies."""

    daemon_threads = True

    def __init__(self, die, artifacts):
        super().__init__(("127.0.0.1", 0), Handler)
        self.die, self.asked, self.run = die, [], None
        self.artifacts = str(artifacts)
        self.address = f"http://127.0.0.1:{self.server_port}"

    def answer(self, path, body):
        self.asked.append((path, body))
        if path == "experiments/get-by-name":
            return {"experiment": {"experiment_id": "1", "lifecycle_stage": "active"}}
        if path == "runs/create":
            info = {"run_id": "r", "experiment_id": "1", "status": "RUNNING"}
            self.run = {"info": info | {"artifact_uri": self.artifacts}, "data": {}}
        if path == "runs/log-batch" and body.get("metrics"):
            self.die(self)
        if path == "runs/search":
            return {"runs": [self.run] if self.run else []}
        return {"run": self.run}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        path = urlsplit(self.path).path.removeprefix("/api/2.0/mlflow/")
        text = json.dumps(self.server.answer(path, body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST

    def log_message(self, *words):
        pass


@contextmanager
def served(die, artifacts):
    server = Server(die, artifacts)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_that_dies_in_the_middle_changes_no_byte_and_is_told_once(
    nasrun, here, small, whole_run, monkeypatch
):
    plain = (whole_run / "digits-darts-darts/v001/search/metrics.jsonl").read_bytes()
    dying, released, join = Event(), Event(), mirror.Mirror.join

    def refuse(server):
        dying.set()
        server.socket.close()
        raise ConnectionAbortedError

    def hang(server):
        dying.set()
        released.wait()

    def ended(self, seconds):  # the end comes only when the server has died
        dying.wait()
        dying.clear()
        join(self, 0.05 if die is hang else seconds)

    monkeypatch.setattr(Server, "handle_error", lambda *given: None)
    monkeypatch.setattr(mirror.Mirror, "join", ended)
    for die, reason in ((refuse, "MlflowException"), (hang, "did not answer in time")):
        released.clear()
        with served(die, here / "artifacts") as server:
            words = ["tracker=mlflow", f"tracker.mlflow.uri={server.address}"]
            answer = nasrun("search", *small, *words, f"outputs={die.__name__}")
            assert answer.status == 0
            (line,) = answer.err.splitlines()
            assert line.startswith(f"nasrun: warning: tracker=mlflow: {reason}")
            assert line.endswith("; the run goes on, repeat the command later to send the rest")
            (file,) = here.glob(f"{die.__name__}/*/v001/search/metrics.jsonl")
            assert file.read_bytes() == plain
            metrics = [body for path, body in server.asked if body.get("metrics")]
            assert len(metrics) == 1
            assert len(server.asked) <= 6
            released.set()
            for thread in threading.enumerate():
                if thread.name == "tracker mlflow":
                    thread.join()


def test_settings_that_were_lost_and_names_that_mlflow_refuses_are_sent_once(tmp_path, uri):
    def opened():
        tracker = MLflow(uri=uri, experiment="lost")
        run = TrackedRun(
            name="digits/v001", mark="a1", folder=tmp_path, sweep="", settings={"seed": 3}, facts={}
        )
        return tracker, partial(tracker.open, run)

    tracker, begin = opened()
    lost = patch.object(MLflow, "describe", side_effect=OSError("no answer"))
    with lost, pytest.raises(OSError, match="no answer"):
        begin()
    tracker, begin = opened()
    begin()
    name = "retrain/genotype (1)+/round"
    tracker.log("retrain", [SavedRound(1, 0.0, {name: 1.0})])
    tracker.close("finished")
    tracker, begin = opened()
    assert begin()[tracker.spelled(name)] == 1.0
    _, (run,) = runs_of(uri, "lost")
    assert run.data.params == {"seed": "3"}
