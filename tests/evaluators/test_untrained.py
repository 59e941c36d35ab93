"""Untrained networks as an evaluator: equal conditions for all candidates, and ranks."""

import math
from types import SimpleNamespace

import pytest
import torch
from toys import context, run

from nasrun.budget import Budget
from nasrun.config import build, compose, resolve
from nasrun.costs.ledger import Ledger, sizes
from nasrun.evaluators.az_nas import AzNas
from nasrun.evaluators.counts import Depth, Macs, Params
from nasrun.evaluators.grad_norm import GradNorm
from nasrun.evaluators.jacob_cov import JacobCov
from nasrun.evaluators.naswot import Naswot
from nasrun.evaluators.snip import Snip
from nasrun.evaluators.swap import Swap
from nasrun.evaluators.synflow import Synflow
from nasrun.evaluators.untrained import Formula, gradients
from nasrun.evaluators.zico import Zico
from nasrun.stage import Stage
from nasrun.strategies.random_search import RandomSearch
from nasrun.streams import Streams

CPU = Budget(device="cpu", precision="auto", threads=1, max_hours=None)
SMALL = ["strategy=random", "space=nasbench201", "width=2", "depth=3", "images=160"]
FORMULAS = (Naswot(), JacobCov(), GradNorm(), Snip(), Synflow(), Zico(batches=2), Swap())
FORMULAS += (Params(), Depth(), AzNas())


class Bare(Stage):
    rounds = run_round = state_dict = load_state_dict = finish = None


Bare.__abstractmethods__ = frozenset()


def begun(option, *overrides, seed=0):
    words = [*SMALL, f"evaluator@strategy={option}", "strategy.evaluator.images=16", *overrides]
    composed = compose(words).config
    space, dataset, task, search = (
        build(resolve(composed[key]), key) for key in ("space", "dataset", "task", "strategy")
    )
    streams = Streams(seed)
    streams.enter("test")
    task.begin(dataset, CPU)
    search.evaluator.check(task)
    search.evaluator.begin(context(space, task, CPU, streams=streams))
    return search.evaluator, space


def drawn(space, count):
    return [space.sample(torch.Generator().manual_seed(seed)) for seed in range(count)]


def all_of(*overrides, **settings):
    """An evaluator that has begun, with every formula there is."""
    evaluator, space = begun("ranked", *overrides, **settings)
    evaluator.formulas = FORMULAS
    return evaluator, space


def test_a_score_depends_on_genotype_and_seed_and_on_nothing_that_came_before():
    evaluator, space = all_of()
    one, other = drawn(space, 2)
    state = torch.get_rng_state()
    first = evaluator.numbers(one)
    evaluator.numbers(other)
    assert evaluator.numbers(one) == first
    assert torch.equal(torch.get_rng_state(), state)
    again, _ = all_of()
    assert again.numbers(one) == first
    another, _ = all_of(seed=1)
    numbers = another.numbers(one)
    assert {name for name in first if first[name] == numbers[name]} <= {"params", "macs", "depth"}


def test_every_candidate_gets_the_same_random_numbers_however_many_its_weights_took():
    class Draws(Formula):
        names = ("draws",)

        def __call__(self, network, batch):
            return (float(torch.rand(())),)

    evaluator, space = all_of()
    evaluator.formulas = (Draws(),)
    empty = space.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    chain = space.parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|nor_conv_3x3~2|")
    assert evaluator.numbers(empty) == evaluator.numbers(chain)


def test_networks_that_drop_their_images_are_scored_too_and_no_better_than_others():
    evaluator, space = all_of()
    empty = space.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    late = space.parse("|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|")
    chain = space.parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|nor_conv_3x3~2|")
    best = evaluator.numbers(chain)
    for genotype in (empty, late):
        numbers = evaluator.numbers(genotype)
        assert set(numbers) == set(best)
        for name, value in numbers.items():
            assert not value > best[name], (name, value)


def test_a_network_of_inverted_residual_blocks_is_scored_by_all():
    evaluator, space = all_of("space=mobile", "depth=7")
    numbers = evaluator.numbers(*drawn(space, 1))
    lost = [name for name, value in numbers.items() if not math.isfinite(value)]
    assert set(lost) <= {"trainability"}  # a layer that is skipped changes nothing


@pytest.mark.parametrize("space", ["nasbench201", "darts", "darts_s5", "mobile"])
def test_sizes_are_summed_over_choices_and_are_those_of_the_network(space):
    words = (f"space={space}", "depth=7" if space == "mobile" else "depth=3", "width=4")
    for name, formula in (("params", Params()), ("macs", Macs())):
        evaluator, where = begun(name, *words)
        genotypes = drawn(where, 5)
        expected = [formula(evaluator.network(each), evaluator.batch)[0] for each in genotypes]
        evaluator.network = None  # no network is made
        assert evaluator.step_bytes() == 0
        assert [evaluator.numbers(each)[name] for each in genotypes] == expected


def test_a_score_has_its_formulas_name_and_stands_as_it_is():
    evaluator, space = begun("params")
    (genotype,) = drawn(space, 1)
    network = space.network(genotype, inputs=1, outputs=10, layout=evaluator.layout)
    score = evaluator(genotype)
    assert (score.name, score.value) == ("params", sum(p.numel() for p in network.parameters()))
    assert score.higher_is_better
    assert not score.others
    assert evaluator.warm_up_rounds == 0


def test_several_numbers_are_joined_by_their_ranks_in_the_reference():
    evaluator, space = begun("ranked", "strategy.evaluator.reference=3")
    assert evaluator.warm_up_rounds == 3
    evaluator.known = [
        {"naswot": 1.0, "synflow": 10.0},
        {"naswot": -math.inf, "synflow": 30.0},
        {"naswot": 5.0, "synflow": 20.0},
    ]
    evaluator.numbers = lambda genotype: {"naswot": 3.0, "synflow": 20.0}
    score = evaluator(*drawn(space, 1))
    assert score.name == "ranked"
    assert score.value == pytest.approx(math.log(3 / 4) + math.log(2.5 / 4))
    evaluator.numbers = lambda genotype: {"naswot": -math.inf, "synflow": 0.0}
    assert evaluator(*drawn(space, 1)).value == pytest.approx(math.log(1.5 / 4) + math.log(1 / 4))


def test_the_reference_is_drawn_in_the_warm_up_and_comes_back_from_the_state():
    evaluator, space = begun("az_nas", "strategy.evaluator.reference=2")
    for _ in range(2):
        metrics = evaluator.warm_up(Bare(), 0.0)
    assert set(metrics) <= {"expressivity", "progressivity", "trainability", "macs"}
    other, _ = begun("az_nas", "strategy.evaluator.reference=2")
    other.load_state_dict(evaluator.state_dict())
    (genotype,) = drawn(space, 1)
    assert other(genotype) == evaluator(genotype)
    assert evaluator(genotype).sound


def test_the_batch_is_that_of_the_run_as_it_is_stored():
    evaluator, _ = begun("naswot")
    images, labels = evaluator.batch
    train = evaluator.task.split("train")
    stored, known = next(iter(train.batches(len(train))))
    found = [int((stored == image).flatten(1).all(1).nonzero()[0]) for image in images]
    assert len(set(found)) == 16  # each once, not augmented
    assert known[found].tolist() == labels.tolist()


def test_no_score_takes_more_than_what_is_foreseen():
    evaluator, space = all_of("width=16", "strategy.evaluator.images=16")
    dense = space.parse(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
        "+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )
    foreseen, most = evaluator.step_bytes(), {}
    for formula in evaluator.formulas:
        network = evaluator.network(dense)
        given = sizes([*network.parameters(), *network.buffers()])
        with Ledger(given) as ledger:
            formula(network, evaluator.batch)
        most[formula.names[0]] = (sum(given.values()) + ledger.most) / foreseen
    assert 0.8 < max(most.values()) < 1, most


def test_impossible_settings_are_refused_by_key_value_and_what_to_do():
    for option, setting, told in (
        ("naswot", "images=1", r"images=1: .*use 2 or more"),
        ("naswot", "reference=5", r"reference=5: naswot is one number.*use null"),
        ("naswot", "name=mine", r"name=mine"),
        ("naswot", "formulas=[]", r"formulas: .*use at least one"),
        ("naswot", "channels=3", r"channels=3"),
        ("az_nas", "name=null", r"name=None reference=100: .*give their sum a name"),
        ("ranked", "reference=0", r"reference=0: naswot, synflow are joined"),
        ("zico", "formulas.0.batches=1", r"batches=1: .*use 2 or more"),
    ):
        words = [*SMALL, f"evaluator@strategy={option}", f"strategy.evaluator.{setting}"]
        with pytest.raises(ValueError, match=rf"^strategy\.evaluator\..*{told}"):
            build(resolve(compose(words).config["strategy"]), "strategy")
    with pytest.raises(
        ValueError, match=r"images=500: there are 120 training images; use at most 120"
    ):
        begun("naswot", "strategy.evaluator.images=500")
    with pytest.raises(ValueError, match=r"images=3: too few for zico; use 4 or more"):
        begun("zico", "strategy.evaluator.images=3")


class Nowhere(Formula):
    """No number for anything."""

    names = ("nowhere",)

    def __call__(self, network, batch):
        return (math.nan,)


def test_a_search_none_of_whose_networks_has_a_score_says_so(tmp_path):
    evaluator, space = begun("naswot")
    evaluator.formulas, evaluator.name = (Nowhere(),), "nowhere"
    search = RandomSearch(num_candidates=2, together=1, evaluator=evaluator)
    search.begin(context(space, evaluator.task, CPU))
    assert run(search) == [{"diverged": 1}, {"diverged": 1}]
    with pytest.raises(ValueError, match="no candidate has a finite nowhere; use another"):
        search.finish(SimpleNamespace(metrics=list, path=tmp_path))


class Tf32(Formula):
    """Whether convolutions may compute in TF32."""

    names = ("tf32",)

    def __call__(self, network, batch):
        return (float(torch.backends.cudnn.allow_tf32),)


def test_scores_are_computed_without_tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    evaluator, space = begun("naswot")
    evaluator.formulas = (Tf32(),)
    assert evaluator.numbers(*drawn(space, 1)) == {"tf32": 0.0}
    assert torch.backends.cudnn.allow_tf32


def test_gradients_are_zeros_where_nothing_depends_on_a_weight():
    evaluator, space = begun("grad_norm")
    dead = space.parse("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    found = gradients(evaluator.network(dead), evaluator.batch)
    assert any(not bool(gradient.any()) for gradient in found)
