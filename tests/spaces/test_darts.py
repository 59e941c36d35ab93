"""The DARTS space against the paper's description, written again as plain functions."""

from math import ceil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nasrun.genotype import NONE, Genotype
from nasrun.ops.conv import FactorizedReduce
from nasrun.spaces.base import Layout, Mixture, batch_statistics
from nasrun.spaces.darts import AuxiliaryHead, DartsSpace, Edge

GENOTYPES = Path(__file__).parents[2] / "conf" / "genotype"
OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
SETTINGS = {"operations": OPERATIONS, "nodes": 4, "kept_edges": 2, "channels": 4, "layers": 3}
SPACE = DartsSpace(**SETTINGS)
choices = st.fixed_dictionaries({d.name: st.sampled_from(OPERATIONS) for d in SPACE.decisions})
genotypes = choices.map(lambda chosen: Genotype("darts", chosen))
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], "
    "reduce_concat=[2, 3, 4, 5])"
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def published(name):
    return SPACE.parse(yaml.safe_load((GENOTYPES / f"{name}.yaml").read_text())["cell"])


def layout(**changes):
    return Layout(**{"channels": 4, "layers": 3, **changes})


def shapes(genotype=None, *, inputs=3, outputs=10, **changes):
    """A network without storage, for questions about shapes only."""
    with torch.device("meta"):
        return SPACE.network(genotype, inputs=inputs, outputs=outputs, layout=layout(**changes))


def randomised(network):
    """The network in double precision with batch norms that scale and shift."""
    for parameter in network.double().parameters():
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    return network


class Reference:
    """DARTS's network from its weights, edge by edge and without modules, for even maps.

    `mix` gives every edge's weights in the order of OPERATIONS, `none` included, which is run.
    """

    def __init__(self, network, layers, pool_norm=False, stem="cifar"):
        self.weights = dict(network.state_dict())
        self.layers, self.pool_norm, self.stem = layers, pool_norm, stem

    def norm(self, x, name):
        scale, shift = (self.weights.get(f"{name}.{part}") for part in ("weight", "bias"))
        return F.batch_norm(x, None, None, scale, shift, training=True)

    def conv(self, x, name, **how):
        return F.conv2d(x, self.weights[f"{name}.weight"], **how)

    def relu_conv_norm(self, x, name):
        return self.norm(self.conv(F.relu(x), f"{name}.1"), f"{name}.2")

    def factorised(self, x, name):
        x = F.relu(x)
        halves = [self.conv(x, f"{name}.even", stride=2)]
        halves.append(self.conv(x[:, :, 1:, 1:], f"{name}.odd", stride=2))
        return self.norm(torch.cat(halves, 1), f"{name}.bn")

    def block(self, x, name, first, stride, kernel, dilation):
        reach = dilation * (kernel - 1) // 2
        how = {"stride": stride, "padding": reach, "dilation": dilation, "groups": x.shape[1]}
        x = self.conv(F.relu(x), f"{name}.{first + 1}", **how)
        return self.norm(self.conv(x, f"{name}.{first + 2}"), f"{name}.{first + 3}")

    def operation(self, x, choice, name, stride):
        name = f"{name}.candidates.{choice}"
        if choice == "none":
            return x[:, :, ::stride, ::stride] * 0
        if choice == "skip_connect":
            return x if stride == 1 else self.factorised(x, name)
        if choice.startswith("dil"):
            return self.block(x, name, 0, stride, int(choice[-1]), 2)
        if choice.startswith("sep"):
            x = self.block(x, name, 0, stride, int(choice[-1]), 1)
            return self.block(x, name, 4, 1, int(choice[-1]), 1)
        if choice == "max_pool_3x3":
            x = F.max_pool2d(x, 3, stride, 1)
        else:
            x = F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
        return self.norm(x, f"{name}.1") if self.pool_norm else x

    def stems(self, x):
        if self.stem == "imagenet":
            how = {"stride": 2, "padding": 1}
            x = F.relu(self.norm(self.conv(x, "stem.quarter.0", **how), "stem.quarter.1"))
            s0 = self.norm(self.conv(x, "stem.quarter.3", **how), "stem.quarter.4")
            s1 = self.norm(self.conv(F.relu(s0), "stem.eighth.1", **how), "stem.eighth.2")
            return s0, s1
        stride = 2 if self.stem == "cifar_half" else 1
        s = self.norm(self.conv(x, "stem.conv", stride=stride, padding=1), "stem.bn")
        return s, s

    def cell(self, index, s0, s1, genotype, mix):
        kind = "reduce" if index in (self.layers // 3, 2 * self.layers // 3) else "normal"
        first = self.factorised if s0.shape[2] > s1.shape[2] else self.relu_conv_norm
        states = [first(s0, f"cells.{index}.preprocess0")]
        states.append(self.relu_conv_norm(s1, f"cells.{index}.preprocess1"))
        for node in range(2, 6):
            total = 0
            for source in range(node):
                stride = 2 if kind == "reduce" and source < 2 else 1
                edge, x = f"{kind}/{node}-{source}", states[source]
                name = f"cells.{index}.edges.{node}-{source}"
                if mix is None:
                    total = total + self.operation(x, genotype[edge], name, stride)
                else:
                    row = mix[list(SPACE.rows).index(edge)]
                    for weight, choice in zip(row, OPERATIONS, strict=True):
                        total = total + weight * self.operation(x, choice, name, stride)
            states.append(total)
        return torch.cat(states[2:], 1)

    def head(self, x, stride):
        x = F.relu(x)
        x = F.avg_pool2d(x, 5, stride, count_include_pad=False)
        x = F.relu(self.norm(self.conv(x, "auxiliary.features.0"), "auxiliary.features.1"))
        x = self.conv(x, "auxiliary.features.3")
        if stride == 3:  # the released ImageNet head has no batch norm here
            x = self.norm(x, "auxiliary.features.4")
        return self.linear(F.relu(x), "auxiliary.classifier")

    def linear(self, x, name):
        return x.mean((2, 3)) @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def __call__(self, x, genotype=None, mix=None, auxiliary_stride=None):
        logits = []
        s0, s1 = self.stems(x)
        for index in range(self.layers):
            s0, s1 = s1, self.cell(index, s0, s1, genotype, mix)
            if auxiliary_stride and index == 2 * self.layers // 3:
                logits.append(self.head(s1, auxiliary_stride))
        return self.linear(s1, "classifier"), *logits


# The network


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    genotypes,
    st.integers(3, 5),
    st.sampled_from([("cifar", 8), ("cifar_half", 16)]),
    st.booleans(),
    st.booleans(),
)
def test_every_genotype_is_the_network_that_the_paper_describes(
    genotype, layers, stem_and_size, affine, pool_norm
):
    stem, size = stem_and_size
    how = {"layers": layers, "stem": stem, "affine": affine, "pool_norm": pool_norm}
    network = randomised(SPACE.network(genotype, inputs=3, outputs=10, layout=layout(**how)))
    x = torch.randn(4, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        expected = Reference(network, layers, pool_norm, stem)(x, genotype)
        torch.testing.assert_close(network(x), expected)


def test_the_search_network_mixes_every_candidate_of_every_edge():
    network = randomised(SPACE.network(inputs=3, outputs=10))
    mix = torch.rand(28, 8, dtype=torch.float64)
    active = (tuple(range(8)),) * 28
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        expected = Reference(network, layers=3, pool_norm=True)(x, mix=mix)
        torch.testing.assert_close(network(x, Mixture(mix, active)), expected)


@pytest.mark.parametrize(("stem", "size", "stride"), [("cifar", 32, 3), ("imagenet", 224, 2)])
def test_the_auxiliary_head_is_the_published_one_after_two_thirds_of_the_depth(stem, size, stride):
    genotype = published("darts_v2")
    how = {"layers": 4, "stem": stem, "auxiliary": True}
    network = randomised(SPACE.network(genotype, inputs=3, outputs=10, layout=layout(**how)))
    x = torch.randn(2, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        expected = Reference(network, 4, stem=stem)(x, genotype, auxiliary_stride=stride)
        torch.testing.assert_close(network(x), expected)


def test_with_an_auxiliary_head_training_gives_two_logits_and_evaluation_one():
    network = shapes(published("darts_v1"), auxiliary=True)
    x = torch.empty(2, 3, 32, 32, device="meta")
    assert [logits.shape for logits in network.train()(x)] == [(2, 10), (2, 10)]
    assert [logits.shape for logits in network.eval()(x)] == [(2, 10)]
    assert len(shapes(published("darts_v1")).train()(x)) == 1


@pytest.mark.parametrize("imagenet", [False, True])
@pytest.mark.parametrize("side", [1, 2, 3, 5, 6, 7, 8, 9, 12, 28])
def test_the_auxiliary_head_works_on_maps_of_any_size(side, imagenet):
    head = AuxiliaryHead(6, 5, imagenet)
    x = torch.randn(3, 6, side, side, requires_grad=True)
    logits = head(x)
    assert logits.shape == (3, 5)
    logits.square().sum().backward()
    assert x.grad.isfinite().all()
    assert (x.grad != 0).any()


@pytest.mark.parametrize("layers", [3, 4, 5, 8, 14, 20])
def test_cells_at_a_third_and_two_thirds_halve_the_map_and_double_the_channels(layers):
    network, seen = shapes(published("darts_v2"), channels=6, layers=layers), []
    for cell in network.cells:
        cell.register_forward_hook(lambda cell, args, y: seen.append(tuple(y.shape[1:])))
    network(torch.empty(1, 3, 32, 32, device="meta"))
    first, second = {3: (1, 2), 4: (1, 2), 5: (1, 3), 8: (2, 5), 14: (4, 9), 20: (6, 13)}[layers]
    expected = [(24, 32, 32)] * first + [(48, 16, 16)] * (second - first)
    assert seen == expected + [(96, 8, 8)] * (layers - second)


def test_only_edges_from_the_inputs_of_a_reduction_cell_have_stride_two():
    network = shapes(layers=5)
    x = {channels: torch.empty(2, channels, 6, 6, device="meta") for channels in (4, 8, 16)}
    for index, channels in enumerate((4, 8, 8, 16, 16)):
        for name, edge in network.cells[index].edges.items():
            halves = index in (1, 3) and name.endswith(("-0", "-1"))
            for choice, operation in edge.candidates.items():
                side = operation(x[channels]).shape[-1]
                assert side == (3 if halves else 6), (index, name, choice)


def test_only_the_first_input_behind_a_reduction_is_reduced_before_use():
    def reduced(network):
        inputs = [(cell.preprocess0, cell.preprocess1) for cell in network.cells]
        return [
            (index, place)
            for index, modules in enumerate(inputs)
            for place, module in enumerate(modules)
            if isinstance(module, FactorizedReduce)
        ]

    assert reduced(shapes(layers=8)) == [(3, 0), (6, 0)]
    assert reduced(shapes(layers=8, stem="imagenet")) == [(0, 0), (3, 0), (6, 0)]


def pools(network):
    return [
        module
        for name, module in network.named_modules()
        if name.endswith(("candidates.max_pool_3x3", "candidates.avg_pool_3x3"))
    ]


def test_in_the_search_network_no_cell_learns_its_batch_norms_and_every_pool_has_one():
    network = SPACE.network(inputs=3, outputs=10)
    norms = [m for m in network.cells.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.affine for norm in norms)
    assert network.stem.bn.affine
    found = pools(network)
    assert len(found) == 3 * 14 * 2
    for pool in found:
        assert isinstance(pool[0], nn.MaxPool2d | nn.AvgPool2d)
        assert isinstance(pool[1], nn.BatchNorm2d)
        assert len(pool) == 2


def test_in_a_network_to_retrain_every_batch_norm_learns_and_no_pool_has_one():
    network = shapes(published("darts_v1"))
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(norm.affine for norm in norms)
    found = pools(network)
    assert len(found) == 2 * 5  # DARTS_V1: five pools a reduction cell
    assert all(isinstance(pool, nn.MaxPool2d | nn.AvgPool2d) for pool in found)


def test_none_is_no_module_and_so_never_runs():
    assert not any("none" in name for name, _ in shapes().named_modules())


def test_a_network_whose_edges_are_all_dropped_answers_with_the_classifiers_bias():
    nothing = Genotype("darts", dict.fromkeys(SPACE.rows, NONE))
    network = SPACE.network(nothing, inputs=3, outputs=10, layout=layout())
    logits = network(torch.randn(2, 3, 9, 9))[0]
    torch.testing.assert_close(logits, network.classifier.bias.expand(2, 10))


def test_the_aggressive_snas_cell_with_two_nodes_without_edges_runs():
    aggressive = SPACE.parse(
        "normal sep_conv_5x5@0 skip_connect@1 | skip_connect@0 skip_connect@1 "
        "| skip_connect@0 dil_conv_5x5@1 | skip_connect@0 dil_conv_5x5@1; "
        "reduce sep_conv_5x5@0 | sep_conv_5x5@0 | - | -"
    )
    network = SPACE.network(aggressive, inputs=3, outputs=10, layout=layout(auxiliary=True))
    seen = []
    network.cells[1].register_forward_hook(lambda cell, args, y: seen.append(y))
    first, second = network(torch.randn(2, 3, 13, 13))
    assert first.isfinite().all()
    assert second.isfinite().all()
    assert seen[0].shape == (2, 32, 7, 7)
    assert (seen[0][:, :16] != 0).any()
    assert (seen[0][:, 16:] == 0).all()


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    genotypes,
    st.integers(8, 40),
    st.sampled_from([("cifar", 1), ("cifar_half", 2), ("imagenet", 8)]),
)
def test_maps_of_any_size_fit_together_and_odd_ones_are_rounded_up(genotype, side, stem_and_factor):
    stem, factor = stem_and_factor
    network, seen = shapes(genotype, layers=4, stem=stem, auxiliary=True), []
    for cell in network.cells:
        cell.register_forward_hook(lambda cell, args, y: seen.append(y.shape[-1]))
    network(torch.empty(2, 3, side, side, device="meta"))
    sides = [ceil(side / factor / 2**halvings) for halvings in (0, 1, 2, 2)]
    assert seen == sides


# Drop path


def edge(*candidates):
    module = Edge(candidates, 0, 2, 1, Layout(channels=2, layers=3))
    return module.train(), torch.randn(2000, 2, 3, 3)


@pytest.mark.parametrize("operation", ["avg_pool_3x3", "max_pool_3x3"])
def test_drop_path_drops_an_edge_for_a_sample_and_scales_what_is_left(operation):
    module, x = edge(operation)
    plain, dropped = module(x, None, 0.0), module(x, None, 0.2)
    kept = (dropped != 0).flatten(1).any(1)
    torch.testing.assert_close(dropped[kept], plain[kept] / 0.8)
    assert (dropped[~kept] == 0).all()
    assert abs(kept.double().mean() - 0.8) < 5 * (0.2 * 0.8 / 2000) ** 0.5


def test_drop_path_spares_the_identity_but_not_a_reduction():
    module, x = edge("skip_connect")
    assert torch.equal(module(x, None, 0.9), x)
    reduction = Edge(["skip_connect"], 0, 2, 2, Layout(channels=2, layers=3)).train()
    assert (reduction(x, None, 0.9) == 0).flatten(1).all(1).any()


def test_drop_path_in_a_search_drops_the_whole_mixture_of_an_edge():
    module, x = edge("none", "skip_connect", "avg_pool_3x3")
    mixture = Mixture(torch.tensor([[0.2, 0.3, 0.5]]), ((1, 2),))
    plain, dropped = module(x, mixture, 0.0), module(x, mixture, 0.3)
    kept = (dropped != 0).flatten(1).any(1)
    assert 0 < kept.sum() < len(x)
    torch.testing.assert_close(dropped[kept], plain[kept] / 0.7)


def test_drop_path_acts_in_training_only():
    network = SPACE.network(published("darts_v2"), inputs=3, outputs=10, layout=layout())
    x = torch.randn(4, 3, 8, 8)
    with batch_statistics(network), torch.no_grad():
        plain = network(x)[0]
        network.drop_path = 0.5
        assert torch.equal(network(x)[0], plain)
    assert not torch.allclose(network(x)[0], plain)


# Decisions and texts


def test_the_edges_are_ordered_node_by_node_and_normal_before_reduce():
    ends = ["2-0", "2-1", "3-0", "3-1", "3-2", "4-0", "4-1", "4-2", "4-3"]
    ends += ["5-0", "5-1", "5-2", "5-3", "5-4"]
    expected = [f"{cell}/{end}" for cell in ("normal", "reduce") for end in ends]
    assert [decision.name for decision in SPACE.decisions] == expected
    assert {decision.choices for decision in SPACE.decisions} == {OPERATIONS}


def test_only_nodes_with_more_edges_than_are_kept_have_a_limit():
    limits = [(limit.decisions[0], len(limit.decisions), limit.count) for limit in SPACE.limits]
    expected = [
        (f"{cell}/{node}-0", node, 2) for cell in ("normal", "reduce") for node in (3, 4, 5)
    ]
    assert limits == expected


@settings(max_examples=60, deadline=None, derandomize=True)
@given(genotypes)
def test_every_genotype_is_read_back_from_its_text(genotype):
    text = SPACE.render(genotype)
    assert "\n" not in text
    assert SPACE.parse(text) == genotype
    assert SPACE.parse(text.replace(" | ", "\n  | ")) == genotype  # as a YAML file may fold it


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.randoms(use_true_random=False))
def test_every_sampled_genotype_is_read_from_the_tuples_of_the_released_code(seed, random):
    genotype = SPACE.sample(torch.Generator().manual_seed(seed))
    tuples = {}
    for cell in ("normal", "reduce"):
        tuples[cell] = []
        for node in range(2, 6):
            kept = [(genotype[f"{cell}/{node}-{source}"], source) for source in range(node)]
            kept = [(choice, source) for choice, source in kept if choice != NONE]
            tuples[cell] += random.sample(kept, 2)  # sorted by strength there: any order
    text = (
        f"Genotype(normal={tuples['normal']}, normal_concat=range(2, 6), "
        f"reduce={tuples['reduce']}, reduce_concat=[2, 3, 4, 5])"
    )
    assert SPACE.parse(text) == genotype


def test_the_shipped_cell_is_the_one_of_the_released_code():
    assert SPACE.parse(DARTS_V2) == published("darts_v2")
    chosen = published("darts_v2")
    assert {name: choice for name, choice in chosen.items() if name.startswith("normal/5")} == {
        "normal/5-0": "skip_connect",
        "normal/5-1": "none",
        "normal/5-2": "dil_conv_3x3",
        "normal/5-3": "none",
        "normal/5-4": "none",
    }


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "expected"),
        ("darts_v2", "expected"),
        ("reduction sep_conv_3x3@0", "reduction"),
        ("normal sep_conv_3x3@0 sep_conv_3x3; reduce -", "'sep_conv_3x3'"),
        ("normal sep_conv_3x3@one; reduce -", "sep_conv_3x3@one"),
        ("normal sep_conv_3x3@-1; reduce -", "sep_conv_3x3@-1"),
        ("normal sep_conv_3x3@2; reduce -", "normal/2-2"),
        ("normal - | - | - | - | skip_connect@0; reduce -", "normal/6-0"),
        ("normal sep_conv_9x9@0; reduce -", "sep_conv_9x9"),
        ("Genotype(", "Genotype"),
        ("Genotype(normal=[], reduce=[]) + 1", "Genotype"),
        ("Genotype(normal=[('skip_connect', 0)])", "reduce"),
        ("Genotype(normal=[('skip_connect',)], reduce=[])", "Genotype"),
        ("Genotype(normal=[('skip_connect', 2)], reduce=[])", "normal/2-2"),
        ("Genotype(normal=[('skip_connect', 0)] * 9, reduce=[])", "Genotype"),
        (f"Genotype(normal={[('skip_connect', 0)] * 9}, reduce=[])", "normal/6-0"),
        ("Genotype(normal=[('sep_conv_9x9', 0)], reduce=[])", "sep_conv_9x9"),
        ("Genotype(normal=__import__('os').listdir(), reduce=[])", "Genotype"),
    ],
)
def test_a_text_that_is_no_genotype_is_refused_with_what_is_wrong(text, named):
    with pytest.raises(ValueError, match=named):
        SPACE.parse(text)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.sampled_from([DARTS_V2, SPACE.render(published("darts_v1"))]),
    st.integers(0, 400),
    st.integers(0, 20),
    st.text("abc|@;-[]()',=0129 ", max_size=4),
)
def test_a_damaged_text_is_read_or_refused_with_a_value_error_only(text, start, length, inserted):
    damaged = text[:start] + inserted + text[start + length :]
    try:
        genotype = SPACE.parse(damaged)
    except ValueError:
        return
    assert SPACE.check(genotype) == genotype


def test_cells_to_draw_name_the_inputs_as_the_literature_does():
    genotype = SPACE.parse(
        "normal sep_conv_3x3@0 skip_connect@1 | max_pool_3x3@2; reduce - | - | - | dil_conv_5x5@4"
    )
    assert SPACE.cells(genotype) == {
        "normal": [
            ("c_{k-2}", "0", "sep_conv_3x3"),
            ("c_{k-1}", "0", "skip_connect"),
            ("0", "1", "max_pool_3x3"),
        ],
        "reduce": [("2", "3", "dil_conv_5x5")],
    }


# Spaces


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"operations": ("none", "sep_conv_9x9")}, "sep_conv_9x9 is unknown"),
        ({"operations": ("none",)}, "operations"),
        ({"operations": ()}, "operations"),
        ({"operations": ("none", "skip_connect", "none")}, "distinct"),
        ({"nodes": 0}, "nodes=0"),
        ({"kept_edges": 0}, "kept_edges=0"),
        ({"channels": 5}, "channels=5"),
        ({"layers": 2}, "layers=2"),
        ({"choices": {"normal/2-2": ("skip_connect",)}}, "normal/2-2"),
        ({"choices": {"normal/2-0": ()}}, "normal/2-0"),
    ],
)
def test_a_space_that_cannot_be_is_refused_by_name(changes, named):
    with pytest.raises(ValueError, match=named):
        DartsSpace(**{**SETTINGS, **changes})


def test_a_subspace_has_only_the_named_choices_and_narrows_further():
    narrow = SPACE.restrict({"normal/3-1": ("skip_connect", "sep_conv_3x3")})
    narrower = narrow.restrict({"reduce/2-0": ("max_pool_3x3",)})
    found = {decision.name: decision.choices for decision in narrower.decisions}
    assert found.pop("normal/3-1") == ("skip_connect", "sep_conv_3x3")
    assert found.pop("reduce/2-0") == ("max_pool_3x3",)
    assert set(found.values()) == {OPERATIONS}
    with torch.device("meta"):
        cells = narrower.network(inputs=3, outputs=10).cells
    assert list(cells[0].edges["3-1"].candidates) == ["skip_connect", "sep_conv_3x3"]
    assert list(cells[1].edges["2-0"].candidates) == ["max_pool_3x3"]
    assert SPACE.decisions[3].choices == OPERATIONS  # the space itself is as it was


def test_a_fingerprint_tells_decisions_apart_and_ignores_the_size():
    assert DartsSpace(**{**SETTINGS, "channels": 16, "layers": 8}).fingerprint() == (
        SPACE.fingerprint()
    )
    narrow = SPACE.restrict({"normal/3-1": ("skip_connect",)})
    reordered = DartsSpace(**{**SETTINGS, "operations": OPERATIONS[::-1]})
    fewer = DartsSpace(**{**SETTINGS, "nodes": 3})
    assert len({found.fingerprint() for found in (SPACE, narrow, reordered, fewer)}) == 4


def test_a_network_is_built_only_of_a_genotype_of_the_space():
    with pytest.raises(ValueError, match="normal/2-0"):
        SPACE.network(Genotype("other", {"x": "a"}), inputs=3, outputs=10)
