"""The methods of a space with decisions: check, sample, mutate, tie, encode."""

import pickle
import sys
from collections import Counter
from importlib import import_module
from math import sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import OPERATIONS, Toy

from nasrun import ops
from nasrun.genotype import NONE, Genotype
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.mobile import MobileSpace
from nasrun.spaces.nasbench201 import NasBench201

NB201 = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def space(operations=OPERATIONS, nodes=4, kept_edges=2, **choices):
    named = {name.replace("_", "/", 1).replace("_", "-"): found for name, found in choices.items()}
    return DartsSpace(
        operations=operations,
        nodes=nodes,
        kept_edges=kept_edges,
        channels=4,
        layers=3,
        choices=named,
    )


def test_a_space_that_another_process_reads_brings_operations_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr(ops, "_registry", dict(ops._registry))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "brought.py").write_text(
        "import torch\nfrom nasrun.ops import op\n\n@op('brought')\n"
        "def brought(channels, stride, affine):\n"
        "    return torch.nn.Conv2d(channels, channels, 1)\n"
    )
    import_module("brought")
    sent = pickle.dumps(space(("skip_connect", "brought"), nodes=1, kept_edges=1))
    del ops._registry["brought"]  # as in another process
    monkeypatch.delitem(sys.modules, "brought")
    read = pickle.loads(sent)
    network = read.network(read.sample(torch.Generator().manual_seed(0)), inputs=3, outputs=2)
    assert "brought" in ops.known() and network(torch.randn(2, 3, 8, 8))[0].shape == (2, 2)


def test_rows_follow_the_decisions_and_the_width_is_the_most_choices():
    narrow = space(("skip_connect", "sep_conv_3x3"), reduce_2_1=OPERATIONS[:5])
    assert [narrow.decisions[row].name for row in narrow.rows.values()] == list(narrow.rows)
    assert narrow.width == 5
    assert narrow.groups == ("normal", "reduce")


def test_check_gives_back_a_legal_genotype_and_lets_any_edge_be_dropped():
    without_none = space(("skip_connect", "sep_conv_3x3"))
    genotype = Genotype("darts", dict.fromkeys(without_none.rows, NONE))
    assert without_none.check(genotype) is genotype


def test_check_refuses_an_operation_that_the_space_does_not_have_and_lists_what_it_has():
    found = space()
    genotype = Genotype("darts", {**dict.fromkeys(found.rows, NONE), "normal/3-1": "sep_conv3x3"})
    with pytest.raises(ValueError, match=r"normal/3-1=sep_conv3x3.*, sep_conv_3x3.*choose one"):
        found.check(genotype)


def test_check_refuses_a_choice_that_only_other_decisions_have():
    found = space(normal_3_1=("skip_connect",))
    genotype = Genotype("darts", {**dict.fromkeys(found.rows, NONE), "normal/3-1": "sep_conv_3x3"})
    with pytest.raises(ValueError, match=r"normal/3-1=sep_conv_3x3.*allows skip_connect"):
        found.check(genotype)


def test_check_refuses_the_genotype_of_another_space():
    told = "space=nasbench201 does not decide normal/2-0, which space=darts has; give it, or the"
    with pytest.raises(ValueError, match=told):
        space().check(Genotype("nasbench201", {"1-0": "nor_conv_3x3"}))
    extra = Genotype("toy", {**dict.fromkeys(space().rows, NONE), "e0": "a"})
    with pytest.raises(ValueError, match="decides e0, which space=darts does not have; give the"):
        space().check(extra)


def test_check_refuses_a_decision_too_many():
    found = space(nodes=2)
    larger = Genotype("darts", dict.fromkeys(space(nodes=3).rows, "skip_connect"))
    with pytest.raises(ValueError, match="normal/4-0"):
        found.check(larger)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**31))
def test_a_sample_keeps_exactly_as_many_edges_a_node_as_the_limits_allow(nodes, kept_edges, seed):
    found = space(nodes=nodes, kept_edges=kept_edges)
    genotype = found.check(found.sample(torch.Generator().manual_seed(seed)))
    for cell in ("normal", "reduce"):
        for node in range(2, 2 + nodes):
            edges = [genotype[f"{cell}/{node}-{source}"] for source in range(node)]
            assert sum(edge != NONE for edge in edges) == min(kept_edges, node)


def test_samples_draw_every_operation_and_every_edge_equally_often():
    found, generator = space(), torch.Generator().manual_seed(0)
    draws = 400
    operations, edges = Counter(), Counter()
    for _ in range(draws):
        for name, choice in found.sample(generator).items():
            if choice != NONE:
                operations[choice] += 1
                edges[name] += 1
    total = draws * 2 * 4 * 2
    assert set(operations) == set(OPERATIONS[1:])
    for count in operations.values():
        assert abs(count - total / 7) < 5 * sqrt(total * 1 / 7 * 6 / 7)  # five deviations
    for name in found.rows:
        share = 2 / int(name.partition("/")[2][0])
        assert abs(edges[name] - draws * share) <= 5 * sqrt(draws * share * (1 - share))


def test_the_same_generator_seed_draws_the_same_genotypes_whatever_the_global_state():
    found = space()
    first = [found.sample(torch.Generator().manual_seed(7)) for _ in range(2)]
    torch.manual_seed(123)
    before = torch.get_rng_state()
    again = found.sample(torch.Generator().manual_seed(7))
    assert first == [again, again]
    assert torch.equal(torch.get_rng_state(), before)
    assert found.sample(torch.Generator().manual_seed(8)) != again


def test_without_a_generator_samples_follow_the_global_seed():
    found = space()
    torch.manual_seed(3)
    first, second = found.sample(), found.sample()
    torch.manual_seed(3)
    assert (found.sample(), found.sample()) == (first, second)
    assert first != second


@given(seed=st.integers(0, 2**31), nodes=st.integers(1, 4), kept=st.integers(1, 2))
@settings(max_examples=50, deadline=None)
def test_a_mutation_is_a_legal_neighbour(seed, nodes, kept):
    found = space(nodes=nodes, kept_edges=kept)
    generator = torch.Generator().manual_seed(seed)
    genotype = found.sample(generator)
    other = found.mutate(genotype, generator)
    assert found.check(other) != genotype
    changed = [name for name in genotype if genotype[name] != other[name]]
    for limit in found.limits:
        kept_before, kept_after = (
            sum(g[name] != NONE for name in limit.decisions) for g in (genotype, other)
        )
        assert kept_after == kept_before
    if len(changed) == 2:  # an input was exchanged: one edge comes, another of its node goes
        gone, come = sorted(changed, key=lambda name: genotype[name] == NONE)
        assert other[gone] == genotype[come] == NONE
        assert any({gone, come} <= set(limit.decisions) for limit in found.limits)
    else:
        assert len(changed) == 1


def test_mutations_reach_every_neighbour_alike_where_none_is_a_choice():
    found = NasBench201(operations=NB201, channels=4, layers=3)
    genotype = found.sample()
    counts = Counter(found.mutate(genotype) for _ in range(4800))
    assert len(counts) == 24  # six edges, four other operations each
    assert all(sum(g[name] != genotype[name] for name in g) == 1 for g in counts)
    assert min(counts.values()) > 200 - 5 * sqrt(200)


def test_what_cannot_change_does_not():
    found = space(("sep_conv_3x3",), nodes=1, kept_edges=2)
    genotype = found.sample()
    assert found.mutate(genotype) == genotype


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_equal_genotypes_have_equal_features_and_others_have_others(data):
    """Spaces have limits and `none` or not, are narrowed, or have outputs that join a part."""
    found = data.draw(st.sampled_from([*SPACES, space(("skip_connect", "sep_conv_3x3"))]))
    first, second = (
        Genotype(found.name, drawn, joined)
        for drawn, joined in data.draw(st.tuples(*[answers(found)] * 2))
    )
    vectors = [found.features(genotype) for genotype in (first, second)]
    assert torch.equal(vectors[0], found.features(Genotype(found.name, dict(first), first.concat)))
    assert torch.equal(*vectors) == (first == second)
    joined = sum(map(len, found.joined.values()))
    length = sum(len(decision.choices) for decision in found.decisions) + joined
    assert vectors[0].shape == vectors[1].shape == (length,)
    dropped = sum(first[d.name] not in d.choices for d in found.decisions)
    assert vectors[0].sum() == len(found.decisions) - dropped + joined - missing(found, first)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(2, 40), options=st.integers(1, 8), seed=st.integers(0, 10**6))
def test_stratified_genotypes_have_every_choice_equally_often(size, options, seed):
    free = space(OPERATIONS[8 - options :], nodes=1)
    genotypes = free.stratified(size, torch.Generator().manual_seed(seed))
    for decision in free.decisions:
        chosen = [genotype[decision.name] for genotype in genotypes]
        counts = [chosen.count(choice) for choice in free.candidates(decision)]
        assert max(counts) - min(counts) <= 1
        assert sum(counts) == size


@settings(max_examples=20, deadline=None)
@given(size=st.integers(2, 20), kept=st.integers(1, 2), seed=st.integers(0, 10**6))
def test_stratified_genotypes_keep_as_many_edges_as_the_limits_allow(size, kept, seed):
    found = space(nodes=3, kept_edges=kept)
    for genotype in found.stratified(size, torch.Generator().manual_seed(seed)):
        for limit in found.limits:
            assert sum(genotype[name] != NONE for name in limit.decisions) == kept


SPACES = (
    space(),
    space(nodes=2, kept_edges=1, normal_2_0=("skip_connect", "sep_conv_3x3")),
    NasBench201(operations=NB201, channels=4, layers=3),
    MobileSpace(kernels=(3,), expansions=(1, 3), widths=(100,), squeeze=(False,), skip=True,
                channels=4, layers=3),
)  # fmt: skip


@st.composite
def answers(draw, found):
    """Choices, dropped edges among them, and for each cell type nodes that its output joins."""
    chosen = {d.name: draw(st.sampled_from(sorted({*d.choices, NONE}))) for d in found.decisions}
    joined = {
        cell: draw(st.sets(st.sampled_from(nodes), min_size=1, max_size=len(nodes) - 1))
        for cell, nodes in found.joined.items()
        if len(nodes) > 1 and draw(st.booleans())
    }
    return chosen, joined


def missing(found, genotype):
    """Return how many nodes the outputs of the cells leave out."""
    return sum(len(found.joined[cell]) - len(nodes) for cell, nodes in genotype.concat.items())


def test_decisions_are_tied_that_one_limit_is_on_and_every_one_is_there_once():
    found = space(nodes=3, kept_edges=2)
    assert sorted(name for names in found.tied for name in names) == sorted(found.names)
    assert [names for names in found.tied if len(names) > 1] == [
        limit.decisions for limit in found.limits
    ]
    assert ("normal/2-0",) in found.tied  # two edges, of which two are kept: no limit
    free = NasBench201(operations=NB201, channels=4, layers=3)
    assert free.tied == tuple((name,) for name in free.names)


@pytest.mark.parametrize("made", [Toy(), NasBench201(operations=NB201, channels=4, layers=3)])
def test_neighbours_are_all_that_a_mutation_can_make_each_once(made):
    genotype = made.sample()
    near = list(made.neighbours(genotype))
    assert len(set(near)) == len(near)
    assert set(near) == {made.mutate(genotype) for _ in range(600)}
    assert genotype not in near
    for other in near:
        assert made.check(other) == other
        kept = [sum(g[n] != NONE for n in limit.decisions) for limit in made.limits for g in near]
        assert set(kept) <= {limit.count for limit in made.limits}


def test_a_space_without_a_choice_has_no_neighbours():
    narrow = space(("sep_conv_3x3",), nodes=1)
    assert list(narrow.neighbours(narrow.sample())) == []


def test_depths_are_the_nodes_of_all_cell_types_together_or_the_layers():
    assert space(nodes=2, kept_edges=1).depths == (
        ("normal/2-0", "normal/2-1", "reduce/2-0", "reduce/2-1"),
        tuple(f"{cell}/3-{source}" for cell in ("normal", "reduce") for source in range(3)),
    )
    benchmark = NasBench201(operations=NB201, channels=4, layers=3)
    assert [len(depth) for depth in benchmark.depths] == [1, 2, 3]
    assert benchmark.depths[1] == ("cell/2-0", "cell/2-1")
    layers = {"expansions": (3,), "widths": (100,), "squeeze": (False,), "channels": 4, "layers": 3}
    mobile = MobileSpace(kernels=(3,), skip=True, **layers)
    assert mobile.depths == (("layer00",), ("layer01",), ("layer02",))


def test_an_edge_may_be_dropped_where_none_is_no_choice():
    narrow = space(("skip_connect", "sep_conv_3x3"))
    genotype = narrow.sample()
    assert NONE in genotype.values()
    assert narrow.has(genotype)
    (kept, *_) = (name for name, choice in genotype.items() if choice != NONE)
    assert not narrow.has(genotype.changed({kept: "max_pool_3x3"}))
