"""Costs against published networks and closed formulas."""

from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from toys import OPERATIONS

from nasrun.costs.cost import Cost, candidate_costs, count, params
from nasrun.genotype import NONE, Genotype
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.layout import Layout

GENOTYPES = Path(__file__).parents[2] / "conf" / "genotypes"
SHORT = {"max": 1, "avg": 2, "skip": 3, "sep3": 4, "sep5": 5, "dil3": 6, "dil5": 7}
SPACE = DartsSpace(operations=OPERATIONS, nodes=4, kept_edges=2, channels=16, layers=8)
CIFAR = Layout(channels=36, layers=20, auxiliary=True)
IMAGENET = Layout(channels=48, layers=14, stem="imagenet", auxiliary=True)
CELLS = ("normal", "reduce")
# Parameters of the released cells, counted with the formula of `closed_form` from the notation in
# the papers' repositories: 36 channels, 20 cells, 10 classes (SNAS without batch norm after pools).
RELEASED = {
    "DARTS-PT, best": (
        "normal sep3@0 sep3@1 | sep3@0 sep3@1 | skip@0 skip@2 | sep3@1 skip@3;"
        "reduce avg@0 sep5@1 | max@1 skip@2 | dil5@1 max@3 | sep5@2 skip@3",
        3_328,
    ),
    "DARTS-PT, seed 0": (
        "normal sep3@0 sep3@1 | sep5@0 dil3@1 | skip@0 skip@2 | skip@0 max@4;"
        "reduce sep3@0 avg@1 | dil5@1 dil3@2 | avg@0 max@2 | sep3@2 skip@4",
        2_851,
    ),
    "DARTS-PT, seed 1": (
        "normal sep3@0 sep3@1 | sep3@0 dil3@1 | max@0 skip@2 | skip@0 dil3@4;"
        "reduce dil5@0 avg@1 | max@0 sep5@2 | max@1 dil3@3 | sep5@0 sep3@4",
        3_053,
    ),
    "DARTS-PT, seed 2": (
        "normal skip@0 sep3@1 | sep3@0 dil3@1 | skip@2 dil3@3 | max@1 skip@2;"
        "reduce avg@0 max@1 | avg@0 sep3@1 | dil5@2 skip@3 | sep3@2 sep5@4",
        2_658,
    ),
    "MiLeNAS, large": (
        "normal sep3@1 sep3@0 | dil3@0 sep3@1 | skip@0 sep3@1 | sep3@0 sep5@1;"
        "reduce dil3@0 sep3@1 | skip@2 max@0 | skip@2 dil5@3 | skip@2 max@0",
        3_874,
    ),
    "MiLeNAS, medium": (
        "normal sep3@0 sep3@1 | skip@0 sep3@1 | skip@0 skip@1 | skip@0 sep5@1;"
        "reduce max@0 max@1 | max@0 skip@2 | skip@2 avg@0 | avg@0 skip@2",
        2_858,
    ),
    "MiLeNAS, small": (
        "normal sep3@0 skip@1 | skip@0 skip@2 | sep3@0 skip@2 | max@0 skip@2;"
        "reduce max@0 max@1 | avg@0 max@1 | max@0 skip@2 | max@0 skip@2",
        2_090,
    ),
    "SNAS, mild": (
        "normal sep3@0 sep3@1 | skip@0 dil3@1 | skip@0 skip@1 | skip@0 sep3@1;"
        "reduce max@0 max@1 | max@1 skip@2 | max@1 skip@2 | max@0 dil5@2",
        2_661,
    ),
    "SNAS, moderate": (
        "normal dil5@0 skip@1 | sep3@0 skip@1 | skip@0 skip@1 | sep3@0 dil5@1;"
        "reduce max@0 max@1 | sep5@0 dil5@1 | sep5@0 sep5@1 | sep5@0 sep5@1",
        2_847,
    ),
    "SNAS, aggressive": (
        "normal sep5@0 skip@1 | skip@0 skip@1 | dil5@1 skip@0 | skip@0 dil5@1;"
        "reduce sep5@0 | sep5@0 | - | -",
        2_314,
    ),
}


def published(name):
    return SPACE.parse(yaml.safe_load((GENOTYPES / f"{name}.yaml").read_text())["cell"])


def released(name):
    text = RELEASED[name][0]
    for short, position in SHORT.items():
        text = text.replace(f"{short}@", f"{OPERATIONS[position]}@")
    return SPACE.parse(text)


def shapes(genotype, layout, inputs=3, outputs=10):
    """Return a network without storage, which can be counted but not run."""
    with torch.device("meta"):
        return SPACE.network(genotype, inputs=inputs, outputs=outputs, layout=layout)


def operation_cost(operation, channels, stride, pixels, affine=True):
    """Return parameters and multiply-adds of a candidate whose output has this many pixels."""
    kind, kernel = operation.partition("_")[0], operation[-1]
    norms = {"sep": 2, "dil": 1, "skip": stride - 1}.get(kind, 0)
    weights = 0
    if kind in ("sep", "dil"):
        weights = norms * (int(kernel) ** 2 * channels + channels**2)
    elif kind == "skip" and stride == 2:
        weights = channels**2
    return weights + affine * 2 * channels * norms, weights * pixels


def closed_form(choices, channels, layers, classes, size, affine=True, inputs=3, joined=(4, 4)):
    """Return the cost of a CIFAR network from its convolutions; `choices` lists (edge, op).

    The output of a normal and of a reduction cell joins this many nodes.
    """
    total_params = 9 * inputs * 3 * channels + 2 * 3 * channels
    total_macs = 9 * inputs * 3 * channels * size**2
    before, last = 3 * channels, 3 * channels
    for cell in range(layers):
        reduction = cell in (layers // 3, 2 * layers // 3)
        channels *= 1 + reduction
        for width in (before, last):
            total_params += width * channels + affine * 2 * channels
            total_macs += width * channels * size**2  # at the newer input's size
        stride = 1 + reduction
        size = (size + reduction) // stride
        for edge, operation in choices:
            kind, _, ends = edge.partition("/")
            if kind == CELLS[reduction]:
                from_input = ends.partition("-")[2] in ("0", "1")
                p, m = operation_cost(
                    operation, channels, stride if from_input else 1, size**2, affine
                )
                total_params, total_macs = total_params + p, total_macs + m
        before, last = last, joined[reduction] * channels
    return Cost(total_params + (last + 1) * classes, total_macs + last * classes)


SIX = [("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("dil_conv_5x5", 2),
       ("max_pool_3x3", 0), ("skip_connect", 3)]  # fmt: skip


def test_a_cell_of_three_nodes_costs_as_such_and_one_node_more_is_337104_parameters():
    text = f"Genotype({SIX}, range(2, 5), {SIX}, range(2, 5))"
    three = DartsSpace(operations=OPERATIONS, nodes=3, kept_edges=2, channels=4, layers=3)
    genotype = three.parse(text)
    with torch.device("meta"):
        network = three.network(genotype, inputs=3, outputs=10, layout=CIFAR)
    cost = closed_form(genotype.items(), 36, 20, 10, 32, joined=(3, 3))
    assert count(network, 3, 32) == cost
    dead = SPACE.parse("; ".join(f"{part} | -" for part in three.render(genotype).split("; ")))
    assert params(shapes(dead, CIFAR)) - cost.params == 337_104


@settings(max_examples=5, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**31),
    st.fixed_dictionaries({cell: st.sets(st.integers(2, 5), min_size=1) for cell in CELLS}),
    st.sampled_from(["cifar", "cifar_half"]),
)
def test_a_cell_that_joins_some_of_its_nodes_costs_less_where_they_are_read(seed, joined, stem):
    drawn = SPACE.sample(torch.Generator().manual_seed(seed))
    concat = {cell: sorted(nodes) for cell, nodes in joined.items() if len(nodes) < 4}
    genotype = Genotype("darts", drawn, concat)
    network = shapes(genotype, Layout(channels=8, layers=5, stem=stem), outputs=7)
    sizes = tuple(len(joined[cell]) for cell in CELLS)
    side = 32 if stem == "cifar" else 64
    found, expected = (
        count(network, 3, side),
        closed_form(genotype.items(), 8, 5, 7, 32, joined=sizes),
    )
    assert found == expected


def test_the_search_network_has_the_published_number_of_parameters():
    assert params(shapes(None, SPACE.search_layout)) == 1_930_618


def test_the_large_search_network_has_the_published_number_of_parameters():
    layout = Layout(channels=36, layers=20, affine=False, pool_norm=True)
    assert params(shapes(None, layout)) == 19_932_310


@pytest.mark.parametrize(
    ("name", "expected", "megas"), [("darts_v1", 3_169_414, 501), ("darts_v2", 3_349_342, 528)]
)
def test_a_published_cifar_network_costs_what_was_published(name, expected, megas):
    cost = count(shapes(published(name), CIFAR), 3, 32)
    assert cost.params == expected
    assert round(cost.macs / 1e6) == megas


@pytest.mark.parametrize(
    ("name", "expected"),
    [("darts_pt_s5_0", 2_851_246), ("darts_pt_s5_1", 3_053_206), ("darts_pt_s5_2", 2_658_142)],
)
def test_a_cell_of_darts_pt_has_the_published_number_of_parameters(name, expected):
    assert params(shapes(published(name), CIFAR)) == expected


def test_the_best_cell_of_darts_pt_has_the_published_size_and_all_are_the_released_ones():
    assert round(params(shapes(published("darts_pt_s5_3"), CIFAR)) / 1e3) == 3_328
    for number in range(3):
        assert published(f"darts_pt_s5_{number}") == released(f"DARTS-PT, seed {number}")
    assert published("darts_pt_s5_3") == released("DARTS-PT, best")


def test_the_published_imagenet_network_costs_what_was_published():
    cost = count(shapes(published("darts_v2"), IMAGENET, outputs=1000), 3, 224)
    assert cost.params == 4_718_752
    assert round(cost.macs / 1e5) == 5_299


@pytest.mark.parametrize(
    ("name", "expected"),
    [("snas_mild", 2_661_382), ("snas_moderate", 2_847_358), ("snas_aggressive", 2_313_622)],
)
def test_a_cell_of_snas_by_name_is_the_released_one(name, expected):
    assert params(shapes(published(name), CIFAR)) == expected
    assert published(name) == released(name.replace("snas_", "SNAS, "))


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_cell_has_the_published_number_of_parameters(name):
    thousands = RELEASED[name][1]
    assert round(params(shapes(released(name), CIFAR)) / 1e3) == thousands


@pytest.mark.parametrize(("classes", "thousands"), [(10, 4_702), (100, 4_754)])
def test_the_cell_of_separable_convolutions_only_has_the_published_size(classes, thousands):
    node = "sep_conv_3x3@0 sep_conv_3x3@1"
    cells = "; ".join(f"{kind} {' | '.join([node] * 4)}" for kind in CELLS)
    network = shapes(SPACE.parse(cells), CIFAR, outputs=classes)
    assert round(params(network) / 1e3) == thousands


@settings(max_examples=5, deadline=None, derandomize=True)
@given(
    st.fixed_dictionaries({d.name: st.sampled_from(OPERATIONS) for d in SPACE.decisions}),
    st.integers(2, 8).map(lambda half: 2 * half),
    st.integers(3, 5),
    st.integers(2, 100),
    st.integers(6, 33),
)
def test_every_genotype_costs_what_its_convolutions_do(choices, channels, layers, classes, size):
    genotype = Genotype("darts", choices)
    layout = Layout(channels=channels, layers=layers)
    kept = [(edge, choice) for edge, choice in choices.items() if choice != NONE]
    expected = closed_form(kept, channels, layers, classes, size)
    assert count(shapes(genotype, layout, outputs=classes), 3, size) == expected


@settings(max_examples=3, deadline=None, derandomize=True)
@given(st.integers(1, 10).map(lambda half: 2 * half), st.integers(3, 9), st.integers(1, 4))
def test_a_search_network_has_all_candidates_without_learned_batch_norm(channels, layers, inputs):
    layout = Layout(channels=channels, layers=layers, affine=False, pool_norm=True)
    everything = [(d.name, choice) for d in SPACE.decisions for choice in d.choices]
    expected = closed_form(everything, channels, layers, 7, 32, affine=False, inputs=inputs)
    assert params(shapes(None, layout, inputs=inputs, outputs=7)) == expected.params


def test_batch_norms_after_pools_add_two_parameters_a_channel():
    mild, layout = released("SNAS, mild"), Layout(channels=36, layers=20, pool_norm=True)
    assert params(shapes(mild, CIFAR)) == 2_661_382
    assert params(shapes(mild, layout)) == 2_663_542  # SNAS's own operations


def test_convolutions_and_linear_layers_are_counted_as_by_hand():
    network = nn.Sequential(
        nn.Conv2d(2, 8, 3, stride=2, padding=1),  # 5 x 5 outputs of 9 * 2 products, 8 channels
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    macs = 25 * 8 * 9 * 2 + 25 * 8 * 9 * 2 + 8 * 3
    parameters = 8 * (9 * 2 + 1) + 16 + 8 * 9 * 2 + (8 + 1) * 3
    assert count(network, 2, 9) == Cost(parameters, macs)


def test_an_auxiliary_head_does_not_count():
    genotype = published("darts_v2")
    plain = count(shapes(genotype, Layout(channels=8, layers=3)), 3, 32)
    with_head = shapes(genotype, Layout(channels=8, layers=3, auxiliary=True))
    assert sum(p.numel() for p in with_head.parameters()) > plain.params
    assert count(with_head, 3, 32) == plain


def test_counting_leaves_the_network_as_it_was():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    count(network, 1, 8)
    assert network.training
    assert network[1].training
    for name, value in network.state_dict().items():
        assert value.device.type == "cpu"
        assert torch.equal(value, before[name])


# What a candidate costs: the table of SNAS's released code, for C channels and y x y outputs


def tabulated(operation, channels, y, stride):
    """Parameters, FLOPs and memory access; "MAC" in the released code means the last."""
    kind, kernel, pixels = operation.partition("_")[0], operation[-1], channels * y**2
    if kind == "skip" and stride == 1:
        return 0, 0, 2 * pixels
    if kind == "skip":
        return channels**2, channels**2 * y**2, 9 * pixels + channels**2
    if kind in ("max", "avg"):
        return 0, 9 * pixels, {1: 2, 2: 5}[stride] * pixels
    weights = {"sep": 2, "dil": 1}[kind] * (channels * int(kernel) ** 2 + channels**2)
    read = {("sep", 1): 8, ("sep", 2): 11, ("dil", 1): 4, ("dil", 2): 7}[kind, stride]
    return weights, weights * y**2, read * pixels + weights


def places(cells, nodes, channels, size):
    """Decision, channels, output side and stride of every edge, in order."""
    for cell in range(cells):
        reduction = cell in (cells // 3, 2 * cells // 3)
        channels, size = channels * (1 + reduction), size // (1 + reduction)
        for node in range(2, 2 + nodes):
            for source in range(node):
                stride = 2 if reduction and source < 2 else 1
                yield f"{CELLS[reduction]}/{node}-{source}", channels, size, stride


def test_candidates_cost_what_the_released_code_tabulates():
    costs = SPACE.costs(inputs=3, outputs=10, size=32)
    expected = list(places(8, 4, 16, 32))
    assert costs.rows.tolist() == [SPACE.rows[name] for name, *_ in expected]
    assert costs.places.tolist() == [6] * 14 + [2] * 14
    for place, (_, channels, y, stride) in enumerate(expected):
        for column, operation in enumerate(OPERATIONS):
            found = [table[place, column].item() for table in (costs.params, costs.flops)]
            access = costs.access[place, column].item()
            if operation == NONE:
                assert [*found, access] == [0, 0, 0]
                continue
            *counted, read = tabulated(operation, channels, y, stride)
            assert found == counted, (place, operation)
            if operation == "skip_connect" and stride == 2:
                # The shifted half of a factorised reduction reads a map without its first row and
                # column; the released code counts the whole of it.
                read -= channels * ((2 * y) ** 2 - (2 * y - 1) ** 2)
            assert access == read, (place, operation)


def test_the_first_cells_candidates_cost_what_was_computed_by_hand():
    costs = SPACE.costs(inputs=3, outputs=10, size=32)
    found = {
        operation: tuple(
            table[0, column].item() for table in (costs.params, costs.flops, costs.access)
        )
        for column, operation in enumerate(OPERATIONS)
    }
    assert found["sep_conv_3x3"] == (800, 819_200, 131_872)
    assert found["dil_conv_5x5"] == (656, 671_744, 66_192)
    assert found["avg_pool_3x3"] == found["max_pool_3x3"] == (0, 147_456, 32_768)
    assert found["skip_connect"] == (0, 0, 32_768)
    assert found["none"] == (0, 0, 0)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(
    st.fixed_dictionaries({d.name: st.sampled_from(OPERATIONS) for d in SPACE.decisions}),
    st.integers(1, 4).map(lambda half: 2 * half),
    st.integers(3, 5),
    st.integers(5, 17),
    st.booleans(),
)
def test_a_network_costs_its_rest_and_its_candidates(choices, channels, layers, size, affine):
    genotype = Genotype("darts", choices)
    layout = Layout(channels=channels, layers=layers, affine=affine, pool_norm=True)
    costs = SPACE.costs(inputs=1, outputs=7, size=size, layout=layout)
    weights = SPACE.one_hot(genotype).weights.double()
    sizes, macs = (costs.expected(table, weights).sum() for table in (costs.params, costs.macs))
    network = shapes(genotype, layout, inputs=1, outputs=7)
    expected = count(network, 1, size)
    assert Cost(costs.rest.params + int(sizes), costs.rest.macs + int(macs)) == expected
    by_decision = costs.by_decision(costs.macs)
    assert by_decision.shape == (28, 8)
    assert int((by_decision * weights).sum()) == int(macs)


def test_a_choice_that_a_decision_does_not_have_costs_nothing():
    narrow = SPACE.restrict({"normal/2-0": ("sep_conv_5x5", "none")})
    costs = narrow.costs(inputs=3, outputs=10, size=8)
    (row,) = costs.by_decision(costs.params)[narrow.rows["normal/2-0"]][None]
    assert row[0] > 0
    assert row[1:].tolist() == [0] * 7


def test_a_network_that_does_not_tell_its_candidates_is_refused():
    network = nn.Sequential(nn.Conv2d(1, 2, 3)).to("meta")
    network.forward = lambda x, mixture: x
    with pytest.raises(ValueError, match="use penalty=null"):
        candidate_costs(network, SPACE.decisions, None, inputs=1, size=8)
