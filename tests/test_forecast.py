"""`nasrun plan`: counts, extremes and times, and what is refused."""

from itertools import product

import pytest

from nasrun.forecast import extremes, genotypes, timed
from nasrun.genotype import NONE
from nasrun.limits import Amounts
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.mobile import MobileSpace
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.stage import Stage

DARTS = DartsSpace(
    operations=("none", "skip_connect", "sep_conv_3x3"),
    nodes=2,
    kept_edges=1,
    channels=2,
    layers=3,
)
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


class Walk(Stage):
    """Ten items a round."""

    rounds = 3

    def __init__(self):
        self.walked = 0

    def run_round(self):
        for _ in self.track(range(10), 10):
            self.walked += 1
        return {}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def finish(self, folder):
        return {}


def test_a_few_steps_are_taken_and_no_more():
    walk = Walk()
    seconds, steps = timed(walk)
    assert (walk.walked, steps) == (4, 10)
    assert seconds >= 0


WORDS = ["space=mobile", "depth=3", "width=2", "images=64", "batch_size=16", "budget.threads=1"]
WORDS += ["budget.device=cpu", "stages=[search,select,retrain]", "retrain.batch_size=16"]


def test_a_plan_prints_its_tables_and_leaves_nothing(nasrun, here):
    answer = nasrun("plan", *WORDS)
    assert answer.status == 0, answer.err
    for word in ("genotypes", "343", "search", "retrain", "GiB", "in all"):
        assert word in answer.out, word
    assert list(here.iterdir()) == []


def test_a_plan_that_cannot_be_ends_with_two_and_the_number(nasrun):
    answer = nasrun("plan", *WORDS, "budget.max_memory_gib=0.601")
    assert "needs about" in answer.refusal


def test_a_limit_that_nothing_meets_is_told_before_anything_begins(nasrun, here):
    for verb in ("plan", "run"):
        words = [*WORDS, "budget.max_params_m=1e-6"]
        assert "budget.max_params_m=1e-06: the cheapest" in nasrun(verb, *words).refusal
        assert list(here.iterdir()) == []


def test_a_plan_is_of_one_configuration(nasrun):
    assert "plan -m" in nasrun("plan", "-m", "seed=0,1").refusal
