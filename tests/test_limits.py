"""Hard limits: their costs are the networks', and whatever a selector chose, they are met."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.budget import Budget
from nasrun.cost import count
from nasrun.genotype import NONE, Genotype
from nasrun.limits import Amounts, Limits, count_choices, read_latencies
from nasrun.spaces.base import Layout
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.mobile import MobileSpace
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.spaces.relaxation import Softmax
from nasrun.spaces.supernet import Supernet
from nasrun.strategies.penalties import Within

MOBILE = MobileSpace(
    kernels=(3, 5),
    expansions=(1, 3),
    widths=(100, 50),
    squeeze=(False, True),
    skip=True,
    channels=4,
    layers=4,
)
DARTS = DartsSpace(
    operations=("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_5x5"),
    nodes=3,
    kept_edges=2,
    channels=4,
    layers=3,
)
CELLS = NasBench201(
    operations=("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"),
    channels=4,
    layers=3,
)
SPACES = {
    "mobile": (MOBILE, Layout(channels=6, layers=4)),
    "nasbench201": (CELLS, Layout(channels=6, layers=5)),
    "darts": (DARTS, Layout(channels=6, layers=5, auxiliary=True)),
}
SIZE = {"inputs": 3, "outputs": 7, "size": 16}


@pytest.fixture(scope="module")
def tables():
    return {name: count_choices(space, layout, **SIZE) for name, (space, layout) in SPACES.items()}


@pytest.mark.parametrize("name", sorted(SPACES))
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_sum_over_choices_is_the_cost_of_the_network(name, seed, tables):
    space, layout = SPACES[name]
    genotype = space.sample(torch.Generator().manual_seed(seed))
    network = space.network(genotype, inputs=3, outputs=7, layout=layout)
    cost = count(network, 3, 16)
    params, macs = tables[name]
    assert params.of(genotype) * 1e6 == pytest.approx(cost.params, abs=0.5)
    assert macs.of(genotype) * 1e6 == pytest.approx(cost.macs, abs=0.5)


def limits(name, tables, **maxima):
    params, macs = tables[name]
    known = {"max_params_m": params, "max_macs_m": macs}
    return Limits(SPACES[name][0], maxima, {key: known[key] for key in maxima})


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(SPACES)),
    seed=st.integers(0, 9999),
    shares=st.tuples(st.floats(0.0, 1.2), st.floats(0.0, 1.2)),
    both=st.booleans(),
)
def test_any_limits_are_met_or_named_as_impossible(tables, name, seed, shares, both):
    space = SPACES[name][0]
    generator = torch.Generator().manual_seed(seed)
    sampled = [space.sample(generator) for _ in range(12)]
    maxima = {}
    for key, amounts, share in zip(
        ("max_params_m", "max_macs_m"), tables[name], shares, strict=True
    ):
        costs = [amounts.of(genotype) for genotype in sampled]
        maxima[key] = max(1e-9, min(costs) * 0.8 + share * (max(costs) - 0.8 * min(costs)))
    if not both:
        maxima.pop("max_macs_m")
    made = limits(name, tables, **maxima)
    if any(made.allow(genotype) for genotype in sampled):
        made.check()
    elif made.complete({}) is None:
        with pytest.raises(ValueError, match=r"budget\.max_"):
            made.check()
        return
    table = torch.rand(len(space.decisions), space.width, generator=generator)
    probabilities = {
        d.name: dict(zip(d.choices, row.softmax(0).tolist(), strict=False))
        for d, row in zip(space.decisions, table, strict=True)
    }
    for genotype in sampled:
        for likely in (None, probabilities):
            near = made.nearest(genotype, likely)
            assert made.allow(space.check(near))
            if made.allow(genotype):
                assert near == genotype
            for limit in space.limits:
                assert sum(near[n] != NONE for n in limit.decisions) == limit.count


def test_a_limit_that_no_network_meets_is_named_with_what_would_do(tables):
    with pytest.raises(ValueError, match=r"budget\.max_params_m=1e-05: the cheapest .* has 0\.0"):
        limits("mobile", tables, max_params_m=1e-5).check()


def test_the_least_that_is_named_is_enough(tables):
    for name in SPACES:
        params = tables[name][0]
        made = limits(name, tables, max_params_m=1e-9)
        least = params.of(made._cheapest({}, {"max_params_m": 1.0}))
        enough = limits(name, tables, max_params_m=least + 1e-12)
        enough.check()
        assert enough.allow(enough.nearest(SPACES[name][0].sample()))


def test_limits_that_can_only_be_met_alone_are_named_together():
    each = {"layer00": {"k3e1": 0.0, "skip": 1.0}}
    other = {"layer00": {"k3e1": 1.0, "skip": 0.0}}
    space = MOBILE.restrict({"layer00": ("k3e1", "skip")})
    for decision in space.decisions[1:]:
        each[decision.name] = other[decision.name] = dict.fromkeys(decision.choices, 0.0)
    amounts = {"max_params_m": Amounts(0.0, each), "max_macs_m": Amounts(0.0, other)}
    made = Limits(space, dict.fromkeys(amounts, 0.5), amounts)
    with pytest.raises(ValueError, match="together not"):
        made.check()


def test_an_exchange_gives_up_the_least_likelihood_for_what_it_saves(tables):
    genotype = Genotype("mobile", dict.fromkeys(MOBILE.rows, "k5e3"))
    params = tables["mobile"][0]
    made = limits("mobile", tables, max_params_m=params.of(genotype) - 1e-6)
    sure = {"k5e3": 0.99, "skip": 0.001}
    unsure = {"k5e3": 0.5, "k3e3": 0.49}
    likely = {name: unsure if name == "layer02" else sure for name in MOBILE.rows}
    near = made.nearest(genotype, likely)
    assert {name for name in near if near[name] != "k5e3"} == {"layer02"}
    assert near["layer02"] == "k3e3"


def test_completions_keep_what_is_fixed(tables):
    params = tables["darts"][0]
    free = limits("darts", tables, max_params_m=1e9)
    dearest = {d.name: "sep_conv_3x3" for d in DARTS.decisions}
    whole = free.complete(dearest)
    assert all(whole[name] in ("sep_conv_3x3", NONE) for name in whole)
    tight = limits("darts", tables, max_params_m=params.of(whole) * 0.999)
    assert tight.complete(dearest) is None
    assert tight.complete({"normal/2-0": "sep_conv_3x3"})["normal/2-0"] == "sep_conv_3x3"


def test_a_budget_without_limits_limits_nothing():
    budget = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
    made = Limits.of(budget, MOBILE, SPACES["mobile"][1], **SIZE)
    assert made.maxima == {}
    assert made.allow(MOBILE.sample())


def test_a_latency_table_of_another_space_is_refused(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"base": 1.0, "each": {"layer00": {"skip": 0.1}}}))
    with pytest.raises(ValueError, match="layer00=k3e1; measure it anew"):
        read_latencies(path, MOBILE)
    with pytest.raises(ValueError, match="no table"):
        read_latencies(tmp_path / "missing.json", MOBILE)


def supernet(name):
    space = SPACES[name][0]
    network = space.network(inputs=3, outputs=7)
    return Supernet(space, network, Softmax(), alpha_mean=0.0, alpha_std=1.0)


def test_the_expected_cost_is_the_mean_of_drawn_networks(tables):
    torch.manual_seed(0)
    mixed = supernet("mobile")
    made = limits("mobile", tables, max_params_m=0.01)
    within = Within(made, 1.0)
    within.begin(mixed, None)
    rows = mixed.probabilities()
    drawn = []
    for _ in range(3000):
        picked = {
            n: list(row)[int(torch.multinomial(torch.tensor(list(row.values())), 1))]
            for n, row in rows.items()
        }
        drawn.append(made.cost(picked)["max_params_m"])
    expected = within.metrics()["expected_params_m"]
    assert expected == pytest.approx(sum(drawn) / len(drawn), rel=0.03)


@pytest.mark.parametrize("name", sorted(SPACES))
def test_the_penalty_drives_the_expected_cost_to_its_limit_and_then_rests(name, tables):
    torch.manual_seed(0)
    mixed = supernet(name)
    space = SPACES[name][0]
    costs = sorted(tables[name][0].of(space.sample()) for _ in range(20))
    made = limits(name, tables, max_params_m=costs[0])
    within = Within(made, 1.0)
    within.begin(mixed, None)
    optimizer = torch.optim.Adam([mixed.alpha], lr=0.1)
    first = float(within())
    for _ in range(200):
        optimizer.zero_grad()
        within().backward()
        optimizer.step()
    assert first > 0.01
    assert float(within()) < 0.01
    roomy = Within(limits(name, tables, max_params_m=1e3), 1.0)
    roomy.begin(mixed, None)
    assert float(roomy()) == 0.0


RUN = ["space=mobile", "rounds=1", "depth=3", "width=2", "images=64", "batch_size=16"]
RUN += ["budget.threads=1", "budget.device=cpu", "progress=false", "retrain.epochs=1"]
RUN += ["stages=[search,select,retrain]", "strategy.num_candidates=2", "retrain.channels=4"]


@pytest.mark.parametrize(
    ("strategy", "selector"),
    [
        ("darts", "magnitude"),
        ("darts", "argmax"),
        ("darts", "perturb"),
        ("radars", "perturb"),
        ("random_inherited", "fittest"),
        ("reinforce", "fittest"),
    ],
)
def test_the_retrained_network_is_within_the_limits(nasrun, here, strategy, selector):
    words = [word for word in RUN if "num_candidates" not in word or selector == "fittest"]
    limit = 0.006
    words += [f"strategy={strategy}", f"selector={selector}", f"budget.max_params_m={limit}"]
    answer = nasrun("run", *words)
    assert answer.status == 0, answer.err
    (chosen,) = here.glob(f"outputs/*/v001/select/{selector}/result.json")
    assert json.loads(chosen.read_text())["costs"]["max_params_m"] <= limit
    results = list(here.glob("outputs/*/v001/retrain/*/result.json"))
    assert len(results) == 2  # the random rival is within them too
    for path in results:
        assert json.loads(path.read_text())["params"] <= limit * 1e6


def test_a_network_beyond_the_limits_is_not_retrained(nasrun):
    words = ["space=mobile", "depth=3", "width=2", "images=64", "retrain.channels=4"]
    words += ["budget.device=cpu", "budget.max_params_m=0.0021", "genotype=random"]
    refusal = nasrun("retrain", *words).refusal
    assert refusal.startswith("nasrun: budget.max_"), refusal
    assert "that or more would do" in refusal
