"""Populations from the command line: refusals before anything begins, resuming, results."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

TINY = ["strategy=pbtnas", "rounds=3", "width=2", "images=64", "batch_size=8", "task.steps=2"]
TINY += ["task.generator_batch=8", "task.distance.samples=40", "task.distance.report_samples=40"]
TINY += ["task.distance.epochs=1", "strategy.size=4", "strategy.children=1", "strategy.parents=2"]
TINY += ["budget.threads=1", "budget.device=cpu"]
RUN = Path("digits-gan-pbtnas/v001")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["method=perturb"], "use selector=fittest or soup"),
        (["method=magnitude"], "leaves a population of trained networks"),
        (["strategy.size=3"], "strategy.size=3: use more than children=3"),
        (["space=darts"], "task=gan needs a generator and a discriminator: space=darts has"),
        (["task=classification"], "task=classification needs networks that classify images"),
        (
            ["space=darts", "task=classification", "budget.max_params_m=1"],
            "budget.max_params_m=1: a limit on the found network cannot be used with "
            "strategy=pbtnas, a population; use strategy=evolution, or leave it out",
        ),
        (["stages=[search,select,retrain]"], "need no retraining"),
        (["engine.processes=0"], "engine.processes=0: use at least 1"),
        (["dataset=hopper"], "dataset=hopper: task=gan learns from labelled images"),
    ],
)
def test_what_does_not_go_together_is_refused_at_once(nasrun, here, words, text):
    given = {word.partition("=")[0] for word in words}
    stages = [] if "stages" in given else ["stages=[search,select]"]
    assert text in nasrun("run", "strategy=pbtnas", *stages, *words).refusal
    assert list(here.iterdir()) == []


def test_a_plan_of_a_population_is_refused_without_a_word_of_limits(nasrun, here):
    words = ["strategy=pbtnas", "space=darts", "task=classification"]
    told = nasrun("plan", "search", *words).refusal
    assert "strategy=pbtnas: `nasrun plan` cannot foresee a population; use another" in told
    assert "limit" not in told


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["space=gan"], "strategy=darts needs a supernet: space=gan has none; use space=darts"),
        (["task=gan"], "task=gan: strategy=darts needs a task on labelled images"),
        (["engine=serial"], "engine=serial: has no effect"),
    ],
)
def test_what_only_populations_take_is_refused_elsewhere(nasrun, here, words, text):
    assert text in nasrun("search", *words).refusal


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        (["engine=ray"], "ray", "nasrun[ray]"),
        (["task=rl", "dataset=hopper", "space=drqv2_state"], "mujoco", "nasrun[rl]"),
    ],
)
def test_a_missing_extra_is_named(nasrun, here, monkeypatch, words, package, extra):
    import importlib.util

    found = importlib.util.find_spec
    without = lambda name, *rest: None if name == package else found(name, *rest)  # noqa: E731
    monkeypatch.setattr("nasrun.engines.cluster.find_spec", without)
    monkeypatch.setattr("nasrun.data.environments.find_spec", without)
    refusal = nasrun("search", "strategy=pbtnas", *words).refusal
    assert extra in refusal
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", [None, "opengl"])
def test_a_renderer_that_is_missing_or_unknown_is_told(nasrun, here, monkeypatch, name):
    pytest.importorskip("dm_control")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    if name is not None:
        monkeypatch.setenv("MUJOCO_GL", name)
    refusal = nasrun("search", "strategy=pbtnas", "experiment=dmc_walker_run").refusal
    assert "MUJOCO_GL" in refusal
    assert "egl" in refusal


def test_a_run_writes_a_network_that_needs_no_retraining(nasrun, here, pictures):
    words = [*TINY, "engine=serial", "stages=[search,select]"]
    answer = nasrun("run", *words)
    assert answer.status == 0, answer.err
    select = Path("outputs") / RUN / "select/fittest"
    result = json.loads((select / "result.json").read_text())
    assert {"test_fid", "test_smallest_class", "validation_score", "params"} <= set(result)
    assert result["untrained"]["fid"] != result["test_fid"]
    assert result["higher_is_better"] is False
    assert result["untrained"]["fid_floor"] == result["test_fid_floor"]
    names = {path.name for path in select.iterdir()}
    assert {"genotype.json", "weights.safetensors", "best.png", "cells.svg"} <= names
    search = Path("outputs") / RUN / "search"
    assert {"best_001.png", "lineage.png", "lineage.json"} <= {p.name for p in search.iterdir()}
    assert "need no retraining" in nasrun("retrain", "budget.threads=1").refusal
    told = nasrun("export", f"outputs/{RUN}", "format=pt2").refusal
    assert "the search has trained no classifier that can be loaded; read the weights" in told
    assert str(select / "weights.safetensors") in told

    import torch
    from safetensors.torch import load_file

    from nasrun.config import build, compose, resolve
    from nasrun.genotype import Genotype

    space = build(resolve(compose(TINY).config["space"]), "space")
    network = space.network(Genotype.read(select / "genotype.json"), inputs=1, outputs=1)
    saved = load_file(select / "weights.safetensors")
    network.load_state_dict({n: t for n, t in saved.items() if "/" not in n}, strict=True)
    average = {n.removeprefix("ema/generator."): t for n, t in saved.items() if "/" in n}
    network.generator.load_state_dict(average, strict=True)
    assert network(torch.zeros(1, network.latent)).shape == (1, 1, 8, 8)

    refusal = nasrun("search", f"run=outputs/{RUN}", "budget.threads=2").status
    assert refusal == 0  # it is finished


def pool_of(process):
    """The ids of a pool's processes."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]


def wait_for(found, process):
    until = time.monotonic() + 300
    while not found() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be stopped"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers as Linux does")
def test_a_search_whose_worker_and_then_itself_was_killed_ends_as_one_in_a_single_process(
    forked, nasrun, here, workers
):
    words = ["search", *TINY, "task.steps=8"]
    process = forked(*words, "engine=pool", "engine.processes=1", "outputs=killed")
    state = here / "killed" / RUN / "search/state.pt"
    wait_for(lambda: any(state.parent.glob("members/0001/*.pt")), process)
    os.kill(pool_of(process)[0], signal.SIGKILL)
    wait_for(state.exists, process)
    process.kill()
    refusal = nasrun("search", f"run=killed/{RUN}", "budget.threads=2", "outputs=killed").refusal
    assert "is searched with budget.threads=1" in refusal
    assert nasrun(*words, "engine=serial", "outputs=killed").status == 0
    assert nasrun(*words, "engine=serial", "outputs=whole").status == 0
    files = [Path(folder) / RUN / "search/metrics.jsonl" for folder in ("killed", "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(files[0].read_text().splitlines()) == 3


CLASSIFIERS = ["strategy=pbtnas", "task=classification", "space=darts", "rounds=3", "width=2"]
CLASSIFIERS += ["depth=3", "images=64", "batch_size=16", "strategy.size=4", "strategy.children=2"]
CLASSIFIERS += ["strategy.parents=2", "strategy.variation.probability=0.5", "space.nodes=2"]
CLASSIFIERS += ["space.kept_edges=1", "budget.threads=1", "budget.device=cpu", "engine=serial"]
AUTOKERAS = ["strategy=autokeras", "rounds=2", "width=2", "images=64", "batch_size=16"]
AUTOKERAS += ["task.epochs=1", "budget.threads=1", "budget.device=cpu", "engine=serial"]


def test_a_population_classifies_and_its_choice_is_retrained_and_transferred(nasrun, here):
    from nasrun.runs.finished import trained_folder

    short = [f"{stage}.{key}" for stage in ("retrain", "transfer")
             for key in ("epochs=1", "channels=2", "layers=3")]  # fmt: skip
    short += ["transfer.dataset.images=64", "baseline=false", "strategy.best_ever=false"]
    answer = nasrun("run", *CLASSIFIERS, *short)
    assert answer.status == 0, answer.err
    (run,) = Path("outputs").glob("*/v001")
    search, select = (json.loads((run / place / "result.json").read_text())
                      for place in ("search", "select/fittest"))  # fmt: skip
    assert search["judged_by"] == "validation_accuracy"
    rounds = [json.loads(line) for line in (run / "search/metrics.jsonl").read_text().splitlines()]
    scores = [rounds[-1][f"score_{slot:02d}"] for slot in range(4)]
    assert search["validation_accuracy"] == select["validation_accuracy"] == max(scores)
    assert select["judged_by"] == "test_accuracy"
    assert 0 <= select["test_accuracy"] <= 1
    assert set(select["untrained"]) >= {"accuracy", "loss"}
    (retrained,) = run.glob("retrain/*/result.json")
    assert json.loads(retrained.read_text())["genotype"] == select["genotype"]
    assert len(list(run.glob("transfer/*/result.json"))) == 1
    assert trained_folder(run, None, searched=True).kind == "retrain"
    with pytest.raises(ValueError, match="is no training"):  # as for `nasrun analyze landscape`
        trained_folder(run / "select/fittest", None)


@pytest.mark.parametrize("words", [CLASSIFIERS, AUTOKERAS], ids=["pbtnas", "autokeras"])
def test_a_classifier_that_the_search_has_trained_is_loaded_and_exported(nasrun, here, words):
    import torch

    import nasrun as package
    from nasrun.data.images import Digits

    assert nasrun("run", *words, "stages=[search,select]").status == 0
    (run,) = Path("outputs").glob("*/v001")
    result = json.loads((run / "select/fittest/result.json").read_text())
    tested = Digits().stored(test=True)
    network = package.load(run)
    with torch.no_grad():
        logits = network(tested.pixels(torch.arange(len(tested.labels))))
    right = (logits.argmax(1) == tested.labels).float().mean()
    assert float(right) == pytest.approx(result["test_accuracy"])
    answer = nasrun("export", run, "format=pt2")
    assert "select/fittest/network.pt2" in answer.out


def test_a_child_that_classifies_has_its_parents_weights_edge_by_edge(nasrun, here):
    import torch

    answer = nasrun("search", *CLASSIFIERS)
    assert answer.status == 0, answer.err
    (run,) = Path("outputs").glob("*/v001")
    (first, *_) = json.loads((run / "search/lineage.json").read_text())
    assert first["births"]
    moved = 0
    for birth in first["births"]:
        child, base, donor = (
            torch.load(run / f"search/members/0001/{slot:02d}{kind}.pt", weights_only=True)
            for slot, kind in (
                (birth["child"], ".child"),
                (birth["base"], ""),
                (birth["donor"], ""),
            )
        )
        for name, tensor in child["network"].items():
            part = name.split(".")  # cells.1.edges.2-0...: with three cells, 1 and 2 are reductions
            edge = "" if part[0] != "cells" or part[2] != "edges" else part[3]
            kind = "reduce" if part[1] in ("1", "2") else "normal"
            if f"{kind}/{edge}" not in birth["changed"]:
                assert torch.equal(tensor, base["network"][name]), name
                continue
            given = donor["network"][name]
            moved += 1
            if part[-1] == "running_mean":  # newly initialised: 0
                torch.testing.assert_close(tensor, 0.4 * given)
            elif part[-1] == "running_var":  # newly initialised: 1
                torch.testing.assert_close(tensor, 0.4 * given + 0.1)
            elif part[-1] == "num_batches_tracked":
                assert torch.equal(tensor, given)
            else:  # a convolution's: uniform within one over the root of its inputs
                fresh = (tensor - 0.4 * given) / 0.1
                assert fresh.abs().max() <= given[0].numel() ** -0.5 + 1e-5
            assert name not in child["moments"]
    assert moved


def test_a_population_that_classifies_goes_on_to_the_byte(nasrun, here, monkeypatch):
    from nasrun.tasks.classifiers import ClassifierMember

    assert nasrun("search", *CLASSIFIERS, "outputs=whole").status == 0
    train, left = ClassifierMember.train_interval, [6]  # in the second interval

    def stopped(member):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return train(member)

    monkeypatch.setattr(ClassifierMember, "train_interval", stopped)
    assert nasrun("search", *CLASSIFIERS, "outputs=parts").status == 130
    assert nasrun("search", *CLASSIFIERS, "outputs=parts").status == 0
    files = [next(Path(folder).glob("*/v001/search")) for folder in ("whole", "parts")]
    for name in ("metrics.jsonl", "lineage.json"):
        assert (files[0] / name).read_bytes() == (files[1] / name).read_bytes()
