from functools import partial

import pytest
import torch
from conftest import SMALL

from nasrun.tasks.base import optimizer_of


@pytest.fixture
def strategy(begin):
    return begin(*SMALL, "images=70")


def test_several_networks_are_measured_in_order_as_each_alone(strategy):
    task, split = strategy.task, strategy.validation
    weights = torch.randn(3, 64, 10)
    forwards = [lambda x, w=w: (x.flatten(1) @ w,) for w in weights]
    found = task.compare(lambda x: [forward(x) for forward in forwards], split, 8)
    assert len(split) % 8  # the last batch is smaller
    assert found == [task.evaluate(forward, split, 8) for forward in forwards]
    assert len({metrics["loss"] for metrics in found}) == 3
    images, labels = zip(*split.batches(len(split)), strict=True)
    logits, labels = forwards[1](images[0])[0], labels[0]
    loss = torch.nn.functional.cross_entropy(logits, labels)
    assert found[1]["loss"] == pytest.approx(float(loss), rel=1e-6)
    assert found[1]["accuracy"] == float((logits.argmax(1) == labels).double().mean())
    five = (logits.argsort(dim=1, descending=True)[:, :5] == labels[:, None]).any(1)
    assert found[1]["top5_accuracy"] == float(five.double().mean())


def test_what_is_tracked_are_the_batches(strategy):
    told = []

    def track(batches, count):
        told.append(count)
        return batches

    forward = partial(torch.flatten, start_dim=1)
    strategy.task.compare(lambda x: [(forward(x),)], strategy.validation, 8, track=track)
    assert told == [len(list(strategy.validation.batches(8)))]


class Fake(torch.Tensor):
    is_cuda = True


@pytest.mark.parametrize(
    ("settings", "on_cuda", "fused"),
    [
        ({}, True, True),
        ({}, False, None),
        ({"fused": False}, True, False),
        ({"foreach": True}, True, None),
    ],
)
def test_an_optimizer_is_fused_on_cuda_unless_its_settings_say_how_it_steps(
    settings, on_cuda, fused, monkeypatch
):
    asked = []

    class Recorded(torch.optim.SGD):
        def __init__(self, parameters, **keywords):
            asked.append(keywords.get("fused"))

    monkeypatch.setattr("nasrun.tasks.base.FUSED", (Recorded,))
    weight = torch.zeros(2).as_subclass(Fake) if on_cuda else torch.zeros(2)
    optimizer_of(partial(Recorded, lr=0.1, **settings), [weight])
    assert asked == [fused]


def test_a_factory_that_is_no_partial_is_left_alone():
    made = optimizer_of(lambda parameters: list(parameters), [torch.zeros(2).as_subclass(Fake)])
    assert len(made) == 1
