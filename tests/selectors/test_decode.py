"""Reading the alphas: the rule is called once, with the supernet's probabilities."""

from types import SimpleNamespace

import pytest
from toys import context

from nasrun.config import build, compose, resolve
from nasrun.genotype import NONE
from nasrun.selectors.decode import Decode
from nasrun.strategies.base import SupernetStrategy
from nasrun.supernet.supernet import Supernet, argmax, magnitude


@pytest.fixture
def space():
    words = ["width=2", "depth=3", "space.nodes=2", "space.kept_edges=1"]
    words += ["space.operations=[none,skip_connect,max_pool_3x3]"]
    return build(resolve(compose(words).config["space"]), "space")


@pytest.fixture
def strategy(space):
    """A strategy at its end, whose edges prefer: none, skip, pool, none but skip, ..."""
    import torch

    from nasrun.supernet.relaxation import Softmax

    class Ended(SupernetStrategy):
        rounds = run_round = state_dict = load_state_dict = finish = None
        begin = masked = tune = skip_ahead = None

    network = space.network(inputs=1, outputs=2)
    supernet = Supernet(space, network, Softmax(), alpha_mean=0.0, alpha_std=0.0)
    with torch.no_grad():
        rows = [[2, 1, 0], [0, 2, 1], [0, 1, 3], [9, 1, 2], [0, 0, 0]] * 2
        supernet.alpha.copy_(torch.tensor(rows))
    ended = Ended.__new__(Ended)
    ended.supernet = supernet
    return ended


def decoded(option, strategy, space):
    selector = build(resolve(compose([f"selector={option}"]).config["selector"]), "selector")
    assert isinstance(selector, Decode)
    selector.begin(context(space), strategy)
    assert selector.rounds == 0
    assert selector.done
    return selector


def test_argmax_takes_the_likeliest_choice_of_every_edge_none_included(strategy, space):
    chosen = decoded("argmax", strategy, space).genotype
    expected = [NONE, "skip_connect", "max_pool_3x3", NONE, NONE]
    assert list(chosen.values()) == expected * 2
    assert decoded("argmax", strategy, space).rule.func is argmax


def test_magnitude_keeps_the_strongest_edge_of_a_node_and_never_chooses_none(strategy, space):
    chosen = decoded("magnitude", strategy, space).genotype
    # node 2: softmax(2,1,0) has skip at 0.24, softmax(0,2,1) at 0.67; node 3: pool at 0.84 wins
    expected = [NONE, "skip_connect", "max_pool_3x3", NONE, NONE]
    assert list(chosen.values()) == expected * 2
    assert decoded("magnitude", strategy, space).rule.func is magnitude


def test_the_rules_differ_where_none_is_strong(strategy, space):
    import torch

    with torch.no_grad():
        strategy.supernet.alpha.copy_(torch.tensor([[9.0, 1.0, 0.0]] * 10))
    assert set(decoded("argmax", strategy, space).genotype.values()) == {NONE}
    kept = [c for c in decoded("magnitude", strategy, space).genotype.values() if c != NONE]
    assert kept == ["skip_connect"] * 4


def test_the_result_is_the_genotype_and_its_text(strategy, space):
    written = {}
    folder = SimpleNamespace(write=lambda name, content: written.update({name: content}))
    selector = decoded("magnitude", strategy, space)
    result = selector.finish(folder)
    assert result == {"genotype": space.render(selector.genotype)}
    assert written == {"genotype.json": selector.genotype.to_json()}
