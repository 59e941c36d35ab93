"""The loss of a child against its supernet: the numbers, side effects, and interruptions."""

import json
import math
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from nasrun.files import read_json
from nasrun.genotype import NONE, Genotype
from nasrun.selectors import discretisation
from nasrun.selectors.discretisation import discretise, recalibrate
from nasrun.spaces.supernet import batch_statistics
from nasrun.supernet.supernet import argmax

SMALL = ["rounds=2", "width=2", "depth=3", "batch_size=16", "images=80", "space.nodes=1"]
SMALL += ["space.kept_edges=1"]


@pytest.fixture
def searched(begin):
    """A strategy after its search on a few digits."""

    def make(*overrides):
        strategy = begin(*SMALL, *overrides)
        for _ in range(2):
            strategy.run_round()
            strategy.round += 1
        return strategy

    return make


def some(strategy):
    return strategy.supernet.space.sample(torch.Generator().manual_seed(1))


def test_the_supernet_is_measured_as_in_the_search_and_the_child_inside_it(searched):
    strategy = searched("strategy=snas")
    supernet, genotype = strategy.supernet, some(strategy)
    metrics = discretise(strategy, genotype)

    def inside(chosen):
        mixture = supernet.at(chosen)
        with batch_statistics(supernet):
            return strategy.task.evaluate(
                lambda x: supernet.network(x, mixture), strategy.validation, 128
            )["accuracy"]

    assert metrics["supernet_accuracy"] == strategy.validate()["accuracy"]
    assert metrics["supernet_argmax_accuracy"] == inside(supernet.genotype(argmax))
    assert metrics["child_accuracy"] == inside(genotype)
    assert metrics["gap"] == metrics["supernet_accuracy"] - metrics["child_accuracy"]
    assert all(0 <= value <= 1 for name, value in metrics.items() if name != "gap")


def test_running_statistics_and_training_are_the_childs_own(searched):
    strategy = searched()
    supernet, genotype, task = strategy.supernet, some(strategy), strategy.task
    metrics = discretise(strategy, genotype)
    supernet.eval()
    mixture = supernet.at(genotype)
    running = task.evaluate(lambda x: supernet.network(x, mixture), strategy.validation, 128)
    assert metrics["child_running_accuracy"] == running["accuracy"]

    child = strategy.space.network(genotype, inputs=task.inputs, outputs=task.outputs)
    weights = supernet.network.state_dict()
    child.load_state_dict({name: weights[name] for name in child.state_dict()})
    recalibrate(child, strategy.train, 16)
    found = task.evaluate(child, strategy.validation, 128)["accuracy"]
    assert metrics["child_recalibrated_accuracy"] == found


def test_only_relaxations_that_draw_are_sampled(searched):
    for words, draws in (((), False), (("strategy=snas",), True), (("strategy=dsnas",), True)):
        strategy = searched(*words)
        assert ("supernet_sampled_accuracy" in discretise(strategy, some(strategy))) == draws


def test_it_leaves_the_strategy_as_it_is_and_repeats_itself(searched):
    strategy = searched("strategy=snas", "strategy.drop_path=0.5")
    before = {name: value.clone() for name, value in strategy.supernet.named_parameters()}
    buffers = {name: value.clone() for name, value in strategy.supernet.named_buffers()}
    strategy.streams.at(5)
    first = discretise(strategy, some(strategy))
    assert strategy.supernet.training
    assert not strategy.supernet.fixed
    for name, value in strategy.supernet.named_parameters():
        assert torch.equal(value, before[name]), name
        assert value.grad is None
    for name, value in strategy.supernet.named_buffers():
        assert torch.equal(value, buffers[name]), name
    strategy.streams.at(5)
    assert discretise(strategy, some(strategy)) == first


def test_a_child_without_any_operation_is_measured_too(searched):
    strategy = searched("strategy=snas")
    empty = Genotype("darts", dict.fromkeys(strategy.space.rows, NONE))
    metrics = discretise(strategy, empty)
    assert metrics["child_accuracy"] < 0.3  # all images look alike to it


def test_recalibrated_statistics_are_the_mean_over_the_batches(searched):
    strategy = searched()
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, momentum=0.2))
    network[1].running_mean.fill_(7.0)
    batches = [network[0](images) for images, _ in strategy.train.batches(16)]
    assert len(batches) == 4  # 60 of 80 images: 16, 16, 16, 12
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches])
    variances = torch.stack([batch.var((0, 2, 3)) for batch in batches])
    recalibrate(network, strategy.train, 16)
    torch.testing.assert_close(network[1].running_mean, means.mean(0))
    torch.testing.assert_close(network[1].running_var, variances.mean(0))
    assert network[1].momentum == 0.2
    assert not network.training


# In a run


def read(path):
    return json.loads(Path(path).read_text())


def test_a_selection_writes_it_and_the_closing_table_tells_it(nasrun, finished):
    shutil.rmtree(finished / "select")
    answer = nasrun("select")
    assert answer.status == 0, answer.err
    folder = finished / "select/magnitude"
    metrics = read_json(folder / "discretisation.json")
    result = read_json(folder / "result.json")
    assert metrics.items() <= {name: result[name] for name in metrics}.items()
    assert {"supernet_accuracy", "child_accuracy", "child_tuned_accuracy", "gap"} <= set(metrics)
    told = f"without retraining {100 * metrics['child_accuracy']:.2f}%"
    assert told in answer.out
    rows = [row["select"] for row in read(finished / "report.json") if row.get("select")]
    assert metrics["gap"] in [row.get("gap") for row in rows]


def test_it_is_of_the_supernet_that_the_search_left_whatever_the_selector_did(nasrun, finished):
    assert nasrun("select", "selector=perturb", "selector.weight_lr=0.5").status == 0
    found = read(finished / "select/perturb/discretisation.json")["supernet_accuracy"]
    assert found == read(finished / "search/result.json")["validation_accuracy"]


def test_a_stop_in_it_costs_its_repetition_only(nasrun, finished, monkeypatch):
    words, folder, whole = (
        ["select", "selector=perturb"],
        finished / "select/perturb",
        Path("whole"),
    )
    assert nasrun(*words).status == 0
    folder.rename(whole)

    def stopped(network, split, batch_size):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(discretisation, "recalibrate", stopped)
        assert nasrun(*words).status == 130
    assert not (folder / "result.json").exists()
    assert not (folder / "discretisation.json").exists()
    assert nasrun(*words).status == 0
    for name in ("discretisation.json", "genotype.json", "metrics.jsonl"):
        assert (whole / name).read_bytes() == (folder / name).read_bytes()


def test_it_is_written_in_a_space_whose_edges_have_no_none(nasrun, here):
    words = [*SMALL, "space=darts_s2", "budget.threads=1", "budget.device=cpu"]
    assert nasrun("search", *words).status == 0
    answer = nasrun("select", "budget.threads=1", "budget.device=cpu")
    assert answer.status == 0, answer.err
    (written,) = here.glob("outputs/*/v001/select/magnitude/discretisation.json")
    assert {"gap", "child_tuned_accuracy"} <= set(read(written))


def test_it_can_be_switched_off_and_changes_no_choice(nasrun, finished):
    on, off = Path("on"), finished / "select/magnitude"
    off.rename(on)
    assert nasrun("select", "discretisation=false").status == 0
    assert (on / "discretisation.json").exists()
    assert (on / "genotype.json").read_bytes() == (off / "genotype.json").read_bytes()
    assert not (off / "discretisation.json").exists()
    assert "gap" not in read(off / "result.json")
    assert "has no effect on `nasrun search`" in nasrun("search", "discretisation=true").refusal


def test_it_is_refused_where_it_has_no_effect(nasrun, here, small):
    words = ["run", *small, "strategy=random", "discretisation=true"]
    refusal = nasrun(*words).refusal
    assert "discretisation=true: has no effect on strategy=random" in refusal
    assert not list(here.iterdir())


def test_candidates_that_were_trained_alone_have_no_supernet_to_lose_in(nasrun, small):
    words = ["run", *small, "stages=[search,select]", "strategy=random"]
    assert nasrun(*words, "strategy.evaluator.epochs=1").status == 0
    (folder,) = Path("outputs").glob("*/v001/select/fittest")
    assert not (folder / "discretisation.json").exists()


def test_a_tuning_that_diverges_measures_nothing(searched, monkeypatch):
    strategy = searched()
    monkeypatch.setattr(discretisation, "TUNING", partial(torch.optim.SGD, lr=math.inf))
    metrics = discretise(strategy, some(strategy))
    lost = [name for name, value in metrics.items() if not math.isfinite(value)]
    assert lost == ["child_tuned_accuracy"]
