"""Controllers: probabilities, lessons, and feedback from elsewhere."""

import math
from functools import partial

import pytest
import torch

from nasrun.divergence import Diverged
from nasrun.spaces.mobile import MobileSpace
from nasrun.strategies.controller import (
    Factorised,
    Indifferent,
    Recurrent,
    Reinforce,
    Rollout,
)
from nasrun.strategies.subspace import all_choices, genotypes

SPACE = MobileSpace(
    kernels=(3, 5),
    expansions=(3,),
    widths=(100,),
    squeeze=(False,),
    skip=True,
    channels=4,
    layers=3,
    choices={"layer01": ("k3e3", "skip_connect")},
)


def reinforce(policy=None, **changes):
    settings = {
        "policy": policy or Factorised(),
        "optimizer": partial(torch.optim.Adam, lr=0.1),
        "baseline_decay": 0.9,
        "entropy_weight": 0.0,
    }
    controller = Reinforce(**{**settings, **changes})
    controller.begin(all_choices(SPACE))
    return controller


def recurrent():
    return Recurrent(hidden=8, temperature=5.0, tanh_constant=2.5)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("make", [Factorised, recurrent])
def test_only_what_is_alive_is_drawn(make):
    controller = reinforce(make())
    controller.alive = all_choices(SPACE)
    controller.alive[0, 1] = False
    columns = controller.draw(200).columns
    assert columns.shape == (200, 3)
    assert set(columns[:, 0].tolist()) == {0, 2}
    assert set(columns[:, 1].tolist()) == {0, 1}
    for genotype in genotypes(SPACE, columns):
        SPACE.check(genotype)
    table = controller.marginals()
    assert torch.allclose(table.sum(1), torch.ones(3))
    assert table[0, 1] == 0 and table[1, 2] == 0


@pytest.mark.parametrize("make", [Factorised, recurrent])
def test_what_is_rewarded_becomes_likelier(make):
    controller = reinforce(make())
    for _ in range(80):
        rollout = controller.draw(10)
        controller.learn(rollout, (rollout.columns == torch.tensor([2, 0, 1])).float().mean(1))
    table = controller.marginals()
    assert [int(row.argmax()) for row in table] == [2, 0, 1]
    assert (table.max(1).values > 0.8).all()


def test_a_lesson_is_the_policy_gradient():
    """(R - b) (one_hot - p) of a softmax's logits, from the formula."""
    controller = reinforce(optimizer=partial(torch.optim.SGD, lr=1.0))
    controller.baseline = 0.25
    columns = torch.tensor([[0, 1, 2]])
    p = controller.marginals()
    log_prob = torch.log_softmax(
        controller.policy.logits.masked_fill(~controller.alive, -torch.inf), 1
    )
    chosen = log_prob.gather(1, columns.T)[:, 0].sum()[None]
    controller.learn(Rollout(columns, chosen, torch.zeros(1)), torch.tensor([0.75]))
    hot = torch.nn.functional.one_hot(columns[0], 3)
    assert torch.allclose(controller.policy.logits.detach(), 0.5 * (hot - p), atol=1e-6)
    assert controller.baseline == pytest.approx(0.25 + 0.1 * 0.5)


def test_the_entropy_bonus_spreads_a_sharp_policy():
    controller = reinforce(entropy_weight=1.0)
    with torch.no_grad():
        controller.policy.logits[0] = torch.tensor([4.0, 0.0, 0.0])
    before = controller.marginals()[0].max()
    for _ in range(20):
        controller.learn(controller.draw(5), torch.zeros(5))
    assert controller.marginals()[0].max() < before - 0.1


def test_entropies_are_those_of_the_distributions():
    rollout = reinforce().draw(2)
    expected = 2 * torch.log(torch.tensor(3.0)) + torch.log(torch.tensor(2.0))
    assert torch.allclose(rollout.entropies, expected.expand(2))


def test_following_moves_between_two_distributions_and_keeps_their_mass():
    controller = reinforce()
    controller.learn(controller.draw(4), torch.full((4,), 0.7))
    assert controller.baseline == pytest.approx(0.7)
    told = torch.zeros(3, 3)
    told[0] = torch.tensor([0.9, 0.1, 0.0])
    controller.follow(told, 0.5)
    table = controller.marginals()
    assert float(table[0, :2].sum()) == pytest.approx(2 / 3)
    assert float(table[0, 0] / table[0, 1]) == pytest.approx(9**0.5, rel=1e-4)
    assert torch.allclose(table[2], torch.full((3,), 1 / 3))
    assert controller.baseline is None  # it begins anew


@pytest.mark.parametrize("make", [lambda: reinforce(), lambda: reinforce(recurrent()), Indifferent])
def test_a_restored_controller_goes_on_the_same(make):
    torch.manual_seed(0)
    first = make()
    first.begin(all_choices(SPACE))
    rollout = first.draw(4)
    first.learn(rollout, torch.rand(4))
    torch.manual_seed(3)
    second = make()
    second.begin(all_choices(SPACE))
    second.load_state_dict(first.state_dict())
    for controller in (first, second):
        torch.manual_seed(1)
        controller.columns = controller.draw(6).columns
        controller.table = controller.marginals()
    assert torch.equal(first.columns, second.columns)
    assert torch.equal(first.table, second.table)


def test_the_indifferent_one_learns_nothing_and_has_random_marginals():
    controller = Indifferent()
    controller.begin(all_choices(SPACE))
    before = controller.marginals()
    controller.learn(controller.draw(4), torch.ones(4))
    controller.follow(before.flip(1), 1.0)
    assert torch.equal(controller.marginals(), before)
    assert before[1, 2] == 0 and torch.allclose(before.sum(1), torch.ones(3))
    counts = torch.bincount(controller.draw(3000).columns[:, 0]) / 3000
    assert torch.allclose(counts, torch.full((3,), 1 / 3), atol=0.05)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"baseline_decay": 1.0}, "baseline_decay=1.0: "),
        ({"entropy_weight": -1.0}, "entropy_weight=-1.0: "),
    ],
)
def test_settings_that_cannot_work_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        reinforce(**change)
    with pytest.raises(ValueError, match="hidden=0"):
        Recurrent(hidden=0, temperature=1.0, tanh_constant=1.0)


@pytest.mark.parametrize("make", [Factorised, recurrent])
def test_a_controller_that_diverges_says_so(make):
    controller = reinforce(make())
    with torch.no_grad():
        next(controller.policy.parameters()).fill_(math.nan)
    with pytest.raises(Diverged, match=r"controller diverged; use a smaller optimizer\.lr"):
        controller.draw(3)


def test_a_lesson_that_no_later_one_mends_is_not_kept():
    controller = reinforce()
    rollout = controller.draw(3)
    with pytest.raises(Diverged, match=r"the controller diverged \(loss nan\)"):
        controller.learn(rollout, torch.tensor([0.1, math.nan, 0.3]))
