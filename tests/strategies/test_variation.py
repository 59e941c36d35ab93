"""The inheritance of a child: choices, weights, averages, moments and memory."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.genotype import NONE, Genotype
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.drqv2 import DrqSpace, Vector
from nasrun.spaces.gan import OPERATIONS, GanSpace
from nasrun.spaces.inheritance import inherited, shrunk
from nasrun.spaces.mobile import MobileSpace
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.strategies.variation import Mixing, Mutation, Parent
from nasrun.trained import Trained

NB201 = ("none", "nor_conv_1x1", "nor_conv_3x3")
GAN = {
    "num_cells": 2,
    "bottom": 2,
    "channels": 4,
    "latent": 6,
    "projections": 2,
    "operations": OPERATIONS,
    "blocks": 2,
    "halvings": 2,
    "discriminator_channels": 4,
    "released_sum": False,
}
SPACES = {
    "darts": (
        DartsSpace(
            operations=("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"),
            nodes=2,
            kept_edges=1,
            channels=2,
            layers=3,
        ),
        1,
        2,
    ),
    "nasbench201": (NasBench201(operations=NB201, channels=2, layers=3), 1, 2),
    "mobile": (
        MobileSpace(
            kernels=(3,),
            expansions=(1, 3),
            widths=(50, 100),
            squeeze=(False,),
            skip=True,
            channels=2,
            layers=3,
        ),
        1,
        2,
    ),
    "gan": (GanSpace(**GAN, hard=False), 1, 1),
    "gan_hard": (GanSpace(**GAN, hard=True), 1, 1),
    "drqv2": (DrqSpace(encoder=Vector(hidden=8), hidden=8, feature_dims=(4, 8)), 5, 2),
}
AVERAGED = {
    **{"darts": "cells.", "nasbench201": "cells.", "mobile": "layers."},
    **{"gan": "generator.", "gan_hard": "generator.", "drqv2": "critic."},
}
MIXING = {
    "probability": 0.25,
    "lam": 0.4,
    "gam": 0.1,
    "with_itself": False,
    "donor_memory": False,
}
MUTATION = {
    "strength": 0.1,
    "super_strength": 10.0,
    "super_probability": 0.05,
    "reset_probability": 0.05,
}
ROWS, COLUMNS = 40, 300


def tensors(name, genotype, seed):
    space, inputs, outputs = SPACES[name]
    torch.manual_seed(seed)
    return space.network(genotype, inputs=inputs, outputs=outputs).state_dict()


def drawn(name, seed):
    space = SPACES[name][0]
    generator = torch.Generator().manual_seed(seed)
    return space.stratified(3, generator)[0]


def parent(name, seed):
    genotype = drawn(name, seed)
    network = tensors(name, genotype, seed)
    slow = {n: t + 0.5 if t.is_floating_point() else t.clone() for n, t in network.items()}
    averages = {"slow": {n: t for n, t in slow.items() if n.startswith(AVERAGED[name])}}
    moments = {n: {"exp_avg": t + 1} for n, t in network.items() if t.is_floating_point()}
    return Parent(genotype, Trained(network, averages, moments, {"seen": seed}))


def same(first, second):
    return set(first) == set(second) and all(torch.equal(first[n], second[n]) for n in first)


@pytest.fixture(params=SPACES)
def name(request):
    return request.param


@pytest.fixture
def couple(name):
    return parent(name, 1), parent(name, 2)


def mix(name, couple, *, probability, lam=0.4, gam=0.1, **others):
    variation = Mixing(**{**MIXING, "probability": probability, "lam": lam, "gam": gam, **others})
    generator = torch.Generator().manual_seed(0)
    return variation.child(
        *couple, SPACES[name][0], lambda genotype: tensors(name, genotype, 7), generator
    )


def owned_names(name, genotype):
    space = SPACES[name][0]
    prefixes = space.prefixes(space.names)
    return {n for n in tensors(name, genotype, 0) if n.startswith(prefixes)}


def test_without_a_donation_the_child_is_its_parent_to_the_bit(name, couple):
    child = mix(name, couple, probability=0)
    assert child.genotype == couple[0].genotype
    assert child.changed == ()
    assert same(child.trained.network, couple[0].trained.network)
    assert same(child.trained.averages["slow"], couple[0].trained.averages["slow"])
    assert child.trained.moments.keys() == couple[0].trained.moments.keys()
    assert child.trained.memory == {"seen": 1}


def test_with_all_donated_and_nothing_shrunk_the_owned_layers_are_the_donors(name, couple):
    child = mix(name, couple, probability=1, lam=1.0, gam=0.0)
    base, donor = couple
    assert child.genotype == donor.genotype
    owned = owned_names(name, donor.genotype)
    for tensor_name, tensor in child.trained.network.items():
        source = donor if tensor_name in owned else base
        assert torch.equal(tensor, source.trained.network[tensor_name]), tensor_name


def test_with_all_donated_and_nothing_kept_the_owned_layers_are_fresh(name, couple):
    child = mix(name, couple, probability=1, lam=0.0, gam=1.0)
    fresh = tensors(name, child.genotype, 7)
    for tensor_name in owned_names(name, child.genotype):
        assert torch.equal(child.trained.network[tensor_name], fresh[tensor_name]), tensor_name


def test_a_donated_weight_is_shrunk_and_perturbed_by_the_formula(name, couple):
    child = mix(name, couple, probability=1)
    owned = sorted(owned_names(name, child.genotype))
    weight = next(n for n in owned if "weight" in n and not n.endswith(("_u", "_v")))
    donor = couple[1].trained.network[weight].double()
    expected = 0.4 * donor + 0.1 * tensors(name, child.genotype, 7)[weight].double()
    torch.testing.assert_close(child.trained.network[weight].double(), expected)


def test_averages_are_copied_and_never_shrunk(name, couple):
    child = mix(name, couple, probability=1)
    owned = owned_names(name, child.genotype)
    slow = child.trained.averages["slow"]
    assert {n for n in slow if n in owned}
    for tensor_name, tensor in slow.items():
        source = couple[1] if tensor_name in owned else couple[0]
        assert torch.equal(tensor, source.trained.averages["slow"][tensor_name])


def test_moments_stay_with_what_was_inherited_and_go_with_what_was_donated(name, couple):
    child = mix(name, couple, probability=0.5)
    moved = SPACES[name][0].prefixes(child.changed)
    base = couple[0].trained.moments
    assert set(child.trained.moments) == {n for n in base if not n.startswith(moved)}
    for tensor_name, kept in child.trained.moments.items():
        assert torch.equal(kept["exp_avg"], base[tensor_name]["exp_avg"])


def test_with_itself_the_mixed_weights_are_the_base_parents_shrunk_and_perturbed(name, couple):
    base, donor = couple
    assert base.genotype != donor.genotype
    child = mix(name, couple, probability=0.5, with_itself=True)
    assert child.genotype == base.genotype
    assert child.from_base
    mixed = SPACES[name][0].prefixes(child.changed)
    assert any(tensor_name.startswith(mixed) for tensor_name in child.trained.network)
    fresh = tensors(name, base.genotype, 7)
    for tensor_name, tensor in child.trained.network.items():
        expected = base.trained.network[tensor_name]
        if tensor_name.startswith(mixed) and tensor.is_floating_point():
            expected = 0.4 * expected.double() + 0.1 * fresh[tensor_name].double()
            if tensor_name.endswith(("._u", "._v")):
                expected = expected / expected.square().sum().sqrt()
            torch.testing.assert_close(tensor.double(), expected)
        else:
            assert torch.equal(tensor, expected), tensor_name


def test_with_itself_averages_are_the_base_parents_and_moments_go_where_weights_are_mixed(
    name, couple
):
    trained = couple[0].trained
    child = mix(name, couple, probability=0.5, with_itself=True)
    mixed = SPACES[name][0].prefixes(child.changed)
    assert same(child.trained.averages["slow"], trained.averages["slow"])
    kept = {n for n in trained.moments if not n.startswith(mixed)}
    assert set(child.trained.moments) == kept < set(trained.moments)
    assert all(same(child.trained.moments[n], trained.moments[n]) for n in kept)
    assert child.trained.memory == {"seen": 1}


@pytest.mark.parametrize(("with_itself", "seen"), [(False, 2), (True, 1)])
@pytest.mark.parametrize("probability", [0, 0.5])
def test_the_donors_memory_comes_without_its_weights_and_moments(
    name, couple, probability, with_itself, seen
):
    settings = {"probability": probability, "with_itself": with_itself}
    child = mix(name, couple, **settings, donor_memory=True)
    assert child.trained.memory == {"seen": seen}
    assert [parent.trained.memory for parent in couple] == [{"seen": 1}, {"seen": 2}]
    plain = mix(name, couple, **settings)
    assert same(child.trained.network, plain.trained.network)
    assert set(child.trained.moments) == set(plain.trained.moments)
    base = couple[0].trained.moments
    assert all(same(kept, base[n]) for n, kept in child.trained.moments.items())


def test_a_parent_is_not_changed_by_its_child(name, couple):
    before = {n: t.clone() for n, t in couple[0].trained.network.items()}
    child = mix(name, couple, probability=0.5)
    for tensor in child.trained.network.values():
        tensor.zero_()
    assert same(before, couple[0].trained.network)


def test_whole_numbers_are_copied():
    counter = torch.tensor(41)
    assert shrunk("bn.num_batches_tracked", counter, torch.tensor(0), lam=0.4, gam=0.1) == 41


def test_singular_vectors_keep_their_length():
    vector, other = torch.eye(5)[0], torch.eye(5)[1]
    mixed = shrunk("conv.parametrizations.weight.0._u", vector, other, lam=0.4, gam=0.1)
    assert float(mixed.norm()) == pytest.approx(1)
    assert float(mixed[0] / mixed[1]) == pytest.approx(4)


def test_no_tensor_belongs_to_two_decisions(name):
    space = SPACES[name][0]
    for seed in range(5):
        for tensor_name in tensors(name, drawn(name, seed), seed):
            owners = [d for d in space.names if tensor_name.startswith(space.prefixes((d,)))
                      and space.owned[d]]  # fmt: skip
            assert len(owners) <= 1, (tensor_name, owners)


@settings(max_examples=40, deadline=None)
@given(
    space=st.sampled_from(sorted(SPACES)),
    seeds=st.tuples(*[st.integers(0, 10**6)] * 3),
    probability=st.floats(0, 1),
)
def test_any_two_genotypes_mix_and_the_child_loads_strictly(space, seeds, probability):
    couple = parent(space, seeds[0]), parent(space, seeds[1])
    made, inputs, outputs = SPACES[space]
    variation = Mixing(**{**MIXING, "probability": probability})
    generator = torch.Generator().manual_seed(seeds[2])
    child = variation.child(*couple, made, lambda g: tensors(space, g, 3), generator)
    assert_legal(made, child.genotype)
    network = made.network(child.genotype, inputs=inputs, outputs=outputs)
    network.load_state_dict(child.trained.network, strict=True)
    assert set(child.trained.moments) <= {n for n, _ in network.state_dict().items()}


@settings(max_examples=30, deadline=None)
@given(space=st.sampled_from(sorted(SPACES)), seed=st.integers(0, 10**6))
def test_a_mutant_loads_strictly_and_differs_in_one_decision_at_most(space, seed):
    couple = parent(space, 1), parent(space, 2)
    made, inputs, outputs = SPACES[space]
    variation = Mutation(**MUTATION)
    generator = torch.Generator().manual_seed(seed)
    child = variation.child(*couple, made, lambda g: tensors(space, g, 3), generator)
    network = made.network(child.genotype, inputs=inputs, outputs=outputs)
    network.load_state_dict(child.trained.network, strict=True)
    differ = [n for n in made.names if child.genotype[n] != couple[0].genotype[n]]
    assert tuple(differ) == child.changed
    # an edge that comes back takes another one's place
    assert len(differ) <= (2 if made.limits else 1)
    assert_legal(made, child.genotype)
    slow = child.trained.averages["slow"]
    assert {n for n in network.state_dict() if n.startswith(AVERAGED[space])} == set(slow)


def assert_legal(space, genotype):
    """It keeps exactly as many operations as the limits say."""
    for limit in space.limits:
        kept = [name for name in limit.decisions if genotype[name] != NONE]
        assert len(kept) == limit.count


def matrices():
    """A hundred of both signs, of sizes from 1 to 3."""
    row = torch.linspace(1, 3, COLUMNS) * torch.tensor([1.0, -1.0]).repeat(COLUMNS // 2)
    return {f"layer{n}.weight": row.expand(ROWS, COLUMNS) for n in range(100)}


def perturbed(network, seed=0, **changes):
    variation = Mutation(**{**MUTATION, **changes})
    return variation.perturbed(network, torch.Generator().manual_seed(seed))


def hit(after):
    """Return where weights have changed, in all matrices."""
    before = matrices()
    return torch.cat([after[n] != before[n] for n in before])


def test_perturbing_leaves_norms_vectors_and_whole_numbers_alone():
    weight = torch.ones(ROWS, COLUMNS)
    kept = {
        "trunk.norm.weight": weight,
        "conv.bias": weight.flatten(),
        "conv.parametrizations.weight.0._u": weight.flatten(),
        "head.num_batches_tracked": torch.tensor(41),
        "table.places": torch.arange(ROWS * COLUMNS).view(ROWS, COLUMNS),
    }
    moved = 0
    for seed in range(20):
        after = perturbed({**kept, "conv.weight": weight}, seed)
        moved += not torch.equal(after.pop("conv.weight"), weight)
        assert same(after, kept)
    assert moved
    assert torch.equal(weight, torch.ones(ROWS, COLUMNS))


def test_perturbing_with_no_strength_and_no_resets_changes_nothing():
    assert not same(perturbed(matrices()), matrices())
    unmoved = perturbed(matrices(), strength=0, super_strength=0, reset_probability=0)
    assert same(unmoved, matrices())


def test_a_matrix_is_perturbed_half_the_time_in_less_than_a_tenth_of_its_weights():
    """40 rows: a share of 0, 1, 2 or 3 fortieths, so 1/2 * 3/4 of the matrices change."""
    shares = hit(perturbed(matrices())).view(100, -1).float().mean(1)
    fortieths = (shares * ROWS).round()
    assert set(fortieths.tolist()) == {0, 1, 2, 3}
    assert float((shares - fortieths / ROWS).abs().max()) < 0.01  # 4 of its deviations, 0.0024
    assert float((shares > 0).float().mean()) == pytest.approx(3 / 8, abs=0.15)


@pytest.mark.parametrize(("rows", "hits"), [(10, False), (11, True)])
def test_a_matrix_of_ten_rows_is_too_small_to_be_perturbed(rows, hits):
    """As in PBT-NAS's released code: fewer whole rows than a tenth of them, rounded up."""
    small = {f"layer{n}.weight": torch.ones(rows, COLUMNS) for n in range(20)}
    assert same(perturbed(small), small) is not hits


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"super_probability": 0, "reset_probability": 0}, 0.1),
        ({"super_probability": 1, "reset_probability": 0}, 10),
    ],
    ids=["strength", "super_strength"],
)
def test_a_hit_weight_moves_by_gaussian_noise_in_proportion_to_its_size(changes, size):
    after = perturbed(matrices(), **changes)
    moved = hit(after)
    before = torch.cat(list(matrices().values())).double()
    noise = (torch.cat(list(after.values())).double() - before) / (size * before.abs())
    assert_standard_normal(noise[moved])


def test_a_weight_that_is_reset_is_drawn_anew_whatever_it_was():
    after = perturbed(matrices(), super_probability=0, reset_probability=1)
    assert_standard_normal(torch.cat(list(after.values()))[hit(after)])


def assert_standard_normal(drawn):
    """Within five standard deviations of the estimates."""
    count = len(drawn)
    assert count > 10_000
    assert float(drawn.mean()) == pytest.approx(0, abs=5 / count**0.5)
    assert float(drawn.std()) == pytest.approx(1, abs=5 / (2 * count) ** 0.5)
    assert float((drawn.abs() < 1).double().mean()) == pytest.approx(0.6827, abs=2.5 / count**0.5)


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({"strength": 0}, 0.2 + 0.1),
        ({"super_strength": 0}, 1 - 0.2),
        ({"strength": 0, "super_strength": 0}, 0.1),
    ],
    ids=["moved far or reset", "moved little or reset", "reset"],
)
def test_hit_weights_are_moved_far_or_reset_as_often_as_set(changes, share):
    rare = {"super_probability": 0.2, "reset_probability": 0.1}
    moved = hit(perturbed(matrices(), **rare, **changes))
    hits = hit(perturbed(matrices(), **rare))
    assert not (moved & ~hits).any()
    bound = 2.5 / float(hits.sum()) ** 0.5  # five standard deviations at most
    assert float(moved[hits].double().mean()) == pytest.approx(share, abs=bound)


def test_a_perturbed_weight_stays_within_a_million():
    huge = {f"layer{n}.weight": torch.full((ROWS, COLUMNS), 9e5) for n in range(20)}
    largest = [float(t.abs().max()) for t in perturbed(huge, super_probability=0.95).values()]
    assert max(largest) == 1e6


def test_a_misfit_between_parents_is_noticed():
    base = Trained({"a.w": torch.zeros(1)})
    with pytest.raises(AssertionError):
        inherited(base, base, {"b.w": torch.zeros(1)}, (), lam=1.0, gam=0.0)


def test_a_genotype_stays_what_it_is():
    space = SPACES["gan"][0]
    with pytest.raises(ValueError, match="allows"):
        space.check(Genotype("gan", {**drawn("gan", 0), "generator/cell1/up0": "none"}))


def test_a_donor_whose_weights_would_all_be_zero_is_refused():
    with pytest.raises(ValueError, match="lam=0 gam=0: donated weights would be zero"):
        Mixing(**{**MIXING, "lam": 0.0, "gam": 0.0})
