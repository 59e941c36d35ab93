"""PBT-NAS: what a child inherits, who is replaced when, and that stops leave no trace."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.budget import Budget
from nasrun.data.images import Data
from nasrun.engines.local import Serial
from nasrun.genotype import Decision, Genotype
from nasrun.spaces.drqv2 import DrqSpace, Vector
from nasrun.spaces.gan import OPERATIONS, GanSpace
from nasrun.strategies.pbtnas import (
    Mixing,
    Mutation,
    Parent,
    Population,
    inherit,
    shrunk,
    stratified_genotypes,
    stream,
)
from nasrun.tasks.base import MemberLearner, PopulationTask, Trained

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
BUDGET = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
RECIPE = {
    "intervals": 4,
    "size": 12,
    "children": 3,
    "parents": 3,
    "mix_every": 1,
    "mix_always_from": None,
    "best_ever": False,
}
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


@given(size=st.integers(2, 40), options=st.integers(1, 9), seed=st.integers(0, 10**6))
def test_the_first_genotypes_have_every_choice_equally_often(size, options, seed):
    decisions = [Decision(f"d/{n}", tuple(map(str, range(options)))) for n in range(3)]
    generator = torch.Generator().manual_seed(seed)
    genotypes = stratified_genotypes("toy", decisions, size, generator)
    for decision in decisions:
        chosen = [genotype[decision.name] for genotype in genotypes]
        counts = [chosen.count(choice) for choice in decision.choices]
        assert max(counts) - min(counts) <= 1
        assert sum(counts) == size


def test_no_two_streams_of_a_search_are_one():
    seeds = {
        stream(3, interval, slot, purpose)
        for interval in range(40)
        for slot in range(24)
        for purpose in ("train", "evaluate", "fresh")
    }
    assert len(seeds) == 40 * 24 * 3


class Nothing(Data):
    words = "nothing"

    def check(self):
        pass


class Numbers(PopulationTask):
    """Learners that count: the score of a member is its number of trained intervals, and noise."""

    learns_from = Nothing
    objective = "score"
    inputs = outputs = 1

    def begin(self, dataset, budget):
        pass

    def check(self, network):
        pass

    def needs(self, network, members, intervals):
        return ""

    def learner(self, network):
        return Counter(network)


class Counter(MemberLearner):
    def __init__(self, network):
        self.network, self.count = network, 0
        self.draw = 0.0

    def train_interval(self):
        self.count += 1
        self.draw = float(torch.rand(()))
        return {"loss": self.draw}

    def evaluate(self):
        return {"score": self.draw}

    def test(self):
        return {"score": self.draw}

    def show(self, path):
        return []

    def trained(self):
        return Trained(self.network.state_dict(), {}, {}, {"count": self.count, "draw": self.draw})

    def load(self, trained):
        self.network.load_state_dict(trained.network)
        self.count, self.draw = trained.memory["count"], trained.memory["draw"]


def begun(home, variation=None, seed=0, **changes):
    search = Population(**{**RECIPE, **changes}, variation=variation)
    search.engine, search.home = Serial(), home
    torch.manual_seed(seed)
    search.begin(SPACES["gan"][0], Numbers(), BUDGET)
    return search


def run(search, rounds=None):
    found = []
    while not search.done and (rounds is None or len(found) < rounds):
        found.append(search.run_round())
        search.round += 1
    return found


@pytest.mark.parametrize(("size", "children", "parents"), [(24, 6, 6), (12, 3, 3)])
def test_the_worst_make_room_for_children_of_the_best(tmp_path, size, children, parents):
    search = begun(tmp_path, Mixing(**MIXING), size=size, children=children, parents=parents)
    before = list(search.members)
    run(search, 1)
    scores = search.history[0]["scores"]
    ranked = sorted(range(size), key=lambda slot: -scores[slot])
    births = search.history[0]["births"]
    assert {birth["child"] for birth in births} == set(ranked[size - children :])
    assert len(births) == children
    for birth in births:
        assert birth["base"] in ranked[:parents]
        assert birth["donor"] in ranked[:parents]
        assert ranked.index(birth["base"]) < ranked.index(birth["donor"])
        child = search.members[birth["child"]]
        assert math.isnan(child.score)  # it enters unevaluated
        for decision, choice in child.genotype.items():
            giver = birth["donor"] if decision in birth["changed"] else birth["base"]
            assert choice == before[giver].genotype[decision]
    survivors = [slot for slot in range(size) if slot in ranked[: size - children]]
    assert all(search.members[slot].genotype == before[slot].genotype for slot in survivors)


@pytest.mark.parametrize(
    ("intervals", "mix_every", "mix_always_from", "mixings"),
    [(30, 1, None, 29), (30, 2, 15, 22), (15, 1, None, 14)],
    ids=["gan", "quadruped and walker", "humanoid"],
)
def test_mixings_are_as_many_as_published(intervals, mix_every, mix_always_from, mixings):
    changes = {"intervals": intervals, "mix_every": mix_every}
    changes["mix_always_from"] = mix_always_from
    search = Population(**{**RECIPE, **changes}, variation=Mixing(**MIXING))
    assert sum(search._mixes_after(done) for done in range(1, intervals + 1)) == mixings


def test_nobody_is_replaced_after_the_last_interval_or_in_random_search(tmp_path):
    mixing = begun(tmp_path / "mixing", Mixing(**MIXING))
    run(mixing)
    assert [len(past["births"]) for past in mixing.history] == [3, 3, 3, 0]
    assert all(math.isfinite(member.score) for member in mixing.members)
    random = begun(tmp_path / "random")
    run(random)
    assert [past["births"] for past in random.history] == [[]] * 4


def test_arms_of_one_seed_share_the_first_population_and_the_first_interval(tmp_path):
    arms = [begun(tmp_path / "a", Mixing(**MIXING)), begun(tmp_path / "b")]
    assert [m.genotype for m in arms[0].members] == [m.genotype for m in arms[1].members]
    for arm in arms:
        run(arm, 1)
    assert arms[0].history[0]["scores"] == arms[1].history[0]["scores"]


def test_every_member_has_trained_equally_long(tmp_path):
    search = begun(tmp_path, Mixing(**MIXING))
    run(search)
    counts = [search.training_of(member).memory["count"] for member in search.members]
    assert counts == [4] * 12


def test_a_search_goes_on_from_its_state_and_its_files(tmp_path):
    whole = begun(tmp_path / "whole", Mixing(**MIXING))
    run(whole)
    parts = begun(tmp_path / "parts", Mixing(**MIXING))
    run(parts, 2)
    state = parts.state_dict()
    run(parts, 1)  # a round whose state was never saved
    again = begun(tmp_path / "parts", Mixing(**MIXING), seed=5)
    again.load_state_dict(state)
    again.round = 2
    run(again)
    assert again.history == whole.history
    assert [m.genotype for m in again.members] == [m.genotype for m in whole.members]


def test_a_member_that_was_trained_before_a_stop_is_not_trained_again(tmp_path):
    search = begun(tmp_path, Mixing(**MIXING))
    run(search, 1)
    state = search.state_dict()
    run(search, 1)
    (trained,) = (tmp_path / "members/0002").glob("00.pt")
    stamp = trained.stat().st_mtime_ns
    search.load_state_dict(state)
    search.round = 1
    run(search, 1)
    assert trained.stat().st_mtime_ns == stamp


def test_only_the_files_of_the_last_two_states_and_of_the_best_stay(tmp_path):
    search = begun(tmp_path, Mixing(**MIXING), intervals=8, best_ever=True)
    run(search)
    search._sweep()
    folders = sorted((tmp_path / "members").iterdir())
    assert [folder.name for folder in folders[-2:]] == ["0007", "0008"]
    old = {f"members/{f.name}/{file.name}" for f in folders[:-2] for file in f.iterdir()}
    assert old <= {member.file for member in (search.best, search.former_best)}
    assert max(search.candidates, key=lambda member: member.score) == search.best


@pytest.fixture
def diverging(monkeypatch):
    """Some members diverge."""

    def sometimes(self):
        return {"score": math.nan if self.draw > 0.9 else self.draw}

    monkeypatch.setattr(Counter, "evaluate", sometimes)


def test_a_diverged_member_is_replaced_and_never_the_best(tmp_path, diverging):
    search = begun(tmp_path, Mixing(**MIXING), seed=1)
    run(search, 1)
    scores = search.history[0]["scores"]
    lost = {slot for slot, score in enumerate(scores) if math.isnan(score)}
    assert lost
    assert lost <= {birth["child"] for birth in search.history[0]["births"]}
    assert search.best.score == max(s for s in scores if not math.isnan(s))


def test_a_member_that_diverged_in_the_last_interval_is_no_candidate(tmp_path, diverging):
    search = begun(tmp_path, seed=1, intervals=1, best_ever=False)
    run(search)
    scores = search.history[0]["scores"]
    sound = [slot for slot, score in enumerate(scores) if math.isfinite(score)]
    assert 0 < len(sound) < len(scores)
    assert [member.slot for member in search.candidates] == sound


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"size": 3}, "size=3: more than children=3"),
        ({"parents": 10}, "parents=10: at most the 9 that survive"),
        ({"parents": 1}, "parents=1: at least 2"),
        ({"intervals": 0}, "intervals=0: at least 1"),
    ],
)
def test_a_population_that_cannot_live_is_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        Population(**{**RECIPE, **changes}, variation=None)


def test_a_genotype_stays_what_it_is():
    space = SPACES["gan"][0]
    with pytest.raises(ValueError, match="allows"):
        space.check(Genotype("gan", {**drawn("gan", 0), "generator/cell1/up0": "none"}))
