"""Several processes compute what one does: each on its slice of the same batches."""

import os
from datetime import timedelta
from time import sleep

import pytest
import torch
from conftest import SMALL
from together import together
from torch import nn
from toys import context

from nasrun.budget import Budget
from nasrun.config import build, compose, resolve
from nasrun.data.base import Dataset
from nasrun.data.splits import Split
from nasrun.engines.local import Serial
from nasrun.engines.shared import Shared
from nasrun.ops.operation import MANY, Sum
from nasrun.ops.state import State
from nasrun.ops.term import Term
from nasrun.ranks import _connection, set_patience
from nasrun.supernet.supernet import argmax
from nasrun.world import ALONE, Closed, Lost

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")


class Precise(Split):
    """A split in double precision."""

    def __init__(self, split):
        self.labels, self.split = split.labels, split

    def __len__(self):
        return len(self.split)

    def batches(self, *arguments, **keywords):
        for images, labels in self.split.batches(*arguments, **keywords):
            yield images.double(), labels


class PreciseSet(Dataset):
    """A data set in double precision."""

    def __init__(self, dataset):
        self.dataset = dataset

    def check(self): ...
    def look(self, watched): ...
    def contents(self): ...
    def count_test(self):
        return self.dataset.count_test()

    def facts(self):
        return self.dataset.facts()

    def split(self, *parts, device):
        return Precise(self.dataset.split(*parts, device=device))


def budget_of(world):
    budget = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
    budget.join(world)
    return budget


def retrained(parts, world):
    """Return the metrics of all rounds of a training and its final weights."""
    space, dataset, stage = parts
    stage.batch_size, stage.validation = 16, None
    torch.manual_seed(0)
    stage.task.begin(PreciseSet(dataset), budget_of(world))
    genotype = space.parse("normal sep_conv_3x3@0; reduce max_pool_3x3@1")
    stage.begin(context(space, stage.task, stage.task.budget), genotype)
    return played(stage), flat(stage.learner.network)


def searched(parts, world):
    """Return the metrics of all rounds of a search, its alphas and weights, and its choice."""
    space, dataset, task, strategy = parts
    torch.manual_seed(0)
    task.begin(PreciseSet(dataset), budget_of(world))
    strategy.begin(context(space, task, task.budget))
    return played(strategy), flat(strategy.supernet), strategy.supernet.genotype(argmax)


def scored(parts, world):
    """Return the metrics of all rounds of a search by scores."""
    space, dataset, task, strategy = parts
    torch.manual_seed(0)
    task.begin(PreciseSet(dataset), budget_of(world))
    engine = Shared(Serial(), world)
    strategy.begin(context(space, task, task.budget, engine=engine))
    return played(strategy), torch.zeros(0)


def played(stage):
    rounds = []
    while not stage.done:
        rounds.append(stage.run_round())
        stage.round += 1
    return rounds


def flat(network):
    tensors = [*network.parameters(), *network.buffers()]
    return torch.cat([tensor.detach().flatten().double() for tensor in tensors])


def parts_of(*words):
    config = compose(words).config
    return lambda *groups: [build(resolve(config[group]), group) for group in groups]


CALM = "strategy.watchdog=null"
EVALUATORS = {
    "from_scratch": ["strategy.num_candidates=2", "strategy.evaluator.epochs=1"],
    "inherited": ["evaluator@strategy=inherited", "strategy.num_candidates=2", "rounds=1"],
}
SEARCHES = {"darts": 2, "darts_2nd": 1, "snas": 1, "gdas": 1, "milenas": 1}
"""Strategies with their rounds, of three steps each."""


def works():
    """Return functions of a world, by name."""
    # 43 images to train on: batches of 16, 16 and 11
    few = "space.operations=[none,skip_connect,sep_conv_3x3,avg_pool_3x3]"
    common = [*SMALL, few, "images=58"]
    found = {}
    words = [*SMALL, "images=43", "retrain.epochs=7", "retrain.channels=2", "retrain.layers=3"]
    words += ["retrain.batch_size=16", "retrain.drop_path=0.3"]  # 21 steps
    found["retrain"] = lambda world: retrained(
        parts_of(*words)("space", "dataset", "retrain"), world
    )
    for name, rounds in SEARCHES.items():
        made = parts_of(*common, f"strategy={name}", f"rounds={rounds}", CALM)
        found[name] = lambda world, made=made: searched(
            made("space", "dataset", "task", "strategy"), world
        )
    for name, settings in EVALUATORS.items():
        made = parts_of(*common, "strategy=random", *settings)
        found[name] = lambda world, made=made: scored(
            made("space", "dataset", "task", "strategy"), world
        )
    return found


def test_two_processes_with_synchronised_batch_norms_give_the_losses_of_one(tmp_path):
    made = works()

    def work(world):
        torch.set_default_dtype(torch.float64)
        return {name: function(world) for name, function in made.items()}

    two, other = together(tmp_path, work)
    torch.set_default_dtype(torch.float64)
    try:
        one = work(ALONE)
    finally:
        torch.set_default_dtype(torch.float32)
    for name in made:
        for alone, shared, beside in zip(one[name][0], two[name][0], other[name][0], strict=True):
            assert shared == beside
            assert shared == pytest.approx(alone, rel=1e-10, abs=1e-12), name
        torch.testing.assert_close(two[name][1], one[name][1], rtol=1e-9, atol=1e-10)
        assert torch.equal(two[name][1], other[name][1])
        assert two[name][2:] == one[name][2:] == other[name][2:]  # the chosen genotype


def test_gradients_that_arrive_in_another_order_are_averaged_with_their_own(tmp_path):
    def work(world):
        torch.manual_seed(0)
        network = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        finish = world.reduction(network)
        first, second = network if world.rank == 0 else reversed(network)
        x = torch.ones(2, 4) * (1 + world.rank)
        second(first(x).tanh()).square().sum().backward()
        own = [parameter.grad.clone() for parameter in network.parameters()]
        finish()
        return own, [parameter.grad for parameter in network.parameters()]

    (ours, mean), (theirs, other) = together(tmp_path, work)
    for a, b, found, same in zip(ours, theirs, mean, other, strict=True):
        torch.testing.assert_close(found, (a + b) / 2)
        assert torch.equal(found, same)


def test_an_error_of_the_communication_says_why_unless_the_other_end_is_gone():
    for text, kind, told in (
        ("[pair.cc:534] Connection closed by peer [::1]:4", Closed, "another process"),
        ("ncclRemoteError: a remote process exiting prematurely", Closed, "another process"),
        ("NCCL error in: x.cpp:1, invalid usage.\nLast error: y", Lost, r"\(NCCL .* usage\)$"),
        ("", Lost, r"\(RuntimeError\)$"),
    ):
        with pytest.raises(Lost, match=told) as caught, _connection():
            raise RuntimeError(text)
        assert type(caught.value) is kind


def test_processes_wait_as_long_as_their_kind_of_device_is_given(tmp_path):
    def waits(world):
        set_patience(torch.device("cpu"), timedelta(seconds=0.5))
        if world.leads:
            with pytest.raises(Lost, match=r"\(.*Timed out") as caught:
                world.total(torch.ones(1))
            assert type(caught.value) is Lost
        else:
            sleep(3)

    together(tmp_path, waits)


def test_all_processes_fold_norms_or_none_whatever_the_size_of_their_slices(tmp_path):
    """Slices of 15 and 16 images lie below and at the size from which folding pays."""
    side, channels, images = 32, 16, 31
    assert 15 * channels * side**2 < MANY <= 16 * channels * side**2

    def work(world):
        torch.manual_seed(0)
        linear, norm = nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
        x = torch.randn(images, channels, side, side).contiguous(memory_format=torch.channels_last)
        whole = norm(linear(x)).detach()
        norm.reset_running_stats()
        network = nn.Sequential(linear, norm)
        world.enter(network)
        part = world.slice(images)
        with world.dividing(part):
            found = Sum((Term(State(x[part.range]), linear, norm),)).map()
        return float((found - whole[part.range]).abs().max())

    assert max(together(tmp_path, work)) < 1e-4
