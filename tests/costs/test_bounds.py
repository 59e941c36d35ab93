"""Lower bounds on a ratio of costs: the compute intensity of networks, and searches within it."""

import math
from itertools import product

import pytest
import torch
from torch import nn
from toys import CELLS, DARTS, MOBILE

from nasrun.budget import Budget
from nasrun.costs.amounts import Amounts, count_choices
from nasrun.costs.bounds import Ceiling, Floor, intensity
from nasrun.costs.cost import Meter
from nasrun.costs.limits import Limits
from nasrun.genotype import Genotype
from nasrun.spaces.layout import Layout
from nasrun.strategies.penalties import Within
from nasrun.supernet.relaxation import Softmax
from nasrun.supernet.supernet import Supernet

SPACES = {
    "mobile": (MOBILE, Layout(channels=6, layers=3)),
    "nasbench201": (CELLS, Layout(channels=6, layers=3)),
    "darts": (DARTS, Layout(channels=4, layers=3, auxiliary=True)),
}
SIZE = {"inputs": 3, "outputs": 7, "size": 16}
UNLIMITED = {"device": "cpu", "precision": "fp32", "threads": 1, "max_hours": None}


def convolution(inputs, outputs, kernel, size, stride=1):
    """Multiply-adds, and the numbers of input, weights and output."""
    weights, pixels = kernel**2 * inputs * outputs, (size // stride) ** 2
    return weights * pixels, inputs * size**2 + weights + outputs * pixels


def pool(channels, size, stride=1):
    return 0, channels * size**2 + channels * (size // stride) ** 2


@pytest.fixture(scope="module")
def floors():
    """The bound of 1 FLOP per byte on every space."""
    return {
        n: intensity(count_choices(s, layout, **SIZE), 1.0) for n, (s, layout) in SPACES.items()
    }


def at_least(name, floors, value):
    floor = floors[name]
    return Floor(key=floor.key, value=value, over=floor.over, under=floor.under)


def test_a_convolution_moves_its_input_its_weights_and_its_output():
    with torch.device("meta"), torch.no_grad(), Meter() as meter:
        nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)(torch.empty(1, 4, 8, 8))
    assert (meter.macs, meter.access) == convolution(4, 6, 3, 8, stride=2)


def test_the_intensity_of_a_network_is_that_of_its_operations_one_by_one(floors):
    """Six channels, one cell per stage: 16, 8 and 4 pixels wide."""
    chosen = (
        "nor_conv_3x3",
        "skip_connect",
        "none",
        "nor_conv_1x1",
        "avg_pool_3x3",
        "nor_conv_3x3",
    )
    genotype = Genotype("nasbench201", dict(zip(CELLS.names, chosen, strict=True)))
    parts = [convolution(3, 6, 3, 16), (24 * 7, 24 + 24 * 7 + 7 + 7)]
    for channels, size in ((6, 16), (12, 8), (24, 4)):
        parts += 2 * [convolution(channels, channels, 3, size)]
        parts += [convolution(channels, channels, 1, size), pool(channels, size)]
        if channels < 24:
            twice, half = 2 * channels, size // 2
            parts += [convolution(channels, twice, 3, size, 2), convolution(twice, twice, 3, half)]
            parts += [pool(channels, size, 2), convolution(channels, twice, 1, half)]
    macs, moved = map(sum, zip(*parts, strict=True))
    assert floors["nasbench201"].cost(genotype) == pytest.approx(2 * macs / (4 * moved))
    space, layout = SPACES["nasbench201"]
    network = space.network(genotype, inputs=3, outputs=7, layout=layout).eval()
    with torch.no_grad(), Meter() as meter:
        network(torch.zeros(1, 3, 16, 16))
    assert (meter.macs, meter.access) == (macs, moved)


def test_the_largest_intensity_is_that_of_all_networks():
    space = CELLS.restrict(
        dict.fromkeys(CELLS.names[:4], ("skip_connect", "nor_conv_3x3", "avg_pool_3x3"))
        | dict.fromkeys(CELLS.names[4:], ("skip_connect",))
    )
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        over, under = (
            Amounts(1.0, {d.name: dict(zip(d.choices, row, strict=True)) for d, row in rows})
            for rows in (
                [
                    (d, torch.rand(len(d.choices), generator=generator).tolist())
                    for d in space.decisions
                ]
                for _ in range(2)
            )
        )
        floor = Floor(key="min_intensity", value=0.1, over=over, under=under)
        everything = product(*(space.candidates(d) for d in space.decisions))
        costs = [floor.cost(dict(zip(space.names, chosen, strict=True))) for chosen in everything]
        assert floor.cost(floor.best(space.cheapest)) == max(costs)


def test_what_is_completed_and_what_is_nearest_has_at_least_the_bound(floors):
    for name, (space, _) in SPACES.items():
        generator = torch.Generator().manual_seed(0)
        sampled = [space.sample(generator) for _ in range(5)]
        costs = [floors[name].cost(genotype) for genotype in sampled]
        largest = floors[name].cost(floors[name].best(space.cheapest))
        assert largest >= max(costs)
        for value in (sorted(costs)[2], largest):
            made = Limits(space, (at_least(name, floors, value),))
            made.check()
            for genotype, cost in zip(sampled, costs, strict=True):
                near = made.nearest(genotype)
                assert made.cost(space.check(near))["min_intensity"] >= value
                assert (near == genotype) == (cost >= value)
            names = [space.decisions[-1].name]
            whole = made.complete({name: made.complete({})[name] for name in names})
            assert made.allow(whole)


def test_an_intensity_that_no_network_has_is_refused_with_the_largest():
    space, layout = SPACES["mobile"]
    with pytest.raises(
        ValueError, match=r"budget\.min_intensity=500: .*largest.*; use at most"
    ) as e:
        Limits.of(Budget(**UNLIMITED, min_intensity=500), space, layout, **SIZE)
    most = float(str(e.value).rpartition(" ")[2])
    found = Limits.of(Budget(**UNLIMITED, min_intensity=most), space, layout, **SIZE)
    genotype = found.complete({})
    assert most <= found.cost(genotype)["min_intensity"] < most * 1.001


def test_a_bound_that_is_told_can_be_kept():
    """Four digits, rounded to the side where networks are."""
    none = Amounts(0.0, {})
    ceiling = Ceiling(key="max_params_m", value=1.0, amounts=none)
    floor = Floor(key="min_intensity", value=9.0, over=none, under=none)
    told = "budget.max_params_m=1.0: this network has 1.235; allow that or more"
    assert ceiling.refusal("this network", 1.234_01) == told
    told = "budget.min_intensity=9.0: this network has 1.234; use at most 1.234"
    assert floor.refusal("this network", 1.234_99) == told


def test_the_expected_excess_is_the_bound_times_the_mean_bytes_over_the_mean_operations(floors):
    torch.manual_seed(0)
    space, _ = SPACES["nasbench201"]
    mixed = Supernet(
        space, space.network(inputs=3, outputs=7), Softmax(), alpha_mean=0.0, alpha_std=1.0
    )
    rows = mixed.probabilities()

    def mean(amounts):
        return amounts.base + sum(
            p * amounts.each[name][choice]
            for name, row in rows.items()
            for choice, p in row.items()
        )

    expected = mean(floors["nasbench201"].over) / mean(floors["nasbench201"].under)
    for factor in (0.9, 1.5):
        bound = at_least("nasbench201", floors, factor * expected)
        within = Within(Limits(space, (bound,)), weight=2.0, rate=0.1)
        within.begin(mixed, None)
        excess = factor - 1.0
        assert float(within().detach()) == pytest.approx(2.0 * max(0.0, excess), rel=1e-4)
        within.ascend()
        found = {"expected_intensity": expected, "multiplier_intensity": 2.0 + 0.1 * excess}
        assert within.metrics() == pytest.approx(found, rel=1e-4)
    (gradient,) = torch.autograd.grad(within(), [mixed.alpha])
    with torch.no_grad():
        mixed.alpha -= 0.1 * gradient / gradient.norm()
    assert within.metrics()["expected_intensity"] > expected


def test_costs_at_a_share_are_those_with_this_share():
    one = Amounts(1.0, {})
    for bound, over in (
        (Ceiling(key="max_macs_m", value=4.0, amounts=one), 5.0),
        (Floor(key="min_intensity", value=4.0, over=one, under=one), 3.0),
    ):
        assert math.isclose(bound.cost_at(bound.share(over)), over)
        assert bound.share(4.0) == 1.0 < bound.share(over)
