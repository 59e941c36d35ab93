"""DARTS's tuples in all their forms, written here as others write them, and parsed."""

import json
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import OPERATIONS

from nasrun.genotype import NONE, Misfit
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.layout import Layout
from nasrun.spaces.notation import nni

CELLS = ("normal", "reduce")


def space(nodes=4, kept_edges=2):
    return DartsSpace(
        operations=OPERATIONS, nodes=nodes, kept_edges=kept_edges, channels=4, layers=3
    )


SPACE = space()
seeds = st.integers(0, 2**31)


def sampled(seed, made=SPACE):
    return made.sample(torch.Generator().manual_seed(seed))


def rows_of(genotype, nodes=4, everything=False):
    """Return per cell and node the pairs (operation, source)."""
    return {
        cell: [
            [(choice, source) for source in range(node)
             if (choice := genotype[f"{cell}/{node}-{source}"]) != NONE or everything]
            for node in range(2, nodes + 2)
        ]
        for cell in CELLS
    }  # fmt: skip


def flat(rows):
    return [pair for row in rows for pair in row]


def weighted(pairs, wrap=float):
    return [(choice, source, wrap(0.125 + source)) for choice, source in pairs]


class Float32:
    """A number as NumPy 2 prints it."""

    def __init__(self, number):
        self.number = number

    def __repr__(self):
        return f"np.float32({self.number})"


def call(normal, reduce, concat="range(2, 6)", name="Genotype"):
    return (
        f"{name}(normal={normal}, normal_concat={concat}, reduce={reduce}, reduce_concat={concat})"
    )


def forms(genotype):
    """Return a genotype as others write it: DARTS, its logs, pt.darts, GDAS, AutoDL, SNAS, NNI."""
    rows = rows_of(genotype)
    n, r = (flat(rows[cell]) for cell in CELLS)
    plain = call(n, r)
    four = [n, [2, 3, 4, 5], r, [2, 3, 4, 5]]
    fields = dict(zip(("normal", "normal_concat", "reduce", "reduce_concat"), four, strict=True))
    autodl = {
        **fields,
        **{cell: [tuple(weighted(row, Float32)) for row in rows[cell]] for cell in CELLS},
    }
    everything = rows_of(genotype, everything=True)
    return {
        "plain": plain,
        "assigned": f"# 97.24 %\nDARTS_V3 = {plain}  # seed 2\nDARTS = DARTS_V3\n",
        "logged": f"03/01 10:20 AM epoch 3 lr 2e-2, it's\n03/01 genotype = {plain}\n03/01 {n[0]}",
        "quoted": f'--genotype "{plain}"',
        "folded": plain.replace("), ", "),\n    # next\n    "),
        "imported": plain.replace("Genotype(", "gt.Genotype("),
        "positional": f"Genotype({n}, range(2, 6), {r}, range(2, 6))",
        "in lists": call(list(map(list, n)), list(map(list, r)), "[2, 3, 4, 5]"),
        "without concat": f"Genotype(normal={n}, reduce={r})",
        "per node": call(rows["normal"], rows["reduce"]),
        "per node in tuples": call(*(tuple(map(tuple, rows[cell])) for cell in CELLS)),
        "with weights": call(weighted(n), weighted(r)),
        "dict": f"<<<--->>> The 049-050-th epoch : {autodl}",
        "all edges": call(flat(everything["normal"]), flat(everything["reduce"])),
        "fields as JSON": json.dumps(fields),
        "tuple as JSON": json.dumps(four),
        "NNI": json.dumps(exported(genotype), indent=2),
        "NNI, numbers": json.dumps(exported(genotype, list(nni.OPERATIONS).index)),
        "NNI, all operations": json.dumps(exported(genotype, whole=True)),
        "NNI's hub": json.dumps(of_hub(rows)),
    }


def exported(genotype, as_=lambda word: word, whole=False):
    """NNI's JSON; with `whole` a switch alone says what is kept."""
    words = {ours: theirs for theirs, ours in nni.OPERATIONS.items()}
    found = {}
    for cell in CELLS:
        for node in range(2, 6):
            keys = [f"{cell}_n{node}_p{source}" for source in range(node)]
            choices = [genotype[f"{cell}/{node}-{source}"] for source in range(node)]
            kept = [key for key, choice in zip(keys, choices, strict=True) if choice != NONE]
            for key, choice in zip(keys, choices, strict=True):
                off = "maxpool" if whole else []
                found[key] = as_(words[choice]) if choice != NONE else off
            numbers = [int(key[-1]) for key in kept]
            found[f"{cell}_n{node}_switch"] = numbers if whole else kept
    return found


def of_hub(rows):
    found = {"width": 36, "depth": 20}
    for cell in CELLS:
        for node, row in enumerate(rows[cell], 2):
            for slot, (choice, source) in enumerate(row):
                found[f"{cell}/op_{node}_{slot}"] = choice
                found[f"{cell}/input_{node}_{slot}"] = [source] if slot else source
    return found


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seeds)
def test_a_genotype_is_the_same_in_every_form(seed):
    genotype = sampled(seed)
    for name, text in forms(genotype).items():
        assert SPACE.parse(text) == genotype, name


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seeds, st.integers(1, 6), st.integers(1, 4), st.booleans())
def test_tuples_have_the_nodes_of_the_space_and_the_edges_that_it_keeps(seed, nodes, kept, told):
    made = space(nodes, kept)
    genotype = sampled(seed, made)
    rows = rows_of(genotype, nodes)
    text = call(flat(rows["normal"]), flat(rows["reduce"]), f"range(2, {nodes + 2})")
    if not told:
        text = re.sub(r"(normal|reduce)_concat=range\(2, \d+\),? ?", "", text)
    assert made.parse(text) == genotype


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seeds,
    st.fixed_dictionaries({c: st.sets(st.integers(2, 5), min_size=1) for c in CELLS}),
    st.randoms(use_true_random=False),
)
def test_the_joined_nodes_are_a_part_of_the_genotype(seed, joined, random):
    rows = rows_of(sampled(seed))
    listed = {cell: random.sample(sorted(nodes), len(nodes)) for cell, nodes in joined.items()}
    text = (
        f"Genotype(normal={rows['normal']}, normal_concat={listed['normal']}, "
        f"reduce={rows['reduce']}, reduce_concat={listed['reduce']})"
    )
    genotype = SPACE.parse(text)
    expected = {cell: tuple(sorted(nodes)) for cell, nodes in joined.items() if len(nodes) < 4}
    assert genotype.concat == expected
    assert SPACE.parse(SPACE.render(genotype)) == genotype
    assert (genotype == sampled(seed)) == (not expected)


DARTS_V2 = forms(sampled(0))["plain"]


@pytest.mark.parametrize("nodes", [3, 5])
def test_a_cell_of_another_size_says_which_setting_would_do(nodes):
    rows = rows_of(sampled(1, space(nodes)), nodes)
    text = call(flat(rows["normal"]), flat(rows["reduce"]), f"range(2, {nodes + 2})")
    with pytest.raises(Misfit, match=f"nodes={nodes}.*nodes=4.*set space.nodes={nodes}") as caught:
        SPACE.parse(text)
    assert caught.value.settings == {"nodes": nodes}
    assert space(nodes).parse(text) == sampled(1, space(nodes))


PAIRS = [("skip_connect", 0), ("skip_connect", 1)] * 4


@pytest.mark.parametrize(
    ("normal", "concat", "named"),
    [
        (PAIRS[:6], "range(2, 6)", r"normal_concat=\[2, 3, 4, 5\]: the cell has the nodes 2 to 4"),
        (PAIRS, "[2, 3, 4, 5, 6]", r"normal_concat=\[2, 3, 4, 5, 6\]"),
        (PAIRS, "[1, 5]", r"normal_concat=\[1, 5\]"),
        (PAIRS, "[5, 5]", r"normal_concat=\[5, 5\]"),
        (PAIRS, "[]", r"normal_concat=\[\]"),
        (PAIRS, "'2345'", "normal_concat=2345"),
        (PAIRS, "5", "normal_concat=5"),
        (PAIRS[:7], "range(2, 6)", "normal/5-0=skip_connect is left over"),
        (PAIRS[:6], "range(2, 5)", "normal has 3 nodes and reduce has 4 nodes"),
        ([*PAIRS[:6], PAIRS[0], PAIRS[0]], "range(2, 6)", "normal/5-0 is given twice"),
        ([*PAIRS[:7], ("skip_connect", 5)], "range(2, 6)", "normal/5-5"),
        ([*PAIRS[:7], ("skip_connect", -1)], "range(2, 6)", "normal/5--1"),
        ([*PAIRS[:7], ("skip_connect", "1")], "range(2, 6)", "not a list of edges"),
        ([*PAIRS[:7], ("skip_connect", True)], "range(2, 6)", "not a list of edges"),
        ([*PAIRS[:7], (0, "skip_connect")], "range(2, 6)", "not a list of edges"),
        ([*PAIRS[:7], ("skip_connect", 4, 1)], "range(2, 6)", "a node and a source for all edges"),
        (PAIRS[:4], "range(2, 6)", "4 edges for 4 nodes, 1 per node; set space.kept_edges=1"),
        (PAIRS * 20, "None", "80 nodes per cell"),
        ("None", "range(2, 6)", "the normal cell is missing"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(normal, concat, named):
    text = f"Genotype(normal={normal}, normal_concat={concat}, reduce={PAIRS})"
    with pytest.raises(ValueError, match=named) as caught:
        SPACE.parse(text)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Genotype(", r"expected Genotype\(normal="),
        (f"Genotype({PAIRS}, normal={PAIRS})", "normal is given twice"),
        (f"Genotype(normal={PAIRS}, reduce={PAIRS}, channels=[48])", "channels is not a field"),
        (f"Genotype({PAIRS}, 1, 2, 3, 4)", "not two cells"),
        (f"[{PAIRS}, {PAIRS}]", "the reduce cell is missing|no list of nodes|give a list"),
        ("Genotype(normal=open('x'), reduce=[])", "not a list of edges"),
        ("Genotype(normal=open('x').read(), reduce=[])", "is not a name"),
        ('{"normal_n2_p0": "conv7x7", "reduce_n2_p0": "maxpool"}', "normal_n2_p0=conv7x7"),
        ('{"normal_n2_p0": 9, "reduce_n2_p0": "maxpool"}', "normal_n2_p0=9"),
        ('{"normal_n2_p0": "maxpool", "normal_n2_switch": 3}', "normal_n2_switch=3"),
        ('{"normal_n3_p0": "maxpool"}', r"nodes \[3\]"),
        ('{"normal_n2_p0": "maxpool", "other": 3}', "other is not a key"),
        ('{"normal/op_2_0": "sep_conv_3x3"}', "normal/op_2_0"),
    ],
)
def test_a_form_that_is_not_known_is_refused_by_what_is_wrong(text, named):
    with pytest.raises(ValueError, match=named) as caught:
        SPACE.parse(text)
    assert len(str(caught.value).splitlines()) == 1


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(forms(sampled(0)))),
    st.integers(0, 900),
    st.integers(0, 20),
    st.text("abc|@;-[]()',=0129 :{}#\n", max_size=4),
)
def test_a_damaged_form_is_read_or_refused_in_one_line(form, start, length, inserted):
    text = forms(sampled(0))[form]
    try:
        genotype = SPACE.parse(text[:start] + inserted + text[start + length :])
    except ValueError as error:
        genotype, lines = None, str(error).splitlines()
    if genotype is None:
        assert len(lines) == 1
        return
    assert SPACE.parse(SPACE.render(genotype)) == genotype


# FairDARTS (1911.12126): edges as (operation, node, source). Parameters and multiply-adds in
# millions are those that its released genotypes.py tells of each cell at 36 channels and 20 cells.

SHORT = {
    "max": "max_pool_3x3",
    "avg": "avg_pool_3x3",
    "skip": "skip_connect",
    "sep3": "sep_conv_3x3",
    "sep5": "sep_conv_5x5",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
}
AUXILIARY = 128 * 576 + 768 * 128 * 4 + 2 * 128 + 2 * 768 + 769 * 10
FAIR = {
    "b": (
        "sep3@0 sep3@1 | sep3@1 | dil3@0 sep5@1 | dil5@1",
        "skip@0 dil3@1 | skip@0 dil3@1 | max@0 sep3@1 | skip@2 max@0",
        3.88, 536, AUXILIARY,
    ),
    "c": (
        "max@0 sep5@1 | | dil3@0 dil5@2 | skip@3 sep3@0",
        "dil3@1 dil5@0 | dil3@0 sep3@1 | sep5@0 sep5@3 | sep5@0 skip@1",
        2.59, 400, 0,
    ),
    "e": (
        "sep3@0 sep3@1 | | dil3@1 dil3@2 | dil3@0 dil5@1",
        "max@1 max@0 | max@1 max@0 | sep5@1 max@0 | avg@0 dil5@1",
        3.12, 414, AUXILIARY,
    ),
    "g": (
        "sep3@0 sep3@1 | | skip@3 sep5@1 | dil3@0 sep3@1",
        "avg@1 skip@0 | skip@2 max@1 | sep5@3 max@0 | dil3@1 dil3@4",
        3.375, 453, AUXILIARY,
    ),
}  # fmt: skip


def placed(cell):
    """The triples of a cell."""
    return [
        (SHORT[word.partition("@")[0]], node, int(word.partition("@")[2]))
        for node, row in enumerate(cell.split("|"), 2)
        for word in row.split()
    ]


@pytest.mark.parametrize("name", FAIR)
def test_a_cell_of_fairdarts_joins_the_nodes_that_an_edge_leads_to_and_costs_what_was_published(
    name,
):
    from nasrun.costs.cost import count

    normal, reduce, millions, megas, auxiliary = FAIR[name]
    genotype = SPACE.parse(call(placed(normal), placed(reduce)))
    assert genotype.concat == ({} if name == "b" else {"normal": (2, 4, 5)})
    assert not any("-3" in edge and genotype[edge] != NONE and name != "b"
                   for edge in genotype if edge.startswith("normal"))  # fmt: skip
    with torch.device("meta"):
        network = SPACE.network(
            genotype, inputs=3, outputs=10, layout=Layout(channels=36, layers=20)
        )
    cost = count(network, 3, 32)
    digits = 1000 if name == "g" else 100
    assert math.floor((cost.params + auxiliary) / 1e6 * digits) / digits == millions
    assert math.floor(cost.macs / 1e6 + 0.02) == megas


def test_what_fairdarts_network_would_not_do_is_refused():
    reduce = placed(FAIR["b"][1])
    twice = [("skip_connect", 2, 0), ("sep_conv_3x3", 2, 0)]
    with pytest.raises(ValueError, match="normal/2-0 is given twice"):
        SPACE.parse(call(twice, reduce))
    lost = [("skip_connect", 2, 0), ("skip_connect", 4, 3), ("skip_connect", 5, 0)]
    with pytest.raises(
        ValueError, match="node 4 of normal reads only nodes without an edge into them"
    ):
        SPACE.parse(call(lost, reduce))
    with pytest.raises(ValueError, match="normal/2-2"):
        SPACE.parse(call([("skip_connect", 2, 2)], reduce))
    with pytest.raises(ValueError, match="nodes per cell"):
        SPACE.parse(call([("skip_connect", 999999999, 0)], reduce))
