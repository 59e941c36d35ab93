"""The extent of a space: its number of genotypes, and the extremes of their costs."""

from itertools import product

import pytest
from toys import DARTS

from nasrun.costs.amounts import Amounts
from nasrun.genotype import NONE
from nasrun.pipeline.extent import extremes, genotypes
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.mobile import MobileSpace
from nasrun.spaces.nasbench201 import NasBench201

MOBILE = MobileSpace(
    kernels=(3,),
    expansions=(1, 3),
    widths=(100,),
    squeeze=(False,),
    skip=True,
    channels=2,
    layers=3,
)


def every(space):
    """All genotypes of a small space, limits obeyed."""
    found = set()
    for picked in product(*(d.choices for d in space.decisions)):
        chosen = dict(zip(space.rows, picked, strict=True))
        tied = [name for limit in space.limits for name in limit.decisions]
        free = all(chosen[name] != NONE for name in chosen if name not in tied)
        kept = [
            sum(chosen[name] != NONE for name in limit.decisions) == limit.count
            for limit in space.limits
        ]
        if free and all(kept):
            found.add(tuple(picked))
    return [dict(zip(space.rows, picked, strict=True)) for picked in found]


@pytest.mark.parametrize("space", [DARTS, MOBILE], ids=["darts", "mobile"])
def test_genotypes_are_counted_as_they_are_enumerated(space):
    assert genotypes(space) == len(every(space))


def test_nas_bench_201_has_15625_architectures_none_being_a_choice():
    operations = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    assert genotypes(NasBench201(operations=operations, channels=2, layers=3)) == 15_625


def test_the_darts_space_has_so_many_genotypes():
    """(3^8 * 1 * 3 * 6 * 10)^2: operations of the kept edges times their sources."""
    whole = DartsSpace(
        operations=("none", *(f"sep_conv_{k}x{k}" for k in (3, 5)), "skip_connect"),
        nodes=4,
        kept_edges=2,
        channels=2,
        layers=3,
    )
    assert genotypes(whole) == (3**8 * 180) ** 2


@pytest.mark.parametrize("space", [DARTS, MOBILE], ids=["darts", "mobile"])
def test_the_smallest_and_largest_network_are_those_of_all(space):
    each = {
        d.name: {
            c: 0.0 if c == NONE else float((7 * i + 3 * j) % 11 + 1)
            for j, c in enumerate(d.choices)
        }
        for i, d in enumerate(space.decisions)
    }
    amounts = Amounts(5.0, each)
    costs = [amounts.of(genotype) for genotype in every(space)]
    assert extremes(space, amounts) == (min(costs), max(costs))
