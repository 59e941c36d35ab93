"""Differentiable strategies: what a round does, what tuning changes, what a mask leaves alone."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nasrun.budget import Budget
from nasrun.config import build, compose, resolve
from nasrun.run import seed_everything
from nasrun.spaces.supernet import argmax

CPU = Budget(device="cpu", precision="auto", threads=1, max_hours=None)
SMALL = ["rounds=4", "width=2", "depth=3", "batch_size=16", "images=64", "space.nodes=1"]
SMALL += ["space.kept_edges=1", "space.operations=[none,max_pool_3x3,skip_connect,sep_conv_3x3]"]


@pytest.fixture
def begun():
    """A strategy that has begun on a few digits."""

    def make(*overrides):
        composed = compose([*SMALL, *overrides]).config
        space, dataset, task, strategy = (
            build(resolve(composed[key]), key) for key in ("space", "dataset", "task", "strategy")
        )
        seed_everything(0, "test")
        task.begin(dataset, CPU)
        strategy.begin(space, task, CPU)
        return strategy

    return make


def rounds(strategy, count):
    found = []
    for _ in range(count):
        found.append(strategy.run_round())
        strategy.round += 1
    return found


def snapshot(strategy):
    return {name: value.clone() for name, value in strategy.supernet.named_parameters()}


def test_the_weights_rate_follows_a_half_cosine_over_the_rounds(begun):
    found = [metrics["lr"] for metrics in rounds(begun("strategy=snas"), 4)]
    expected = [0.001 + (0.025 - 0.001) * (1 + math.cos(math.pi * t / 4)) / 2 for t in range(4)]
    assert found == pytest.approx(expected)


def test_the_temperature_reaches_its_end_in_the_last_round(begun, monkeypatch):
    strategy, seen = begun("strategy=snas"), []
    sample = type(strategy.relaxation).sample

    def watched(self, alpha, progress):
        seen.append(self.tau(progress))
        return sample(self, alpha, progress)

    monkeypatch.setattr(type(strategy.relaxation), "sample", watched)
    rounds(strategy, 4)
    taus = list(dict.fromkeys(round(tau, 9) for tau in seen))
    assert taus == pytest.approx([1 - 0.97 * part for part in (0.25, 0.5, 0.75, 1.0)])


def test_a_round_is_one_pass_over_the_training_part(begun, monkeypatch):
    strategy, seen = begun(), []
    step = type(strategy.level).step

    def watched(self, search, train, val):
        seen.append((len(train[1]), len(val[1])))
        return step(self, search, train, val)

    monkeypatch.setattr(type(strategy.level), "step", watched)
    strategy.run_round()
    assert [train for train, _ in seen] == [16, 16, 16]  # 48 of 64 images, 16 for validation
    assert [val for _, val in seen] == [16, 16, 16]


def test_all_data_train_where_the_released_code_of_snas_did_so(begun, monkeypatch):
    strategy, seen = begun("strategy=snas", "strategy.data=all"), []
    step = type(strategy.level).step

    def watched(self, search, train, val):
        seen.append(len(train[1]))
        return step(self, search, train, val)

    monkeypatch.setattr(type(strategy.level), "step", watched)
    strategy.run_round()
    assert sum(seen) == 64
    assert len(strategy.validation) == 16
    folder = SimpleNamespace(metrics=list, path=Path())
    assert strategy.finish(folder)["trained_on"] == "train+validation"
    assert begun().finish(folder)["trained_on"] == "train"


def test_alphas_and_weights_move(begun):
    strategy = begun()
    before = snapshot(strategy)
    strategy.run_round()
    changed = [n for n, value in strategy.supernet.named_parameters() if (value != before[n]).any()]
    assert "alpha" in changed
    assert len(changed) > len(before) * 0.9


def test_entropies_and_changes_are_those_of_the_alphas(begun):
    strategy = begun()
    before = strategy.supernet.genotype(argmax)
    (metrics,) = rounds(strategy, 1)
    after = strategy.supernet.genotype(argmax)
    p = torch.softmax(strategy.supernet.alpha.detach().double(), dim=1)
    entropy = -(p * p.log()).sum(1)
    assert metrics["entropy_normal"] == pytest.approx(float(entropy[:2].sum()), rel=1e-5)
    assert metrics["entropy_reduce"] == pytest.approx(float(entropy[2:].sum()), rel=1e-5)
    assert metrics["changed_edges"] == sum(before[name] != after[name] for name in after)


def test_validation_changes_nothing_and_is_the_same_again(begun):
    strategy = begun("strategy=snas")
    rounds(strategy, 1)
    state = {name: value.clone() for name, value in strategy.supernet.network.state_dict().items()}
    generator = torch.get_rng_state()
    first, second = strategy.validate(), strategy.validate()
    masked = strategy.validate(without=("normal/2-0", "sep_conv_3x3"))
    assert first == second
    assert masked != first
    assert strategy.validate() == first
    assert torch.equal(torch.get_rng_state(), generator)
    for name, value in strategy.supernet.network.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_tuning_is_at_a_constant_rate_with_fresh_momentum(begun):
    strategy = begun()
    rounds(strategy, 4)
    old = strategy.search
    assert any("momentum_buffer" in state for state in old.weight_optimizer.state.values())
    steps = [state["step"].clone() for state in old.alpha_optimizer.state.values()]
    strategy.tune(0.125)
    assert not strategy.search.weight_optimizer.state
    assert [state["step"] for state in strategy.search.alpha_optimizer.state.values()] == steps
    assert [metrics["lr"] for metrics in (strategy.run_round(), strategy.run_round())] == [
        0.125
    ] * 2


def test_fixed_decisions_are_kept_by_the_state(begun):
    strategy, other = begun(), begun()
    strategy.supernet.fixed["normal/2-0"] = "skip_connect"
    rounds(strategy, 1)
    other.load_state_dict(strategy.state_dict())
    assert other.supernet.fixed == {"normal/2-0": "skip_connect"}
    assert torch.equal(other.supernet.alpha, strategy.supernet.alpha)


def test_drop_path_drops_in_training_only(begun):
    strategy = begun("strategy.drop_path=0.9")
    images = next(iter(strategy.validation.batches(8)))[0]
    strategy.supernet.train()
    torch.manual_seed(0)
    dropped = [strategy.supernet(images)[0] for _ in range(2)]
    assert not torch.allclose(*dropped)
    strategy.supernet.eval()
    kept = [strategy.supernet(images)[0] for _ in range(2)]
    assert torch.equal(*kept)


@pytest.mark.parametrize(
    "setting",
    [
        "rounds=0",
        "batch_size=1",
        "drop_path=1.0",
        "drop_path=-0.1",
        "weight_clip=0.0",
        "alpha_clip=-1.0",
        "alpha_std=-1.0",
    ],
)
def test_impossible_values_are_refused(setting):
    node = resolve(compose([f"strategy.{setting}"]).config["strategy"])
    with pytest.raises(ValueError, match=rf"^strategy\.{setting}"):
        build(node, "strategy")
