"""The DARTS space against the paper's description, written again as plain functions."""

from collections import Counter
from math import ceil
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import PlainDarts
from torch import nn
from toys import OPERATIONS

from nasrun.config import build, compose, resolve
from nasrun.costs.ledger import Ledger
from nasrun.genotype import NONE, Genotype
from nasrun.ops.conv import FactorizedReduce
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.layout import Layout
from nasrun.spaces.supernet import batch_statistics
from nasrun.supernet.auxiliary import AuxiliaryHead
from nasrun.supernet.mixture import Mixture

GENOTYPES = Path(__file__).parents[2] / "conf" / "genotypes"
SETTINGS = {"operations": OPERATIONS, "nodes": 4, "kept_edges": 2, "channels": 4, "layers": 3}
SPACE = DartsSpace(**SETTINGS)
choices = st.fixed_dictionaries({d.name: st.sampled_from(OPERATIONS) for d in SPACE.decisions})
some_nodes = st.sets(st.integers(2, 5), min_size=1, max_size=3)
joined = st.fixed_dictionaries({}, optional={"normal": some_nodes, "reduce": some_nodes})
genotypes = st.builds(Genotype, st.just("darts"), choices, joined)
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
        expected = PlainDarts(network, SPACE, layers=layers, pool_norm=pool_norm, stem=stem)(
            x, genotype
        )
        torch.testing.assert_close(network(x), expected)


def mixed():
    network = randomised(SPACE.network(inputs=3, outputs=10))
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    return network, x, torch.rand(28, 8, dtype=torch.float64, requires_grad=True)


def test_the_search_network_mixes_every_candidate_of_every_edge():
    network, x, mix = mixed()
    (expected,) = PlainDarts(network, SPACE, pool_norm=True)(x, mix=mix)
    (result,) = network(x, Mixture(mix, (tuple(range(1, 8)),) * 28))
    torch.testing.assert_close(result, expected)
    direction = torch.randn_like(expected)
    moved = [mix, *network.parameters()]
    wanted = torch.autograd.grad((expected * direction).sum(), moved)
    found = torch.autograd.grad((result * direction).sum(), moved)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


def test_of_a_mixture_only_the_active_candidates_run():
    network, x, mix = mixed()
    active = [tuple(column for column in range(1, 8) if torch.rand(()) < 0.4) for _ in range(28)]
    only = torch.zeros_like(mix)
    for row, columns in enumerate(active):
        only[row, list(columns)] = mix.detach()[row, list(columns)]
    with torch.no_grad():
        expected = PlainDarts(network, SPACE, pool_norm=True)(x, mix=only)
        torch.testing.assert_close(network(x, Mixture(mix, tuple(active))), expected)
    norms = [
        module
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and ".candidates." in name
    ]
    ran = {int(norm.num_batches_tracked) for norm in norms}
    assert ran == {0, 1}


def test_in_training_every_batch_norm_tracks_the_statistics_of_its_own_map():
    network, x, mix = mixed()
    reference = PlainDarts(network, SPACE, pool_norm=True)
    reference.statistics = {}
    with torch.no_grad():
        reference(x, mix=mix)
        network(x, Mixture(mix, (tuple(range(1, 8)),) * 28))
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert set(norms) == set(reference.statistics)
    for norm in norms:
        mean, variance = reference.statistics[norm]
        torch.testing.assert_close(norm.running_mean, 0.1 * mean)
        torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * variance)
        assert norm.num_batches_tracked == 1


@pytest.mark.parametrize(("stem", "size", "stride"), [("cifar", 32, 3), ("imagenet", 224, 2)])
def test_the_auxiliary_head_is_the_published_one_after_two_thirds_of_the_depth(stem, size, stride):
    genotype = Genotype("darts", dict.fromkeys(SPACE.rows, "dil_conv_3x3"))  # maps with negatives
    how = {"layers": 4, "stem": stem, "auxiliary": True}
    network = randomised(SPACE.network(genotype, inputs=3, outputs=10, layout=layout(**how)))
    x = torch.randn(2, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        expected = PlainDarts(network, SPACE, layers=4, stem=stem)(
            x, genotype, auxiliary_stride=stride
        )
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
    with Ledger({}):  # knows results by their shapes
        network(torch.empty(1, 3, 32, 32, device="meta"))
    first, second = {3: (1, 2), 4: (1, 2), 5: (1, 3), 8: (2, 5), 14: (4, 9), 20: (6, 13)}[layers]
    expected = [(24, 32, 32)] * first + [(48, 16, 16)] * (second - first)
    assert seen == expected + [(96, 8, 8)] * (layers - second)


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_a_cell_of_any_number_of_nodes_gives_all_of_them(nodes):
    space = DartsSpace(**{**SETTINGS, "nodes": nodes})
    network, seen = space.network(space.sample(), inputs=3, outputs=10), []
    for cell in network.cells:
        cell.register_forward_hook(lambda cell, args, y: seen.append(y.shape[1]))
    assert network(torch.randn(2, 3, 8, 8))[0].shape == (2, 10)
    assert seen == [4 * nodes, 8 * nodes, 16 * nodes]


def test_only_edges_from_the_inputs_of_a_reduction_cell_have_stride_two():
    network, known = shapes(layers=5), Ledger({})
    x = {channels: torch.empty(2, channels, 6, 6, device="meta") for channels in (4, 8, 16)}
    for index, channels in enumerate((4, 8, 8, 16, 16)):
        for name, edge in network.cells[index].edges.items():
            halves = index in (1, 3) and name.endswith(("-0", "-1"))
            for choice, operation in edge.candidates.items():
                with known:
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
        assert isinstance(pool.pool, nn.MaxPool2d | nn.AvgPool2d)
        assert isinstance(pool.bn, nn.BatchNorm2d)


def test_in_a_network_to_retrain_every_batch_norm_learns_and_no_pool_has_one():
    network = shapes(published("darts_v1"))
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(norm.affine for norm in norms)
    found = pools(network)
    assert len(found) == 2 * 5  # DARTS_V1: five pools a reduction cell
    assert all(pool.bn is None for pool in found)


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


@settings(max_examples=5, deadline=None, derandomize=True)
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
    with Ledger({}):
        network(torch.empty(2, 3, side, side, device="meta"))
    sides = [ceil(side / factor / 2**halvings) for halvings in (0, 1, 2, 2)]
    assert seen == sides


# Drop path


def first_node(x, drop_path, network, mixture=None, cell=0):
    """The first of a cell's four nodes in training."""
    seen, network.drop_path = [], drop_path
    hook = network.cells[cell].register_forward_hook(lambda _, args, y: seen.append(y.chunk(4, 1)))
    with torch.no_grad():
        network.train()(x, mixture)
    hook.remove()
    return seen[0][0]


def only_edge(operation, name="normal/2-0"):
    """A network in which one edge has an operation; what it reads is never dropped."""
    chosen = {**dict.fromkeys(SPACE.rows, NONE), name: operation}
    network = SPACE.network(Genotype("darts", chosen), inputs=3, outputs=10, layout=layout())
    return network, torch.randn(1000, 3, 4, 4)


@pytest.mark.parametrize("operation", ["avg_pool_3x3", "sep_conv_3x3"])
def test_drop_path_drops_an_edge_for_a_sample_and_scales_what_is_left(operation):
    network, x = only_edge(operation)
    plain, dropped = first_node(x, 0.0, network), first_node(x, 0.2, network)
    kept = (dropped != 0).flatten(1).any(1)
    torch.testing.assert_close(dropped[kept], plain[kept] / 0.8)
    assert (dropped[~kept] == 0).all()
    assert abs(kept.double().mean() - 0.8) < 5 * (0.2 * 0.8 / 1000) ** 0.5


def test_drop_path_spares_the_identity_but_not_a_reduction():
    network, x = only_edge("skip_connect")
    assert torch.equal(first_node(x, 0.9, network), first_node(x, 0.0, network))
    network, x = only_edge("skip_connect", "reduce/2-0")  # in cell 1 it reads the stem
    dropped = (first_node(x, 0.5, network, cell=1) == 0).flatten(1).all(1)
    assert 400 < dropped.sum() < 600


def test_drop_path_in_a_search_drops_the_whole_mixture_of_an_edge():
    network, x = SPACE.network(inputs=3, outputs=10), torch.randn(200, 3, 4, 4)
    active = ((2, 3),) + ((),) * 27
    mixture = Mixture(torch.full((28, 8), 0.5), active)
    plain, dropped = (first_node(x, p, network, mixture) for p in (0.0, 0.3))
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


def test_tuples_have_as_many_edges_a_node_as_the_space_keeps():
    one = DartsSpace(**{**SETTINGS, "nodes": 3, "kept_edges": 1})
    normal = [("skip_connect", 1), ("avg_pool_3x3", 0), ("sep_conv_3x3", 3)]
    genotype = one.parse(f"Genotype(normal={normal}, reduce={normal})")
    chosen = {name: genotype[name] for name in list(genotype)[:9] if genotype[name] != NONE}
    assert chosen == {
        "normal/2-1": "skip_connect",
        "normal/3-0": "avg_pool_3x3",
        "normal/4-3": "sep_conv_3x3",
    }


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
        ("normal - | - | - | - | skip_connect@0; reduce -", "nodes=5.*normal/6-0.*space.nodes=5"),
        ("normal - | - | skip_connect@0; reduce -", "nodes=3.*set space.nodes=3"),
        ("normal - | - | - | - concat; reduce -", r"normal_concat=\[\]"),
        ("normal - | - | - | - concat 3 3; reduce -", r"normal_concat=\[3, 3\]"),
        ("normal - | - | - | - concat 1 3; reduce -", r"normal_concat=\[1, 3\]"),
        ("normal - | - | - | -; reduce - concat 6", r"reduce_concat=\[6\]"),
        ("normal - | - | - | - concat x; reduce -", "concat x"),
        ("normal - | - | - | -; reduce -; normal -", "each cell once"),
        (
            "normal - | -; reduce - | - | - | -",
            "a normal cell of 2 and a reduce cell of 4 nodes; give",
        ),
        (
            "normal sep_conv_3x3@0; reduce - | -",
            "a normal cell of 1 and a reduce cell of 2 nodes; give",
        ),
        ("normal sep_conv_9x9@0; reduce -", "sep_conv_9x9"),
        ("Genotype(", "Genotype"),
        ("Genotype(normal=[], reduce=[]) + 1", "Genotype"),
        ("Genotype(normal=[('skip_connect', 0)])", "reduce"),
        ("Genotype(normal=[('skip_connect',)], reduce=[])", "Genotype"),
        ("Genotype(normal=[('skip_connect', 2)], reduce=[])", "normal/2-2"),
        ("Genotype(normal=[('skip_connect', 0)] * 9, reduce=[])", "Genotype"),
        (
            f"Genotype(normal={[('skip_connect', p % 2) for p in range(9)]}, reduce=[])",
            "normal/6-0",
        ),
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
        "normal sep_conv_3x3@0 skip_connect@1 | max_pool_3x3@2 | - | -; "
        "reduce - | - | - | dil_conv_5x5@4"
    )
    assert SPACE.cells(genotype) == {
        "normal": [
            ("c_{k-2}", "0", "sep_conv_3x3"),
            ("c_{k-1}", "0", "skip_connect"),
            ("0", "1", "max_pool_3x3"),
        ],
        "reduce": [("2", "3", "dil_conv_5x5")],
    }


def test_of_a_cell_that_joins_some_nodes_the_edges_to_its_output_are_drawn():
    text = "normal sep_conv_3x3@0 | - | - | skip_connect@2 concat 4 5; reduce - | - | - | -"
    genotype = SPACE.parse(text)
    assert SPACE.cells(genotype)["normal"] == [
        ("c_{k-2}", "0", "sep_conv_3x3"),
        ("0", "3", "skip_connect"),
        ("2", "c_{k}", ""),
        ("3", "c_{k}", ""),
    ]
    assert SPACE.cells(genotype)["reduce"] == []


def test_a_text_may_have_comments_quotes_and_a_byte_order_mark():
    text = SPACE.render(published("darts_v2"))
    for written in (f"\ufeff{text}\n", f"# the best\n{text}  # of 4", f'"{text}"'):
        assert SPACE.parse(written.removeprefix("\ufeff")) == published("darts_v2")


def test_joined_nodes_that_the_space_does_not_have_are_refused():
    chosen = dict(published("darts_v2"))
    for concat in ({"normal": [6]}, {"normal": [0]}, {"cell": [2]}, {"normal": [2, 3, 4, 5]}):
        with pytest.raises(ValueError, match=f"{next(iter(concat))}_concat="):
            SPACE.check(Genotype("darts", chosen, concat))


# Spaces


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"operations": ("none", "sep_conv_9x9")}, "sep_conv_9x9 is unknown"),
        ({"operations": ("none",)}, "operations"),
        ({"operations": ()}, "operations"),
        ({"operations": ("none", "skip_connect", "none")}, r"operations=\[.*: give each once"),
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


def test_a_network_is_built_only_of_a_genotype_of_the_space():
    with pytest.raises(ValueError, match="normal/2-0"):
        SPACE.network(Genotype("other", {"x": "a"}), inputs=3, outputs=10)


# DARTS-PT's spaces


def option(name):
    return build(resolve(compose([f"space={name}"]).config["space"]), "space")


@pytest.mark.parametrize(
    ("name", "operations"),
    [
        ("darts_s2", ("skip_connect", "sep_conv_3x3")),
        ("darts_s3", ("none", "skip_connect", "sep_conv_3x3")),
        ("darts_s4", ("noise", "sep_conv_3x3")),
        ("darts_s5", OPERATIONS[1:]),
    ],
)
def test_every_edge_of_s2_to_s5_has_the_same_operations(name, operations):
    assert {decision.choices for decision in option(name).decisions} == {operations}
    assert len(option(name).decisions) == 28


def test_every_edge_of_s1_has_two_operations_of_its_own():
    table = {decision.name: decision.choices for decision in option("darts_s1").decisions}
    assert {len(choices) for choices in table.values()} == {2}
    # DARTS-PT's lists count edges node by node: the first, one in the middle and the last of each.
    assert table["normal/2-0"] == ("skip_connect", "dil_conv_3x3")
    assert table["normal/4-0"] == ("max_pool_3x3", "skip_connect")
    assert table["normal/5-4"] == ("dil_conv_3x3", "dil_conv_5x5")
    assert table["reduce/2-0"] == ("max_pool_3x3", "avg_pool_3x3")
    assert table["reduce/4-1"] == ("max_pool_3x3", "sep_conv_3x3")
    assert table["reduce/5-4"] == ("skip_connect", "dil_conv_5x5")
    counts = Counter(choice for choices in table.values() for choice in choices)
    assert counts == {
        "skip_connect": 18, "max_pool_3x3": 10, "avg_pool_3x3": 6,
        "sep_conv_3x3": 5, "dil_conv_3x3": 8, "dil_conv_5x5": 9,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["darts_s1", "darts_s2", "darts_s3", "darts_s5"])
def test_a_genotype_of_a_subspace_is_one_of_the_darts_space(name):
    genotype = option(name).sample(torch.Generator().manual_seed(0))
    whole = option("darts")
    assert whole.check(genotype) == genotype
    assert whole.parse(option(name).render(genotype)) == genotype
    assert option(name).none_is_a_choice is False


def test_noise_is_known_in_s4_only():
    noisy = option("darts_s4").restrict({"normal/2-0": ("noise",)})
    refusal = (
        r"normal/2-0=noise; this space allows none, max.*; choose one of them, or a space that"
    )
    with pytest.raises(ValueError, match=refusal):
        option("darts").check(noisy.sample())


@pytest.mark.parametrize("number", range(4))
def test_the_cells_of_darts_pt_are_in_s5_and_in_the_darts_space(number):
    text = yaml.safe_load((GENOTYPES / f"darts_pt_s5_{number}.yaml").read_text())["cell"]
    genotype = option("darts").parse(text)
    assert option("darts_s5").parse(text) == genotype
    for limit in option("darts_s5").limits:
        assert sum(genotype[name] != NONE for name in limit.decisions) == 2
