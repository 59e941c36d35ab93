"""Memory by shape: against formulas, against real tensors, and as a sum over choices."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from toys import MOBILE

from nasrun.costs.ledger import Ledger, Results, sizes
from nasrun.costs.memory import Shapes, optimizer_slots
from nasrun.spaces.darts import DartsSpace

DARTS = DartsSpace(
    operations=("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"),
    nodes=2,
    kept_edges=1,
    channels=4,
    layers=3,
)
SPACES = {"mobile": MOBILE, "darts": DARTS}


def shapes(space, **changes):
    return Shapes(space, **{"inputs": 1, "outputs": 3, "size": 8, **changes})


@pytest.fixture(scope="module")
def sums():
    return {name: (shapes(space), shapes(space).additive(8)) for name, space in SPACES.items()}


def test_shapes_and_numbers_take_the_same():
    """The same step, played on the meta device and run on the CPU under a ledger."""
    space = MOBILE.restrict(dict.fromkeys(MOBILE.rows, ("k3e1", "k5e3")))
    predicted = shapes(space, slots=0.0).training({}, 8)
    torch.manual_seed(0)
    network = space.network(inputs=1, outputs=3).train()
    mixture = space.one_hot(space.sample())
    mixture = type(mixture)(torch.full((3, 2), 0.5, requires_grad=True), ((0, 1),) * 3)
    given_ = sizes([*network.parameters(), *network.buffers()])
    with Ledger(given_) as ledger:
        logits = network(torch.zeros(8, 1, 8, 8), mixture)[0]
        loss = nn.functional.cross_entropy(logits, torch.zeros(8, dtype=torch.long))
        torch.autograd.grad(loss, [mixture.weights, *network.parameters()])
    weights = 4 * sum(parameter.numel() for parameter in network.parameters())
    assert weights + ledger.most == pytest.approx(predicted, rel=0.02)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_results_that_are_known_by_shape_take_what_each_operation_says(space, monkeypatch):
    def bytes_of(made):
        one = {decision.name: decision.choices[-1:] for decision in space.decisions}
        return [made.training(one, 4), made.evaluation(one, 8), made.training(one, 4)]

    known = bytes_of(shapes(space))
    monkeypatch.setattr(Results, "of", lambda _, function, args, kwargs: function(*args, **kwargs))
    assert known == bytes_of(shapes(space))


def test_a_larger_batch_takes_more_and_two_graphs_nearly_twice_as_much():
    made = shapes(MOBILE, slots=0.0)
    small, large = (made.training({}, batch) for batch in (64, 128))
    weights = made.weight_bytes({})
    assert large - weights == pytest.approx(2 * (small - weights), rel=0.05)
    assert made.training({}, 64, graphs=2) - weights > 1.8 * (small - weights)


def test_one_running_choice_takes_the_activations_of_one_and_the_weights_of_all():
    made = shapes(DARTS, slots=0.0)
    largest = dict.fromkeys(DARTS.rows, ("sep_conv_3x3",))
    path = made.training(largest, 64)
    aside = made.weight_bytes({}) - made.weight_bytes(largest)
    assert made.single({}, 64, 1) == path + aside
    assert made.single({}, 64, 1) < 0.8 * made.step({}, 64, 1)
    assert made.single({}, 1, 512) == made.evaluation({}, 512)


def test_parts_of_the_channels_take_less():
    layout = DARTS.search_layout
    whole, part = (
        shapes(DARTS, layout=replace(layout, partial=n)).training({}, 64) for n in (1, 4)
    )
    assert part < whole


def test_bf16_halves_the_activations():
    whole, half = (shapes(MOBILE, number=t) for t in (torch.float32, torch.bfloat16))
    kept = [made.evaluation({}, 512) - made.weight_bytes({}) for made in (whole, half)]
    assert kept[1] == pytest.approx(kept[0] / 2, rel=0.1)


@settings(max_examples=12, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(SPACES)))
def test_the_sum_over_choices_is_at_least_what_a_subspace_keeps(data, name, sums):
    """More where edges of a cell share a pool or a rectified state: then it counts once an edge."""
    made, additive = sums[name]
    kept = {
        decision.name: data.draw(
            st.lists(
                st.sampled_from([c for c in decision.choices if c != "none"]),
                min_size=1,
                unique=True,
            )
        )
        for decision in SPACES[name].decisions
    }
    exact = made._kept(made.active(kept), 8, 1)
    assert 0.88 * exact < additive.of(kept) < (1.12 if name == "mobile" else 1.6) * exact
    assert made.training(kept, 8) < 2.0 * additive.of(kept)


def test_none_takes_nothing_and_more_kernels_do_not_take_less(sums):
    for row in sums["darts"][1].each.values():
        assert row["none"] == 0
        assert all(value >= 0 for value in row.values())
    for row in sums["mobile"][1].each.values():
        assert row["k5e3"] > row["k3e3"] > row["k3e1"] > 0


def test_optimizers_keep_so_many_numbers():
    assert optimizer_slots(partial(torch.optim.SGD, lr=0.1)) == 0
    assert optimizer_slots(partial(torch.optim.SGD, lr=0.1, momentum=0.9)) == 1
    assert optimizer_slots(partial(torch.optim.Adam, lr=0.1)) == 2
