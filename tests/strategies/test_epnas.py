"""EPNAS: a beam of prefixes, a policy that picks what is scored, rewards that heed limits."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from toys import Scores, context, run

from nasrun.costs.amounts import Amounts
from nasrun.costs.bounds import Ceiling, Floor
from nasrun.costs.limits import Limits
from nasrun.engines.base import Engine
from nasrun.engines.local import Serial
from nasrun.evaluators.base import Evaluator
from nasrun.genotype import SKIP
from nasrun.score import Score
from nasrun.spaces import module_graph
from nasrun.spaces.mobile import MobileSpace
from nasrun.spaces.nasbench101 import NasBench101
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.strategies.controller import Factorised, Indifferent, Recurrent, Reinforce
from nasrun.strategies.epnas import Epnas, shares

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
SPACE = NasBench201(operations=OPERATIONS, channels=4, layers=3)
WEIGHTS = {"none": 0, SKIP: 1, "avg_pool_3x3": 0, "nor_conv_1x1": 3, "nor_conv_3x3": 5}
PRICES = {"none": 0.0, SKIP: 0.0, "avg_pool_3x3": 0.0, "nor_conv_1x1": 1.0, "nor_conv_3x3": 9.0}


class Known(Evaluator):
    """The sum of what operations are worth."""

    def __init__(self):
        self.asked = []

    def begin(self, context):
        pass

    def __call__(self, genotype):
        self.asked.append(genotype)
        return Score("worth", float(sum(WEIGHTS[choice] for choice in genotype.values())))


def reinforce(policy=None, lr=0.05):
    return Reinforce(
        policy=policy or Recurrent(hidden=8, temperature=5.0, tanh_constant=2.5),
        optimizer=partial(torch.optim.Adam, lr=lr),
        baseline_decay=0.9,
        entropy_weight=1e-3,
    )


def limits(most):
    each = dict.fromkeys(SPACE.names, PRICES)
    return Limits(SPACE, (Ceiling(key="max_params_m", value=most, amounts=Amounts(2.0, each)),))


def begun(evaluator=None, limited=None, **changes):
    torch.manual_seed(0)
    settings = {
        "num_candidates": 60,
        "together": 6,
        "beam": 3,
        "children": 4,
        "controller": reinforce(),
        "first_p": 0.9,
        "last_p": 0.1,
        "evaluator": evaluator or Known(),
    }
    search = Epnas(**{**settings, **changes})
    search.begin(context(SPACE, limits=limited))
    return search


def test_every_architecture_is_scored_once_and_depths_follow_each_other():
    search = begun()
    metrics = run(search)
    assert len(set(search.evaluator.asked)) == len(search.candidates) == 60
    assert [m["depth"] for m in metrics[:3]] == [1, 2, 3]
    assert len(metrics) == search.rounds > 10  # the first node has five architectures only
    skipped = [sum(c == SKIP for c in g.values()) >= 5 for g in search.evaluator.asked[:5]]
    assert all(skipped)


def test_the_best_of_a_depth_go_on_and_children_differ():
    search = begun()
    run(search, 2)
    worth = {c.genotype: c.score.value for c in search.candidates}
    drawn = search.prefixes.genotypes(search._drawn)
    assert len(set(drawn)) == len(drawn) == 12
    best = sorted((worth[g] for g in drawn if g in worth), reverse=True)[:3]
    assert [worth[g] for g in search.prefixes.genotypes(search._beam)] == best


def test_the_reward_is_the_rank_times_a_power_of_p_for_every_excess():
    search = begun(limited=limits(4.0), num_candidates=40)
    search._candidates = [None] * 10  # a quarter is scored
    genotypes = [SPACE.sample() for _ in range(5)]
    merits = [0.3, 0.9, -math.inf, 0.3, -2.0]
    rewards = search._rewards(genotypes, [Score("worth", merit) for merit in merits])
    p = math.exp(0.75 * math.log(0.9) + 0.25 * math.log(0.1))
    ranks = [3.5, 5.0, 0.0, 3.5, 2.0]
    for reward, rank, genotype in zip(rewards.tolist(), ranks, genotypes, strict=True):
        cost = 2.0 + sum(PRICES[choice] for choice in genotype.values())
        assert reward == pytest.approx(rank / 5 * p ** max(0.0, cost / 4.0 - 1))
    assert shares([3.0, 1.0, 2.0]).tolist() == pytest.approx([1, 1 / 3, 2 / 3])


def test_the_policy_learns_what_scores_well_and_the_control_does_not():
    def late(controller):
        found = [c.score.value for c in begun_and_run(controller).candidates[-40:]]
        return sum(found) / len(found)

    def begun_and_run(controller):
        search = begun(num_candidates=120, controller=controller)
        run(search)
        return search

    assert late(reinforce()) > late(Indifferent()) + 2
    assert late(reinforce(Factorised())) > late(Indifferent()) + 2


def test_the_result_is_the_best_within_the_limits(tmp_path):
    limited = limits(6.0)
    search = begun(limited=limited)
    metrics = run(search)
    costs = [limited.cost(c.genotype)["max_params_m"] for c in search.candidates]
    assert max(costs) > 6.0  # what is over the limit teaches too
    allowed = [c for c, cost in zip(search.candidates, costs, strict=True) if cost <= 6.0]
    assert search.best == max(allowed, key=lambda candidate: candidate.score.value)
    assert metrics[-1]["best_worth"] == search.best.score.value
    late = costs[-30:]
    assert sum(late) / len(late) < sum(costs[5:30]) / 25  # the limit is learned


def test_the_result_is_within_limits_of_size_complexity_and_intensity():
    """More convolutions cost more and are more intense, so only some in the middle are allowed."""
    size, work, bytes_ = (
        Amounts(2.0, {n: {c: factor * p for c, p in PRICES.items()} for n in SPACE.names})
        for factor in (1.0, 3.0, 0.5)
    )
    bounds = (
        Ceiling(key="max_params_m", value=14.0, amounts=size),
        Ceiling(key="max_macs_m", value=38.5, amounts=work),
        Floor(key="min_intensity", value=3.5, over=work, under=bytes_),
    )
    limited = Limits(SPACE, bounds)
    limited.check()
    search = begun(limited=limited)
    run(search)
    worth = {}
    for genotype, score in ((c.genotype, c.score.value) for c in search.candidates):
        cost = sum(PRICES[choice] for choice in genotype.values())
        own = 2.0 + cost, 2.0 + 3.0 * cost, (2.0 + 3.0 * cost) / (2.0 + 0.5 * cost)
        assert tuple(limited.cost(genotype).values()) == pytest.approx(own)
        excess = (own[0] / 14.0 - 1, own[1] / 38.5 - 1, 3.5 / own[2] - 1)
        assert tuple(limited.excesses(genotype).values()) == pytest.approx(
            [max(0.0, each) for each in excess]
        )
        if max(excess) <= 0:
            worth[genotype] = score
    assert 0 < len(worth) < len(search.candidates)
    assert worth[search.best.genotype] == max(worth.values())


def test_a_search_without_any_result_within_the_limits_says_so(tmp_path, no_pictures):
    limited = limits(2.0)
    search = begun(limited=limited)
    run(search)
    search._candidates = [c for c in search.candidates if not limited.allow(c.genotype)]
    with pytest.warns(UserWarning, match=r"no sound .* within budget.max_params_m=2.0: .* use"):
        search.finish(SimpleNamespace(metrics=list, path=tmp_path))


def test_interrupted_it_ends_as_uninterrupted():
    whole = begun()
    expected = run(whole)
    for rounds in (1, 5):
        first = begun()
        run(first, rounds)
        state = first.state_dict()
        other = begun()
        other.load_state_dict(state)
        other.round = rounds
        assert run(other) == expected[rounds:]
        assert other.candidates == whole.candidates


def noisy(order):
    """A job with a random number of its own."""
    seed, worth = order
    torch.manual_seed(seed)
    return worth + float(torch.rand(()))


class LastFirst(Engine):
    """Results come in another order, and other random numbers are drawn on the way, elsewhere."""

    def check(self, budget):
        pass

    def run(self, job, orders, cores):
        with torch.random.fork_rng():
            found = [(place, job(orders[place])) for place in reversed(range(len(orders)))]
        yield from found

    def side_by_side(self, cores):
        return 2

    def close(self):
        pass


class OnEngine(Known):
    """As a brief training: a seed per architecture, results in whatever order they are done."""

    def __init__(self, engine):
        super().__init__()
        self.engine = engine

    def evaluate(self, genotypes, track=None):
        orders = [(int(torch.randint(2**62, ())), self(g).value) for g in genotypes]
        found = dict(self.engine.run(noisy, orders, 2))
        return [Score("worth", found[place]) for place in range(len(orders))]


def test_side_by_side_it_searches_as_one_after_the_other():
    def found(engine):
        search = begun(OnEngine(engine), num_candidates=24)
        metrics = run(search)
        return metrics, search.candidates

    assert found(LastFirst()) == found(Serial())


def test_a_space_that_is_exhausted_ends_in_repeats():
    small = MobileSpace(
        kernels=(3,),
        expansions=(3,),
        widths=(100,),
        squeeze=(False,),
        skip=True,
        channels=4,
        layers=3,
    )
    search = begun(Scores([0.5] * 20), num_candidates=20, together=2, beam=2, children=2)
    search.begin(context(small))
    run(search)
    assert len(search.candidates) == 20
    assert len({candidate.genotype for candidate in search.candidates}) == 8


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"beam": 0}, "beam=0 together=6: use a beam of 1"),
        ({"beam": 7}, "beam=7 together=6: use a beam of 1 or more, at most together"),
        ({"children": 1}, "beam=3 children=1 together=6: use 2 children or more"),
        ({"last_p": 0.0}, "first_p=0.9 last_p=0.0: use more than 0"),
        ({"first_p": 0.05}, "first_p=0.05 last_p=0.1: use"),
    ],
)
def test_impossible_values_are_refused(settings, wrong):
    with pytest.raises(ValueError, match=wrong):
        begun(**settings)


def test_a_space_whose_limit_drops_edges_that_may_choose_none_is_refused():
    space = NasBench101(operations=module_graph.OPERATIONS, channels=8, layers=3)
    search = begun(Scores([0.5]), num_candidates=1, together=2, beam=2, children=2)
    with pytest.raises(ValueError, match=r"space=nasbench101: an edge .* use strategy=evolution"):
        search.begin(context(space))
