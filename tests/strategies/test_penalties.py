"""The resource constraint against the released code's scale, closed gradients and exact means."""

import math
from types import SimpleNamespace

import pytest
import torch
from toys import MOBILE, context

from nasrun.budget import Budget
from nasrun.config import build, compose, resolve
from nasrun.costs.cost import Cost, count
from nasrun.genotype import Genotype
from nasrun.spaces.darts import DartsSpace
from nasrun.strategies.penalties import (
    Exact,
    Reparametrised,
    ResourceCost,
    ScoreFunction,
    linear,
    log,
)
from nasrun.streams import Streams
from nasrun.supernet.relaxation import Concrete, OneHot, Softmax
from nasrun.supernet.supernet import Supernet, argmax

OPERATIONS = (
    *("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect"),
    *("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
)
SETTINGS = {"operations": OPERATIONS, "nodes": 4, "kept_edges": 2}
SMALL = DartsSpace(**{**SETTINGS, "nodes": 1}, channels=4, layers=5)
SNAS = Concrete(tau_start=1.0, tau_end=0.03)
ESTIMATORS = [
    Exact(),
    Reparametrised(),
    ScoreFunction(baseline=False),
    ScoreFunction(baseline=True),
]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def begun(space=SMALL, *, form="log", estimator=None, weight=1.0, size=8, relaxation=SNAS):
    """A penalty at the start of a search on square images of this side."""
    network = space.network(inputs=3, outputs=10)
    supernet = Supernet(space, network, relaxation, alpha_mean=0.0, alpha_std=0.0)
    penalty = ResourceCost(weight=weight, form=form, estimator=estimator or Exact())
    penalty.begin(supernet, SimpleNamespace(inputs=3, outputs=10, size=size))
    return penalty, supernet


def gradient(penalty, supernet):
    return torch.autograd.grad(penalty(), supernet.alpha)[0]


# Scale


@pytest.mark.parametrize(
    ("channels", "layers", "size", "by_log", "by_line"),
    [(8, 4, 8, 211, 18_243), (8, 5, 16, 233, 17_616), (16, 8, 32, 285, 60_044)],
    ids=["default", "snas_small", "released"],
)
def test_at_uniform_alphas_it_has_the_scale_that_its_page_says(
    channels, layers, size, by_log, by_line
):
    """That of the released code, too: 6 normal and 2 reduction cells, by which it divides."""
    penalty, _ = begun(DartsSpace(**SETTINGS, channels=channels, layers=layers), size=size)
    assert round(penalty().item()) == by_log
    penalty.form = linear
    assert round(penalty().item()) == by_line


def test_each_cell_type_counts_by_the_cells_that_there_are():
    penalty, supernet = begun()  # of 5 cells 1 and 3 are reductions: three normal, two reduction
    genotype = Genotype("darts", dict.fromkeys(SMALL.rows, "dil_conv_3x3"))
    supernet.fixed = dict(genotype)
    expected = {"normal": [], "reduce": []}
    channels, size = 4, 8
    for cell in range(5):
        kind = "reduce" if cell in (1, 3) else "normal"
        channels, size = (2 * channels, size // 2) if kind == "reduce" else (channels, size)
        p = 9 * channels + channels**2
        m = (7 if kind == "reduce" else 4) * channels * size**2 + p
        expected[kind] += 2 * [(math.log(p) + math.log(p * size**2) + math.log(m)) / 3]
    total = sum(expected["normal"]) / 3 + sum(expected["reduce"]) / 2
    assert float(penalty()) == pytest.approx(total, rel=1e-5)


def test_the_two_forms_are_those_of_the_released_code():
    p, f, m = (torch.tensor([value, 0.0]) for value in (800.0, 819_200.0, 131_872.0))
    expected = 0.43 * (2 * 800 + 819_200 / 4000 + 131_872 / 100)
    torch.testing.assert_close(linear(p, f, m), torch.tensor([expected, 0.0]))
    expected = (math.log(800) + math.log(819_200) + math.log(131_872)) / 3
    torch.testing.assert_close(log(p, f, m), torch.tensor([expected, 0.0]))


def test_the_weight_scales_it():
    one, three = (float(begun(weight=weight)[0]()) for weight in (1.0, 3.0))
    assert three == pytest.approx(3 * one)


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan])
def test_a_weight_without_effect_is_refused(weight):
    with pytest.raises(ValueError, match=f"weight={weight}: use more than 0"):
        ResourceCost(weight=weight, form="log", estimator=Exact())


def test_a_space_of_layers_is_refused_by_the_key_of_the_penalty():
    with pytest.raises(ValueError, match=r"^penalty=ResourceCost: .* space=mobile; use null, or"):
        begun(MOBILE)


# Gradients


def test_the_exact_gradient_is_the_probability_times_the_cost_above_the_mean():
    penalty, supernet = begun(form="linear")
    with torch.no_grad():
        supernet.alpha.copy_(torch.randn_like(supernet.alpha))
    costs = penalty.costs
    c = costs.by_decision(linear(costs.params, costs.flops, costs.access))
    c = c / torch.tensor([3.0, 3.0, 2.0, 2.0])[:, None]
    p = torch.softmax(supernet.alpha.detach(), 1)
    expected = p * (c - (p * c).sum(1, keepdim=True))
    torch.testing.assert_close(gradient(penalty, supernet), expected, rtol=1e-4, atol=1e-2)


def test_the_exact_expectation_is_the_mean_over_one_hot_samples_and_a_soft_sample_is_biased():
    """One-hot: argmax of log alpha + Gumbel. A soft sample at tau 1 leans towards uniform."""
    draws = 40_000
    logits = torch.tensor([2.0, 0.0, -1.0, 0.5])
    c = torch.tensor([0.0, 100.0, 900.0, 250.0])
    exact = float(torch.softmax(logits, 0) @ c)
    alpha = logits.expand(draws, 4)
    soft = SNAS.sample(alpha, 0.0).values  # progress 0: tau is 1
    one_hot = torch.nn.functional.one_hot(soft.argmax(1), 4).float()
    for sample, biased in ((one_hot, False), (soft, True)):
        values = sample @ c
        error = float(values.mean()) - exact
        deviation = float(values.std()) / draws**0.5
        assert (abs(error) > 10 * deviation) == biased, (error, deviation)
        assert biased or abs(error) < 4 * deviation
    assert float((soft @ c).mean()) > exact  # the cheap choice is the likeliest one here
    drift = soft.mean(0) - torch.softmax(logits, 0)
    assert drift[0] < -0.01  # the likeliest choice has less weight than probability
    assert drift[2] > 0.01  # and the least likely one more


@pytest.mark.parametrize("baseline", [False, True])
def test_the_score_function_has_the_mean_gradient_of_the_path(baseline):
    rows, progress, c = 16_000, 0.4, torch.tensor([1.0, 3.0, 10.0])
    alpha = torch.tensor([0.5, 0.0, -0.5]).repeat(rows, 1).requires_grad_()
    choices = SimpleNamespace(name="edge")
    supernet = SimpleNamespace(
        relaxation=SNAS,
        logits=alpha,
        noise=None,
        progress=progress,
        fixed={},
        space=SimpleNamespace(decisions=[choices] * rows),
        decided=lambda weights: weights,
        expectation=lambda: torch.softmax(alpha, 1),
        mixture=lambda sampled: SimpleNamespace(weights=SNAS.sample(alpha, progress).values),
    )
    found = {}
    for name, estimator in (
        ("score", ScoreFunction(baseline=baseline)),
        ("path", Reparametrised()),
    ):
        (found[name],) = torch.autograd.grad(estimator(supernet, lambda w: w @ c), alpha)
    difference = found["score"].mean(0) - found["path"].mean(0)
    deviation = (found["score"].var(0) + found["path"].var(0)).div(rows).sqrt()
    assert (difference.abs() < 4 * deviation).all()
    assert (found["path"].mean(0).abs() > 10 * deviation).any()


def test_a_baseline_lowers_the_variance():
    found = []
    for baseline in (False, True):
        torch.manual_seed(1)
        penalty, supernet = begun(estimator=ScoreFunction(baseline=baseline))
        supernet.progress = 0.5
        draws = torch.stack([gradient(penalty, supernet) for _ in range(60)])
        found.append(float(draws.var(0).mean()))
    assert found[1] < 0.5 * found[0]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_decided_row_gets_exactly_no_gradient(estimator):
    penalty, supernet = begun(estimator=estimator)
    supernet.fixed = {"normal/2-0": "sep_conv_5x5", "reduce/2-1": "none"}
    decided = [SMALL.rows[name] for name in supernet.fixed]
    found = gradient(penalty, supernet)
    assert (found[decided] == 0).all()
    assert (found[1] != 0).any()
    assert found.isfinite().all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_missing_choices_are_free_and_get_no_gradient(estimator):
    narrow = SMALL.restrict({"normal/2-0": ("none", "skip_connect", "dil_conv_3x3")})
    penalty, supernet = begun(narrow, estimator=estimator)
    found = gradient(penalty, supernet)
    assert found.isfinite().all()
    assert (found[0, 3:] == 0).all()
    assert (found[0, :3] != 0).any()


@pytest.mark.parametrize("relaxation", [Softmax(), OneHot(margin=None)])
def test_only_a_concrete_sample_has_the_density_that_a_score_needs(relaxation):
    for estimator in (Exact(), Reparametrised()):
        begun(estimator=estimator, relaxation=relaxation)
    with pytest.raises(ValueError, match=r"penalty\.estimator=ScoreFunction.*use estimator=Exact"):
        begun(estimator=ScoreFunction(baseline=True), relaxation=relaxation)


# What is logged, and what it does to a search


def test_the_expected_size_is_that_of_the_network_once_all_is_decided():
    penalty, supernet = begun()
    genotype = SMALL.sample(torch.Generator().manual_seed(3))
    supernet.fixed = dict(genotype)
    metrics = penalty.metrics()
    found = Cost(round(metrics["expected_params"]), round(metrics["expected_macs"]))
    assert found == count(SMALL.network(genotype, inputs=3, outputs=10), 3, 8)
    assert metrics["penalty"] == pytest.approx(float(penalty()))


SEARCH = ["rounds=4", "width=2", "depth=3", "batch_size=16", "images=64", "space.nodes=1"]
SEARCH += ["space.kept_edges=1", "alpha_lr=0.1"]
CPU = Budget(device="cpu", precision="auto", threads=1, max_hours=None)


def searched(*overrides):
    composed = compose([*SEARCH, *overrides]).config
    space, dataset, task, strategy = (
        build(resolve(composed[key]), key) for key in ("space", "dataset", "task", "strategy")
    )
    Streams(0).enter("test")
    task.begin(dataset, CPU)
    strategy.begin(context(space, task, CPU))
    metrics = []
    for _ in range(4):
        metrics.append(strategy.run_round())
        strategy.round += 1
    return strategy, metrics


def test_a_heavy_constraint_empties_the_cells_and_its_term_falls():
    strategy, metrics = searched("strategy=snas_constrained", "strategy.penalty.weight=100")
    terms = [record["penalty"] for record in metrics]
    assert terms == sorted(terms, reverse=True)
    assert metrics[-1]["expected_params"] < metrics[0]["expected_params"]
    assert set(strategy.supernet.genotype(argmax).values()) == {"none"}
    strategy, metrics = searched("strategy=snas")
    assert "penalty" not in metrics[-1]
    assert set(strategy.supernet.genotype(argmax).values()) != {"none"}
