"""beta-DARTS's decay of the mixture weights, against its formula and its gradient."""

import math
from types import SimpleNamespace

import pytest
import torch
from toys import OPERATIONS

from nasrun.config import build, compose, resolve
from nasrun.spaces.darts import DartsSpace
from nasrun.strategies.penalties import BetaDecay
from nasrun.supernet.relaxation import Softmax
from nasrun.supernet.supernet import Supernet

SPACE = DartsSpace(operations=OPERATIONS, nodes=1, kept_edges=2, channels=4, layers=3)
TASK = SimpleNamespace(inputs=3, outputs=5, size=8)


def begun(weight):
    torch.manual_seed(0)
    network = SPACE.network(inputs=3, outputs=5)
    supernet = Supernet(SPACE, network, Softmax(), alpha_mean=0.0, alpha_std=1.0)
    penalty = BetaDecay(weight=weight)
    penalty.begin(supernet, TASK)
    return penalty, supernet


@pytest.mark.parametrize("progress", [0.25, 1.0])
def test_it_is_the_mean_log_sum_of_exponentials_and_rises_linearly(progress):
    penalty, supernet = begun(50.0)
    supernet.progress = progress
    rows = supernet.alpha.detach().tolist()
    mean = sum(math.log(sum(map(math.exp, row))) for row in rows) / len(rows)
    assert float(penalty().detach()) == pytest.approx(50.0 * progress * mean, rel=1e-5)
    assert penalty.metrics() == {"penalty": pytest.approx(50.0 * progress * mean, rel=1e-5)}


def test_its_gradient_is_the_probability_of_each_choice_over_the_decisions():
    penalty, supernet = begun(3.0)
    (gradient,) = torch.autograd.grad(penalty(), supernet.alpha)
    expected = 3.0 * torch.softmax(supernet.alpha.detach(), -1) / len(SPACE.decisions)
    torch.testing.assert_close(gradient, expected)


def test_decided_edges_are_left_out_and_without_any_other_it_is_zero():
    penalty, supernet = begun(1.0)
    first, *others = [decision.name for decision in SPACE.decisions]
    supernet.fixed[first] = "skip_connect"
    (gradient,) = torch.autograd.grad(penalty(), supernet.alpha)
    assert not gradient[0].any()
    expected = torch.softmax(supernet.alpha.detach(), -1)[1:] / len(others)
    torch.testing.assert_close(gradient[1:], expected)
    supernet.fixed.update(dict.fromkeys(others, "skip_connect"))
    assert float(penalty()) == 0.0


def test_a_weight_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"weight=0: use more than 0"):
        BetaDecay(weight=0)


def test_the_strategy_is_darts_with_this_decay():
    strategy = build(resolve(compose(["strategy=beta_darts"]).config["strategy"]), "strategy")
    assert isinstance(strategy.penalty, BetaDecay)
    assert strategy.penalty.weight == 50.0
