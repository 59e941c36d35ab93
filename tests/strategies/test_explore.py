"""Exploring: shared weights outside the device, paths with copies of them, lessons."""

import math
from functools import partial

import pytest
import torch
from torch.optim import Adam, AdamW, RAdam, RMSprop
from toys import DARTS, context

from nasrun.budget import Budget
from nasrun.data.augment import Augment
from nasrun.data.images import Digits
from nasrun.divergence import Diverged
from nasrun.genotype import NONE, Genotype
from nasrun.schedules import Constant
from nasrun.spaces.mobile import MobileSpace
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.stage import Stage
from nasrun.strategies.controller import Factorised, Reinforce
from nasrun.strategies.explore import Bank, Explore, choices, covering_paths, mask
from nasrun.strategies.subspace import all_choices
from nasrun.tasks.classification import Classification

CPU = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
SPACE = MobileSpace(
    kernels=(3, 5),
    expansions=(1,),
    widths=(100,),
    squeeze=(False,),
    skip=True,
    channels=2,
    layers=3,
)
SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01)


class Nothing(Stage):
    """A stage for its display alone."""

    rounds = 1

    def run_round(self):
        raise AssertionError

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def finish(self, folder):
        return {}


def explore(**changes):
    torch.manual_seed(0)
    controller = Reinforce(
        policy=Factorised(),
        optimizer=partial(torch.optim.Adam, lr=0.1),
        baseline_decay=0.9,
        entropy_weight=0.0,
    )
    settings = {
        "controller": controller,
        "batch_size": 16,
        "optimizer": SGD,
        "schedule": Constant(),
        "clip": None,
        "updates": 2,
        "samples": 2,
        "images": 16,
    }
    made = Explore(**{**settings, **changes})
    task = Classification(
        augment=Augment(padding=0.0, flip=False, cutout=0.0, resized_crop=None, jitter=0.0),
        label_smoothing=0.0,
        auxiliary_weight=0.0,
        share=1.0,
    )
    task.begin(Digits(size=None, images=64, validation=0.25, split_seed=0), CPU)
    made.begin(context(SPACE, task, CPU))
    return made


def test_every_choice_occurs_in_the_covering_paths():
    paths = covering_paths(SPACE)
    assert len(paths) == SPACE.width
    for decision in SPACE.decisions:
        assert {path[decision.name] for path in paths} == set(decision.choices)


def test_a_path_becomes_an_architecture_of_the_likeliest_edges():
    """In the DARTS space every edge of a path has an operation; here one a node is kept."""
    made = explore()
    made.space = DARTS
    made.controller.begin(all_choices(DARTS))
    path = Genotype(DARTS.name, {d.name: "skip_connect" for d in DARTS.decisions})
    assert len(DARTS.limits) == 4
    for limit in DARTS.limits:
        for favourite in limit.decisions:
            with torch.no_grad():
                made.controller.policy.logits.zero_()
                made.controller.policy.logits[DARTS.rows[favourite], 1] = 1.0
            kept = made.whole(path)
            assert [name for name in limit.decisions if kept[name] != NONE] == [favourite]


def test_masks_and_choices_are_two_forms_of_the_same():
    kept = {"layer00": ("k3e1", "skip_connect"), "layer01": ("k5e1",), "layer02": ("skip_connect",)}
    assert choices(SPACE, mask(SPACE, kept)) == kept
    assert choices(SPACE, all_choices(SPACE)) == {d.name: d.choices for d in SPACE.decisions}


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    "factory", [SGD, *(partial(made, lr=0.01) for made in (Adam, AdamW, RMSprop, RAdam))]
)
def test_lent_weights_train_as_their_own_would(mapped, factory):
    """Two paths in turn out of the bank, against one network with an optimizer of its own."""
    torch.manual_seed(0)
    first, second = SPACE.parse("k3e1 k3e1 k3e1"), SPACE.parse("k5e1 k5e1 k5e1")
    alone = SPACE.network(first, inputs=1, outputs=2).double().float()
    bank = Bank(factory, mapped=mapped)
    bank.add(alone)
    bank.add(SPACE.network(second, inputs=1, outputs=2))
    bank.open()
    optimizer = factory(alone.parameters())
    images, labels = torch.rand(8, 1, 8, 8), torch.arange(8) % 2
    for step in range(4):
        with torch.device("meta"):
            lent = SPACE.network(first, inputs=1, outputs=2)
        bank.lend(lent, torch.device("cpu"))
        for module in lent.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.track_running_stats = False
        lr = 0.1 / (1 + step)
        theirs = bank.optimizer(lent, lr)
        for group in optimizer.param_groups:
            group["lr"] = lr
        for network, stepper in ((alone, optimizer), (lent, theirs)):
            stepper.zero_grad()
            torch.nn.functional.cross_entropy(network(images)[0], labels).backward()
            stepper.step()
        bank.take(lent, theirs)
        kept = dict(lent.named_parameters())
        for name, parameter in alone.named_parameters():
            assert torch.allclose(parameter, kept[name], atol=1e-6), (step, name)


def test_a_controller_draws_none_only_where_it_is_a_choice():
    drawn = choices(DARTS, all_choices(DARTS))
    assert drawn == {d.name: tuple(c for c in d.choices if c != NONE) for d in DARTS.decisions}
    open_ = NasBench201(operations=("none", "skip_connect"), channels=2, layers=3)
    assert choices(open_, all_choices(open_)) == {d.name: d.choices for d in open_.decisions}


def test_a_round_moves_only_paths_that_are_alive():
    made = explore()
    made.keep(dict.fromkeys(SPACE.rows, ("k3e1",)))
    before = {name: part[""].clone() for name, part in made.bank._parts.items()}
    made.run_round(Nothing(), 0.0, warm_up=True)
    for name, part in made.bank._parts.items():
        moved = not torch.equal(part[""], before[name])
        dead = "candidates.k5e1" in name or "candidates.skip_connect" in name
        assert moved != dead, name


def test_a_lesson_follows_the_warm_up_and_rewards_are_accuracies():
    made = explore()
    logits = made.controller.policy.logits
    assert "reward" not in made.run_round(Nothing(), 0.0, warm_up=True)
    assert (logits == 0).all()
    metrics = made.run_round(Nothing(), 0.5, warm_up=False)
    assert 0 <= metrics["reward"] <= 1
    assert (made.controller.policy.logits != 0).any()


def test_a_score_is_the_networks_accuracy_with_the_shared_weights():
    made = explore()
    genotype = SPACE.parse("k3e1 skip_connect k5e1")
    network = SPACE.network(genotype, inputs=1, outputs=10)
    made.bank.fill(network)
    network.train()
    ((images, labels),) = made.validation.batches(len(made.validation))
    expected = float((network(images)[0].argmax(1) == labels).float().mean())
    made.batch_size = len(made.validation)
    assert made.score(genotype) == pytest.approx(expected)


def test_restored_it_goes_on_to_the_same_bits():
    first, second = explore(), explore()
    first.run_round(Nothing(), 0.0, warm_up=False)
    state = first.state_dict()
    second.load_state_dict(state)
    for made in (first, second):
        made.streams.at(5)
        made.metrics = made.run_round(Nothing(), 0.5, warm_up=False)
    assert first.metrics == second.metrics
    assert torch.equal(first.bank.block, second.bank.block)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"samples": 0}, "samples=0"),
        ({"images": 1}, "images=1"),
        ({"clip": 0.0}, "clip=0"),
        ({"optimizer": torch.optim.NAdam}, "the state of NAdam does not begin with zeros"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        explore(**change)


def test_weights_that_diverge_end_the_exploring():
    made = explore(optimizer=partial(torch.optim.SGD, lr=math.inf, momentum=0.9))
    with pytest.raises(Diverged, match=r"exploring diverged .train_loss .*; use a smaller opt"):
        made.run_round(Nothing(), 0.0, warm_up=True)


def test_a_controller_that_diverges_is_named_below_the_exploring():
    made = explore()
    with torch.no_grad():
        made.controller.policy.logits.fill_(float("nan"))
    for ask in (lambda: made.draw(1, made.streams("paths")), made.teach):
        with pytest.raises(Diverged, match=r"use a smaller controller\.optimizer\.lr"):
            ask()
