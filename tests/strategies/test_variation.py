"""What a child of two networks inherits: choices, weights, averages, moments and memory."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.genotype import Genotype
from nasrun.spaces.drqv2 import DrqSpace, Vector
from nasrun.spaces.gan import OPERATIONS, GanSpace
from nasrun.strategies.pbtnas import stratified_genotypes
from nasrun.strategies.variation import Mixing, Mutation, Parent, inherit, shrunk
from nasrun.tasks.base import Trained

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
    "gan": (GanSpace(**GAN, hard=False), 1, 1),
    "gan_hard": (GanSpace(**GAN, hard=True), 1, 1),
    "drqv2": (DrqSpace(encoder=Vector(hidden=8), hidden=8, feature_dims=(4, 8)), 5, 2),
}
AVERAGED = {"gan": "generator.", "gan_hard": "generator.", "drqv2": "critic."}
MIXING = {
    "probability": 0.25,
    "lam": 0.4,
    "gam": 0.1,
    "with_itself": False,
    "donor_memory": False,
}


def tensors(name, genotype, seed):
    space, inputs, outputs = SPACES[name]
    torch.manual_seed(seed)
    return space.network(genotype, inputs=inputs, outputs=outputs).state_dict()


def drawn(name, seed):
    space = SPACES[name][0]
    generator = torch.Generator().manual_seed(seed)
    return stratified_genotypes(space.name, space.decisions, 3, generator)[0]


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
    network = made.network(child.genotype, inputs=inputs, outputs=outputs)
    network.load_state_dict(child.trained.network, strict=True)
    assert set(child.trained.moments) <= {n for n, _ in network.state_dict().items()}


@settings(max_examples=30, deadline=None)
@given(space=st.sampled_from(sorted(SPACES)), seed=st.integers(0, 10**6))
def test_a_mutant_loads_strictly_and_differs_in_one_decision_at_most(space, seed):
    couple = parent(space, 1), parent(space, 2)
    made, inputs, outputs = SPACES[space]
    variation = Mutation(
        strength=0.1, super_strength=10.0, super_probability=0.05, reset_probability=0.05
    )
    generator = torch.Generator().manual_seed(seed)
    child = variation.child(*couple, made, lambda g: tensors(space, g, 3), generator)
    network = made.network(child.genotype, inputs=inputs, outputs=outputs)
    network.load_state_dict(child.trained.network, strict=True)
    differ = [n for n in made.names if child.genotype[n] != couple[0].genotype[n]]
    assert tuple(differ) == child.changed
    assert len(differ) <= 1
    slow = child.trained.averages["slow"]
    assert {n for n in network.state_dict() if n.startswith(AVERAGED[space])} == set(slow)


def test_a_misfit_between_parents_is_noticed():
    base = Trained({"a.w": torch.zeros(1)})
    with pytest.raises(AssertionError):
        inherit(base, base, {"b.w": torch.zeros(1)}, prefixes=(), lam=1.0, gam=0.0)


def test_a_genotype_stays_what_it_is():
    space = SPACES["gan"][0]
    with pytest.raises(ValueError, match="allows"):
        space.check(Genotype("gan", {**drawn("gan", 0), "generator/cell1/up0": "none"}))
