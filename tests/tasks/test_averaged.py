"""The average of weights over the steps: by hand, and nothing else changes."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import nn

from nasrun.budget import Budget
from nasrun.data.augment import Augment
from nasrun.data.images import Digits
from nasrun.tasks.averaged import Averaged
from nasrun.tasks.classification import Classification
from nasrun.world import ALONE


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.BatchNorm2d(1), nn.Linear(64, 10)

    def forward(self, x):
        return (self.linear(self.norm(x).flatten(1)),)


@pytest.fixture
def task():
    augment = Augment(padding=0.0, flip=False)
    made = Classification(augment=augment, label_smoothing=0.0, auxiliary_weight=0.0, share=1.0)
    made.begin(Digits(images=60), Budget(device="cpu", precision="fp32", threads=1, max_hours=None))
    return made


@pytest.fixture
def batches():
    torch.manual_seed(0)
    return [(torch.randn(8, 1, 8, 8), torch.randint(10, (8,))) for _ in range(3)]


def learner(task, network):
    return task.learner(network, optimizer=partial(torch.optim.SGD, lr=1.0), clip=None)


def same(one, other):
    other = other.state_dict()
    return all(torch.equal(value, other[name]) for name, value in one.state_dict().items())


def test_the_average_follows_each_step_and_the_training_is_that_without_it(task, batches):
    network = Small()
    plain, averaged = (learner(task, deepcopy(network)) for _ in range(2))
    averaged = Averaged(averaged, task, ALONE, 0.75)
    expected = {}
    for batch in batches:
        plain.train([batch], lr=0.3)
        for name, value in plain.network.state_dict().items():
            before = expected.get(name, value)
            expected[name] = (0.75 * before + 0.25 * value).to(value.dtype)
    averaged.train(batches[:2], lr=0.3), averaged.train(batches[2:], lr=0.3)
    assert same(plain.network, averaged.network)
    for name, value in averaged.delivered.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert not same(averaged.delivered, averaged.network)


def test_the_average_is_evaluated(task, batches):
    averaged = Averaged(learner(task, Small()), task, ALONE, 0.9)
    averaged.train(batches, lr=0.3)
    validation = task.split("validation")
    alone = learner(task, deepcopy(averaged.delivered)).evaluate(validation, 8)
    assert averaged.evaluate(validation, 8) == alone


def test_it_goes_on_from_its_state_to_the_same_bytes(task, batches):
    network = Small()
    whole, first, second = (
        Averaged(learner(task, deepcopy(network)), task, ALONE, 0.9) for _ in range(3)
    )
    whole.train(batches[:1], lr=0.3), whole.train(batches[1:], lr=0.3)
    first.train(batches[:1], lr=0.3)
    second.load_state_dict(deepcopy(first.state_dict()))
    second.train(batches[1:], lr=0.3)
    assert same(whole.network, second.network) and same(whole.delivered, second.delivered)
