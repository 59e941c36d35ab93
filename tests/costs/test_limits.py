"""Hard limits: their costs are those of the networks, and every selected network meets them."""

import json
import math
from dataclasses import replace
from itertools import product

import pytest
import torch
import toys
from conftest import SMALL
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.budget import Budget
from nasrun.costs.amounts import Amounts, _one_by_one, count_choices, read_latencies
from nasrun.costs.bounds import Ceiling, Floor
from nasrun.costs.cost import count
from nasrun.costs.limits import Limits
from nasrun.genotype import NONE, AtMost, Decision, Genotype
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.layout import Layout, layout_of
from nasrun.spaces.mobile import MobileSpace
from nasrun.strategies.penalties import Within
from nasrun.supernet.relaxation import Softmax
from nasrun.supernet.supernet import Supernet

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
SPACES = {
    "mobile": (MOBILE, Layout(channels=6, layers=4)),
    "nasbench201": (toys.CELLS, Layout(channels=6, layers=5)),
    "darts": (DARTS, Layout(channels=6, layers=5, auxiliary=True)),
}
UNLIMITED = {"device": "cpu", "precision": "fp32", "threads": 1, "max_hours": None}
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
    params, macs, _ = tables[name]
    assert params.of(genotype) * 1e6 == pytest.approx(cost.params, abs=0.5)
    assert macs.of(genotype) * 1e6 == pytest.approx(cost.macs, abs=0.5)


@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_choices_counted_in_their_places_cost_as_in_passes_of_their_own(name, tables):
    space, layout = SPACES[name]
    with torch.device("meta"):
        network = space.network(inputs=3, outputs=7, layout=layout)
        image = torch.empty(1, 3, 16, 16)
    for quick, slow in zip(tables[name], _one_by_one(space, network, image), strict=True):
        assert quick.base == pytest.approx(slow.base, abs=1e-12)
        for decision, row in slow.each.items():
            assert quick.each[decision] == pytest.approx(row, abs=1e-12)


def test_a_genotype_that_joins_some_nodes_is_within_limits_by_its_own_cost():
    space, layout = toys.DARTS, Layout(channels=6, layers=4, auxiliary=True)
    drawn = space.sample(torch.Generator().manual_seed(0))
    genotype = Genotype("darts", drawn, {"normal": [3]})
    cost = count(space.network(genotype, inputs=3, outputs=7, layout=layout), 3, 16)
    params, macs, _ = count_choices(space, layout, **SIZE, like=genotype)
    assert params.of(genotype) * 1e6 == pytest.approx(cost.params, abs=0.5)
    assert macs.of(genotype) * 1e6 == pytest.approx(cost.macs, abs=0.5)
    most = cost.params / 1e6 + 1e-5
    plain = Limits.of(Budget(**UNLIMITED, max_params_m=most), space, layout, **SIZE)
    assert not plain.allow(genotype)
    found = Limits.of(Budget(**UNLIMITED, max_params_m=most), space, layout, **SIZE, like=genotype)
    assert found.allow(genotype)
    assert found.nearest(genotype) == genotype
    timed = Budget(**UNLIMITED, max_latency_ms=1.0, latency_table="table.json")
    with pytest.raises(ValueError, match=r"max_latency_ms=1\.0: .* cells that join all nodes, but"):
        Limits.of(timed, space, layout, **SIZE, like=genotype)


def limits(name, tables, **maxima):
    known = dict(zip(("max_params_m", "max_macs_m"), tables[name], strict=False))
    return ceilings(SPACES[name][0], maxima, known)


def ceilings(space, maxima, amounts):
    return Limits(
        space,
        tuple(Ceiling(key=k, value=most, amounts=amounts[k]) for k, most in maxima.items()),
    )


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
        ("max_params_m", "max_macs_m"), tables[name][:2], shares, strict=True
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


class Small(toys.Decisions):
    """Decisions between none, a and b; the first `tied` ones are edges of which `kept` are kept."""

    name = "small"

    def __init__(self, count, tied, kept):
        self.decisions = tuple(Decision(f"e{n}", (NONE, "a", "b")) for n in range(count))
        self.limits = (AtMost(self.names[:tied], kept),) if tied else ()
        self.none_is_a_choice = not tied


@st.composite
def small_limits(draw):
    count = draw(st.integers(2, 4))
    tied = draw(st.integers(2, count)) if draw(st.booleans()) else 0
    space = Small(count, tied, draw(st.integers(1, tied - 1)) if tied else 0)

    def amounts():
        each = {name: {NONE: 0, "a": draw(COST), "b": draw(COST)} for name in space.names}
        return Amounts(draw(st.integers(1, 3)), each)

    keys = draw(st.permutations(["max_params_m", "max_macs_m", "min_intensity"]))
    return Limits(
        space,
        tuple(
            Floor(key=key, value=draw(COST) / 4 + 0.25, over=amounts(), under=amounts())
            if key == "min_intensity"
            else Ceiling(key=key, value=2 * draw(COST) + 1, amounts=amounts())
            for key in keys[: draw(st.integers(1, 3))]
        ),
    )


COST = st.integers(0, 6)


def every(space, fixed):
    """All genotypes with the fixed decisions that keep as many edges as the limit says."""
    tied = {name for limit in space.limits for name in limit.decisions}
    open_ = {d.name: space.candidates(d) for d in space.decisions}
    open_ |= {name: (choice,) for name, choice in fixed.items()}
    rows = [{*open_[name], NONE} if name in tied else open_[name] for name in space.names]
    for chosen in product(*rows):
        genotype = Genotype(space.name, dict(zip(space.names, chosen, strict=True)))
        if all(
            sum(genotype[name] != NONE for name in limit.decisions)
            == min(limit.count, sum(fixed.get(name) != NONE for name in limit.decisions))
            for limit in space.limits
        ):
            yield genotype


@settings(max_examples=60, deadline=None)
@given(made=small_limits(), data=st.data())
def test_a_completion_is_found_if_and_only_if_there_is_one(made, data):
    choice = st.sampled_from((NONE, "a", "b"))
    fixed = data.draw(st.dictionaries(st.sampled_from(made.space.names), choice, max_size=2))
    possible = [genotype for genotype in every(made.space, fixed) if made.allow(genotype)]
    found = made.complete(fixed)
    assert found in possible if possible else found is None


@settings(max_examples=30, deadline=None)
@given(made=small_limits())
def test_the_nearest_is_within_limits_that_some_genotype_meets_or_they_are_refused(made):
    legal = [*every(made.space, {})]
    if not any(map(made.allow, legal)):
        with pytest.raises(ValueError, match=r"budget\.m"):
            made.check()
        return
    made.check()
    for genotype in legal:
        near = made.nearest(genotype)
        assert near in legal
        assert made.allow(near)
        assert (near == genotype) == made.allow(genotype)


def test_limits_that_only_one_genotype_meets_are_not_refused():
    """Of two edges one is kept: with a the intensity is 2 / (3 + 1), with 2 + 2 multiply-adds."""
    over, under, macs = (
        Amounts(base, {"e0": {"a": a, "b": b}, "e1": {"a": c, "b": d}})
        for base, a, b, c, d in ((2, 0, 3, 3, 1), (3, 1, 5, 4, 4), (2, 2, 4, 4, 1))
    )
    floor = Floor(key="min_intensity", value=0.5, over=over, under=under)
    most = Ceiling(key="max_macs_m", value=5.0, amounts=macs)
    made = Limits(Small(2, 2, 1), (floor, most))
    made.check()
    assert made.complete({}) == Genotype("small", {"e0": "a", "e1": NONE})


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
    each = {"layer00": {"k3e1": 0.0, "skip_connect": 1.0}}
    other = {"layer00": {"k3e1": 1.0, "skip_connect": 0.0}}
    space = MOBILE.restrict({"layer00": ("k3e1", "skip_connect")})
    for decision in space.decisions[1:]:
        each[decision.name] = other[decision.name] = dict.fromkeys(decision.choices, 0.0)
    amounts = {"max_params_m": Amounts(0.0, each), "max_macs_m": Amounts(0.0, other)}
    made = ceilings(space, dict.fromkeys(amounts, 0.5), amounts)
    with pytest.raises(ValueError, match="not all together"):
        made.check()


def test_an_exchange_gives_up_the_least_likelihood_for_what_it_saves(tables):
    genotype = Genotype("mobile", dict.fromkeys(MOBILE.rows, "k5e3"))
    params = tables["mobile"][0]
    made = limits("mobile", tables, max_params_m=params.of(genotype) - 1e-6)
    sure = {"k5e3": 0.99, "skip_connect": 0.001}
    unsure = {"k5e3": 0.5, "k3e3": 0.49}
    likely = {name: unsure if name == "layer02" else sure for name in MOBILE.rows}
    near = made.nearest(genotype, likely)
    assert {name for name in near if near[name] != "k5e3"} == {"layer02"}
    assert near["layer02"] == "k3e3"


def test_limits_inside_a_part_of_the_space_are_on_what_it_has(tables):
    params = tables["mobile"][0]
    dear, cheap = (
        MOBILE.restrict(dict.fromkeys(MOBILE.rows, kept)) for kept in (("k5e3",), ("k3e1", "k5e3"))
    )
    least = params.of(dict.fromkeys(MOBILE.rows, "k3e1"))
    made = ceilings(MOBILE, {"max_params_m": least}, {"max_params_m": params})
    assert made.inside(dear) is None
    inside = made.inside(cheap)
    assert inside is not None
    found = inside.nearest(MOBILE.parse(" ".join(["k5e3"] * len(MOBILE.decisions))))
    assert set(found.values()) == {"k3e1"}


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
    assert made.bounds == ()
    assert made.allow(MOBILE.sample())


def test_a_latency_table_of_a_larger_space_of_its_kind_is_refused(tmp_path):
    each = {d.name: dict.fromkeys(d.choices, 0.1) for d in MOBILE.decisions}
    layout = SPACES["mobile"][1]
    path = written(tmp_path / "table.json", "mobile", 1.0, each)
    read_latencies(path, MOBILE, layout, None)
    path = written(path, "mobile", 1.0, {**each, "layer99": {"skip_connect": 0.1}})
    with pytest.raises(ValueError, match="has layer99, which this space does not; measure it"):
        read_latencies(path, MOBILE, layout, None)


def test_a_latency_table_of_another_space_is_refused(tmp_path):
    path = written(tmp_path / "table.json", "mobile", 1.0, {"layer00": {"skip_connect": 0.1}})
    layout = SPACES["mobile"][1]
    with pytest.raises(ValueError, match="layer00=k3e1; measure it again"):
        read_latencies(path, MOBILE, layout, None)
    with pytest.raises(
        ValueError,
        match="on networks with space=mobile, but these have space=darts; measure it again",
    ):
        read_latencies(path, DARTS, layout, None)
    with pytest.raises(ValueError, match=r"with size=.*, but these have size=224; measure it"):
        read_latencies(path, MOBILE, layout, 224)
    for key, value in (("channels", 8), ("layers", 5), ("stem", "imagenet")):
        with pytest.raises(
            ValueError, match=f"with {key}=.*, but these have {key}={value}; measure it"
        ):
            read_latencies(path, MOBILE, replace(layout, **{key: value}), None)
    path.write_text(path.read_text().replace('"stem"', '"other"'))
    with pytest.raises(ValueError, match="does not say its stem; measure it again"):
        read_latencies(path, MOBILE, layout, None)
    with pytest.raises(ValueError, match="not a table of latencies"):
        read_latencies(tmp_path / "missing.json", MOBILE, layout, None)


@pytest.mark.parametrize(
    ("base", "each"),
    [
        (math.nan, {}),
        (1.0, []),
        (1.0, {"layer00": {"skip_connect": None}}),
        (1.0, {"layer00": {"skip_connect": math.inf}}),
        ("long", {}),
    ],
)
def test_a_table_without_times_is_refused(tmp_path, base, each):
    path = written(tmp_path / "table.json", "mobile", base, each)
    with pytest.raises(ValueError, match="not a table of latencies"):
        read_latencies(path, MOBILE, SPACES["mobile"][1], None)


def milliseconds(choice):
    return 0.25 if choice == "skip_connect" else {"k3": 1.0, "k5": 2.0}[choice[:2]]


def written(path, name, base, each):
    space, layout = SPACES[name]
    table = {"space": space.name, **layout_of(layout), "size": SIZE["size"]}
    path.write_text(json.dumps({**table, "base": base, "each": each}))
    return path


@pytest.fixture
def timed(tmp_path):
    """Limits of so many milliseconds on MOBILE: 3, and layer l's choice l times its own."""
    each = {
        decision.name: {choice: layer * milliseconds(choice) for choice in decision.choices}
        for layer, decision in enumerate(MOBILE.decisions, 1)
    }
    path = written(tmp_path / "table.json", "mobile", 3.0, each)

    def make(most):
        budget = Budget(
            device="cpu",
            precision="fp32",
            threads=1,
            max_hours=None,
            max_latency_ms=most,
            latency_table=str(path),
        )
        return Limits.of(budget, MOBILE, SPACES["mobile"][1], **SIZE)

    return make


def test_the_latency_of_a_network_is_the_tables_base_and_its_choices(timed):
    genotype = MOBILE.parse("k3e1 skip_connect k5e3 k3e3w50se")
    made = timed(14.4)
    assert made.cost(genotype) == {"max_latency_ms": 3.0 + 1 * 1.0 + 2 * 0.25 + 3 * 2.0 + 4 * 1.0}
    assert not made.allow(genotype)
    assert timed(14.5).allow(genotype)


def test_an_edge_that_is_dropped_takes_no_time_and_has_no_entry(tmp_path):
    """Three nodes of two kinds of cells keep two edges each."""
    each = {d.name: {c: 1.0 for c in d.choices if c != NONE} for d in DARTS.decisions}
    path = written(tmp_path / "table.json", "darts", 5.0, each)
    amounts = read_latencies(path, DARTS, SPACES["darts"][1], None)
    genotype = DARTS.sample(torch.Generator().manual_seed(0))
    assert amounts.of(genotype) == 5.0 + 2 * 3 * 2


@pytest.mark.parametrize("most", [5.5, 9.0, 14.0])
def test_what_is_nearest_meets_a_latency(timed, most):
    made = timed(most)
    generator = torch.Generator().manual_seed(0)
    moved = 0
    for _ in range(20):
        genotype = MOBILE.sample(generator)
        near = made.nearest(genotype)
        taken, before = (
            3.0 + sum(layer * milliseconds(c) for layer, c in enumerate(network.values(), 1))
            for network in (near, genotype)
        )
        assert taken <= most
        assert (near == genotype) == (before <= most)
        moved += near != genotype
    assert moved > 0


def test_a_latency_that_no_network_meets_is_named_with_what_would_do(timed):
    """All layers skipped take 3 + (1 + 2 + 3 + 4) / 4."""
    with pytest.raises(
        ValueError, match=r"max_latency_ms=5\.4: the cheapest .* has 5\.5; allow that"
    ):
        timed(5.4)


def supernet(name):
    space = SPACES[name][0]
    network = space.network(inputs=3, outputs=7)
    return Supernet(space, network, Softmax(), alpha_mean=0.0, alpha_std=1.0)


def test_the_expected_cost_is_the_mean_of_drawn_networks(tables):
    torch.manual_seed(0)
    mixed = supernet("mobile")
    made = limits("mobile", tables, max_params_m=0.01)
    within = Within(made, weight=1.0, rate=0.0)
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
    within = Within(made, weight=1.0, rate=0.0)
    within.begin(mixed, None)
    optimizer = torch.optim.Adam([mixed.alpha], lr=0.1)
    first = float(within())
    for _ in range(200):
        optimizer.zero_grad()
        within().backward()
        optimizer.step()
    assert first > 0.01
    assert float(within()) < 0.01
    roomy = Within(limits(name, tables, max_params_m=1e3), weight=1.0, rate=0.0)
    roomy.begin(mixed, None)
    assert float(roomy()) == 0.0


def test_a_decided_edge_is_kept_for_certain_and_the_others_share_what_is_left(tables):
    mixed = supernet("darts")
    within = Within(limits("darts", tables, max_params_m=1.0), weight=1.0, rate=0.0)
    within.begin(mixed, None)
    limit = max(DARTS.limits, key=lambda limit: len(limit.decisions))
    first, second, *others = limit.decisions
    mixed.fixed.update({first: "sep_conv_3x3", second: NONE})
    kept = dict(zip(DARTS.names, within._kept().tolist(), strict=True))
    assert kept[first] == 1
    share = (limit.count - 1) / len(others)
    assert [kept[name] for name in others] == pytest.approx([share] * len(others))


@pytest.mark.parametrize("name", sorted(SPACES))
def test_once_all_is_decided_the_expected_cost_is_the_networks_and_nothing_is_pushed(name, tables):
    torch.manual_seed(0)
    mixed, space = supernet(name), SPACES[name][0]
    made = limits(name, tables, max_params_m=1.01 * tables[name][0].of(space.sample()))
    within = Within(made, weight=1.0, rate=0.0)
    within.begin(mixed, None)
    genotype = space.sample()
    mixed.fixed.update(genotype)
    expected = within.metrics()["expected_params_m"]
    assert expected == pytest.approx(made.cost(genotype)["max_params_m"], rel=1e-5)
    (gradient,) = torch.autograd.grad(sum(within._shares().values()), [mixed.alpha])
    assert not gradient.any()


def expected_shares(mixed, made):
    """Each limit's share of the mean cost, choice by choice."""
    rows = mixed.probabilities()
    return {
        bound.key: (
            bound.amounts.base
            + sum(p * bound.amounts.each[n][c] for n, row in rows.items() for c, p in row.items())
        )
        / bound.value
        for bound in made.bounds
    }


def test_a_multiplier_ascends_by_the_excess_and_weighs_it(tables):
    torch.manual_seed(0)
    mixed = supernet("mobile")
    params, macs, _ = tables["mobile"]
    dear = MOBILE.parse(" ".join(["k5e3"] * len(MOBILE.decisions)))
    most = {"max_params_m": 0.3 * params.of(dear), "max_macs_m": 2.0 * macs.of(dear)}
    made = ceilings(MOBILE, most, {"max_params_m": params, "max_macs_m": macs})
    within = Within(made, weight=0.5, rate=0.2)
    within.begin(mixed, None)
    lam = dict.fromkeys(most, 0.5)
    for _ in range(8):
        with torch.no_grad():
            mixed.alpha += torch.randn_like(mixed.alpha)
        shares = expected_shares(mixed, made)
        term = sum(lam[key] * max(0.0, share - 1.0) for key, share in shares.items())
        assert float(within().detach()) == pytest.approx(term, rel=1e-4)
        within.ascend()
        lam = {key: max(0.0, lam[key] + 0.2 * (shares[key] - 1.0)) for key in lam}
        assert within.state_dict() == pytest.approx(lam, rel=1e-4)
    assert lam["max_params_m"] > 0.5
    assert lam["max_macs_m"] == 0.0


def test_a_multiplier_meets_a_limit_that_the_fixed_weight_gives_up(tables):
    """The loss gains by every parameter, three times what the weight of one takes."""
    params = tables["mobile"][0]
    cheapest, dearest = (
        params.of({d.name: c for d in MOBILE.decisions}) for c in ("skip_connect", "k5e3")
    )
    most = dearest / 2
    made = ceilings(MOBILE, {"max_params_m": most}, {"max_params_m": params})
    lowest = ceilings(MOBILE, {"max_params_m": cheapest}, {"max_params_m": params})

    def share(rate):
        mixed = supernet("mobile")
        with torch.no_grad():
            mixed.alpha.zero_()
        within = Within(made, weight=1.0, rate=rate)
        gain = Within(lowest, weight=3.0 * cheapest / most, rate=0.0)
        within.begin(mixed, None)
        gain.begin(mixed, None)
        optimizer = torch.optim.Adam([mixed.alpha], lr=0.05)
        for _ in range(400):
            optimizer.zero_grad()
            (within() - gain()).backward()
            optimizer.step()
            within.ascend()
        return expected_shares(mixed, made)["max_params_m"]

    assert share(0.0) > 1.5
    assert share(0.1) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("limit", ["max_params_m=0.03", "max_macs_m=1"])
def test_a_limit_can_be_given_after_a_search_without_it(nasrun, here, limit):
    words = [word for word in RUN if not word.startswith(("strategy.", "stages", "retrain."))]
    first = ["budget.max_params_m=1"] if "macs" in limit else []
    assert nasrun("search", *words, *first).status == 0
    answer = nasrun("select", f"budget.{limit}", "budget.threads=1", "progress=false")
    assert answer.status == 0, answer.err


def test_a_search_that_decides_edges_on_the_way_is_held_to_the_limits_too(nasrun, here):
    words = [*SMALL, "strategy=sgas", "budget.max_params_m=0.2", "budget.limit_rate=1"]
    assert nasrun("search", *words).status == 0
    metrics = here / "outputs/digits-darts-sgas/v001/search/metrics.jsonl"
    first, second = map(json.loads, metrics.read_text().splitlines())
    grown = first["multiplier_params_m"] + first["expected_params_m"] / 0.2 - 1
    assert second["multiplier_params_m"] == pytest.approx(max(0.0, grown), rel=1e-5)


def test_a_search_goes_on_with_its_multipliers(nasrun, here):
    words = [word for word in RUN if "num_candidates" not in word and "stages" not in word]
    words = [word for word in words if not word.startswith(("retrain.", "rounds"))]
    words += ["rounds=3", "budget.max_params_m=0.025", "budget.limit_rate=2"]
    for _ in range(2):
        assert nasrun("search", *words, "outputs=parts", "budget.max_hours=1e-9").status == 75
    assert nasrun("search", *words, "outputs=parts").status == 0
    assert nasrun("search", *words, "outputs=whole").status == 0
    parts, whole = (
        (here / name / "digits-mobile-darts/v001/search/metrics.jsonl").read_text()
        for name in ("parts", "whole")
    )
    assert parts == whole
    first, second, third = (json.loads(line) for line in whole.splitlines())
    assert first["multiplier_params_m"] == 1.0
    for before, after in ((first, second), (second, third)):
        grown = before["multiplier_params_m"] + 2 * (before["expected_params_m"] / 0.025 - 1)
        assert after["multiplier_params_m"] == pytest.approx(grown, rel=1e-5)


RUN = ["space=mobile", "rounds=1", "depth=3", "width=2", "images=64", "batch_size=16"]
RUN += ["budget.threads=1", "budget.device=cpu", "progress=false", "retrain.epochs=1"]
RUN += ["stages=[search,select,retrain]", "strategy.num_candidates=2", "retrain.channels=4"]


@pytest.mark.parametrize(
    ("strategy", "selector"),
    [
        ("darts", "magnitude"),
        ("darts", "rescored selector.evaluator.images=16"),
        ("darts", "perturb"),
        ("radars", "perturb"),
        ("random evaluator=inherited", "fittest"),
        ("reinforce", "fittest"),
    ],
)
def test_the_retrained_network_is_within_the_limits(nasrun, here, strategy, selector):
    words = [word for word in RUN if "num_candidates" not in word or selector == "fittest"]
    limit = 0.006
    words += [*f"strategy={strategy} selector={selector}".split(), f"budget.max_params_m={limit}"]
    answer = nasrun("run", *words)
    assert answer.status == 0, answer.err
    (chosen,) = here.glob(f"outputs/*/v001/select/{selector.split()[0]}/result.json")
    assert json.loads(chosen.read_text())["costs"]["max_params_m"] <= limit
    results = list(here.glob("outputs/*/v001/retrain/*/result.json"))
    assert len(results) == 2  # the random rival is within them too
    for path in results:
        assert json.loads(path.read_text())["params"] <= limit * 1e6


def test_limits_that_the_kept_subspace_cannot_meet_lead_out_of_it(nasrun, here):
    words = [word for word in RUN if "num_candidates" not in word]
    words += ["strategy=radars", "strategy.most=1", "selector=argmax", "budget.max_params_m=0.0025"]
    answer = nasrun("run", *words)
    assert answer.status == 0, answer.err
    null = ["selector=rescored", "selector.evaluator=null", "budget.max_params_m=0.0025"]
    refusal = nasrun("select", *null, "budget.threads=1", "budget.device=cpu").refusal
    assert "selector.contestants=10: none of them has a score by the search's weights" in refusal
    (select,) = here.glob("outputs/*/v001/select/argmax")
    assert json.loads((select / "result.json").read_text())["costs"]["max_params_m"] <= 0.0025
    assert json.loads((select / "discretisation.json").read_text()).keys() == {"check"}  # no child


def test_a_network_beyond_the_limits_is_not_retrained(nasrun):
    words = ["space=mobile", "depth=3", "images=64", "retrain.channels=4"]
    words += ["budget.device=cpu", "budget.max_params_m=0.0021", "genotype=random"]
    refusal = nasrun("retrain", *words).refusal
    assert refusal.startswith("nasrun: budget.max_params_m=0.0021: the network to retrain has ")
    assert refusal.endswith("; allow that or more")
