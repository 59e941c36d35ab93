"""The number of architectures of a space by their number of parameters."""

from collections import Counter
from itertools import product

import pytest
from toys import DARTS

from nasrun.analysis.parameters import distribution, price, prices, share_up_to
from nasrun.costs.cost import params
from nasrun.genotype import NONE, Genotype
from nasrun.spaces.layout import Layout

LAYOUT = Layout(channels=4, layers=4)


def built(genotype):
    return params(DARTS.network(genotype, inputs=3, outputs=10, layout=LAYOUT))


def test_the_parameters_of_a_network_are_a_sum_over_its_choices():
    each = prices(DARTS, LAYOUT)
    some = [DARTS.sample() for _ in range(4)]
    fixed = {built(genotype) - price(each, genotype) for genotype in some}
    assert len(fixed) == 1


def test_the_distribution_is_that_of_all_genotypes():
    each = prices(DARTS, LAYOUT)
    found = Counter()
    edges = [[(n, c) for n in limit.decisions for c in DARTS.operations[1:]]
             for limit in tied_nodes()]  # fmt: skip
    for chosen in product(*edges):
        genotype = Genotype("darts", dict.fromkeys(DARTS.names, NONE) | dict(chosen))
        found[price(each, DARTS.check(genotype))] += 1
    assert distribution(DARTS, each) == found


def tied_nodes():
    """Every node of the toy space keeps one edge."""
    assert len(DARTS.limits) == 4
    return DARTS.limits


def test_a_share_counts_what_is_as_large():
    assert share_up_to(2, {1: 1, 2: 2, 3: 1}) == pytest.approx(0.75)
    assert share_up_to(0, {1: 1}) == 0
