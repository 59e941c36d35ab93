"""NAS-Bench-101: published sizes, equal networks in tables, and a search in a table."""

import json
from pathlib import Path

import pytest
import torch
from toys import context

from nasrun.costs.cost import count
from nasrun.data.table import Table
from nasrun.evaluators.tabular import Tabular
from nasrun.genotype import NONE, Genotype
from nasrun.spaces.base import listed
from nasrun.spaces.layout import Layout
from nasrun.spaces.module_graph import OPERATIONS
from nasrun.spaces.nasbench101 import EDGES, NasBench101

CONV3, CONV1, POOL = OPERATIONS
SPACE = NasBench101(operations=OPERATIONS, channels=2, layers=3)
INCEPTION = (
    f"input,{CONV1},{CONV3},{CONV3},{CONV3},{POOL},output "
    "0111010/0000001/0000001/0000100/0000001/0000001/0000000"
)
"""The module that the released code's example asks for, and the equal one of its answer."""
ANSWER = (
    f"input,{CONV3},{CONV1},{POOL},{CONV3},{CONV3},output "
    "0111100/0000001/0000001/0000001/0000010/0000001/0000000"
)
LONE = f"input,{CONV3},output 010/000/000"
"""A module without a path to its output."""


def sizes(text, layers=9, outputs=10):
    layout = Layout(channels=128, layers=layers)
    with torch.device("meta"):
        return SPACE.network(SPACE.parse(text), inputs=3, outputs=outputs, layout=layout)


def test_the_example_of_the_released_code_has_its_published_parameters():
    for text in (INCEPTION, ANSWER):
        assert count(sizes(text), 3, 32).params == 2_694_282
        # by the released code's hash_module
        assert SPACE.entry(SPACE.parse(text)) == "28cfc7874f6d200472e1a9dcd8650aa0"


def test_parameters_are_those_of_a_formula_where_channels_do_not_divide():
    """Three branches: 128 is divided into 43, 43 and 42; the output adds the input."""
    network = sizes(f"input,{CONV3},{CONV1},{POOL},output 01111/00001/00001/00001/00000")
    expected, inputs = 3 * 9 * 128 + 2 * 128, 128
    for index in range(9):
        width = 128 * 2 ** (index // 3)
        parts = [width // 3 + (place < width % 3) for place in range(3)]
        for part, kernel in zip(parts, (3, 1, None), strict=True):
            expected += inputs * part + 2 * part  # projection
            expected += 0 if kernel is None else kernel**2 * part**2 + 2 * part
        expected += inputs * width + 2 * width
        inputs = width
    assert count(network, 3, 32).params == expected + 512 * 10 + 10


def test_a_module_computes_what_its_graph_says():
    torch.manual_seed(0)
    text = f"input,{CONV3},{POOL},{CONV1},output 01010/00101/00010/00001/00000"
    network = SPACE.network(SPACE.parse(text), inputs=3, outputs=2).eval()
    module, x = network.cells[1], torch.rand(2, 2, 5, 5)
    assert module.widths == [2, 2, 2, 2, 4]
    project, operation = module.projections, module.operations
    first = operation["1"](project["1"](x))
    second = operation["2"](first)
    third = operation["3"](second[:, :2] + project["3"](x))
    assert torch.allclose(module(x, 0.0), torch.cat([first, third], dim=1))
    assert torch.equal(second, torch.nn.functional.max_pool2d(first, 3, 1, 1))
    network(torch.rand(2, 3, 9, 9))  # odd maps


def test_a_module_without_a_path_ignores_its_input_and_is_in_no_table(tmp_path):
    lone = SPACE.parse(LONE)
    network = SPACE.network(lone, inputs=1, outputs=3).eval()
    logits = [network(torch.rand(2, 1, 8, 8))[0] for _ in range(2)]
    assert torch.equal(*logits)
    assert SPACE.entry(lone) is None
    with pytest.raises(ValueError, match="has no path from input to output"):
        listed(SPACE, lone)
    path = tmp_path / "t.csv"
    path.write_text(
        f"architecture,c_test_9ep,c_val_9ep\n{SPACE.entry(SPACE.parse(ANSWER))},93,92\n"
    )
    evaluator = Tabular(table=str(path), column="c_val_9ep")
    evaluator.begin(context(SPACE))
    assert evaluator(SPACE.parse(INCEPTION)).value == 0.92
    assert not evaluator(lone).sound
    with pytest.raises(ValueError, match="it has no architecture"):
        evaluator(SPACE.parse(f"input,{POOL},output 010/001/000"))


def test_a_smaller_module_is_read_and_is_the_same_network():
    small = SPACE.parse(f"input,{POOL},output 010/001/000")
    wide = SPACE.parse(
        f"input,{CONV1},{CONV3},{CONV3},{CONV3},{POOL},output "
        "0000010/0010000/0000000/0000000/0000000/0000001/0000000"
    )
    assert SPACE.entry(small) == SPACE.entry(wide)
    assert SPACE.parse(SPACE.render(small)) == small
    rows = "011111/001111/000111/000011/000001/000000"
    with pytest.raises(ValueError, match="has 15 edges from input to output"):
        SPACE.parse(f"input,{','.join([CONV3] * 4)},output {rows}")


def test_drawn_and_mutated_modules_have_at_most_nine_edges_and_any_fewer():
    generator = torch.Generator().manual_seed(0)
    numbers, genotype = set(), SPACE.sample(generator)
    for _ in range(60):
        drawn = SPACE.sample(generator)
        genotype = SPACE.mutate(genotype, generator)
        for each in (drawn, genotype, next(SPACE.neighbours(drawn))):
            kept = sum(each[name] != NONE for name in EDGES)
            assert kept <= 9
            numbers.add(kept)
    assert {7, 8, 9} <= numbers
    for each in SPACE.stratified(6, generator):
        assert sum(each[name] != NONE for name in EDGES) <= 9


def test_edges_that_are_always_there_stay_whatever_is_drawn_or_mutated():
    always = [*EDGES][:3]
    made = NasBench101(
        operations=OPERATIONS, channels=2, layers=3, choices=dict.fromkeys(always, ("edge",))
    )
    generator = torch.Generator().manual_seed(0)
    genotype = made.sample(generator)
    full = 0
    for _ in range(80):
        genotype = made.mutate(genotype, generator)
        near = [*made.neighbours(genotype)][:40]
        for each in (made.sample(generator), genotype, *near, *made.stratified(3, generator)):
            made.check(each)
            kept = sum(each[name] != NONE for name in EDGES)
            full += kept == 9
            assert kept <= 9 and all(each[name] != NONE for name in always)
    assert full > 50
    nine = {name: ("edge",) if n < 9 else (NONE, "edge") for n, name in enumerate(EDGES)}
    made = NasBench101(operations=OPERATIONS, channels=2, layers=3, choices=nine)
    assert made.check(made.mutate(made.sample(generator), generator))


def test_a_genotype_with_too_many_edges_is_refused_however_it_is_given():
    every = {**dict.fromkeys(EDGES, "edge"), **{f"vertex{n}": CONV3 for n in range(1, 6)}}
    with pytest.raises(ValueError, match="has 21 edges from input to output"):
        SPACE.check(Genotype("nasbench101", every))


def test_a_module_with_more_vertices_than_channels_is_refused():
    rows = "0111110/0000001/0000001/0000001/0000001/0000000/0000000"
    wide = SPACE.parse(f"input,{','.join([CONV1] * 4 + [CONV3])},output {rows}")
    with pytest.raises(ValueError, match=r"channels=2: .* among 4 vertices; use at least 4"):
        SPACE.network(wide, inputs=3, outputs=10)


def test_wrong_settings_are_refused():
    for wrong, told in (
        ({"operations": ("conv5x5",)}, "operations: conv5x5 is unknown; use conv3x3"),
        (
            {"choices": {"vertex9": (POOL,)}},
            "vertex9 is not a decision; use names such as edges-0to1",
        ),
        ({"choices": {"vertex1": ("edge",)}}, "choices.vertex1=.*use some of conv3x3"),
        ({"choices": dict.fromkeys([*EDGES][:10], ("edge",))}, "10 edges are always there"),
    ):
        with pytest.raises(ValueError, match=told):
            NasBench101(**{"operations": OPERATIONS, "channels": 2, "layers": 3, **wrong})


@pytest.fixture
def benchmark(tmp_path):
    """A table of the modules with one inner vertex or none, and of nothing else."""
    texts = ["input,output 01/00"]
    for operation in OPERATIONS:
        texts += [f"input,{operation},output {rows}" for rows in ("010/001/000", "011/001/000")]
    path = tmp_path / "nasbench101.csv"
    lines = [f"{SPACE.entry(SPACE.parse(text))},{90 + n},{89 + n}" for n, text in enumerate(texts)]
    path.write_text("\n".join(["architecture,cifar10_test_108ep,cifar10_val_108ep", *lines]))
    assert Table.read(path).true == {"cifar10": "cifar10_test_108ep"}
    return path


def test_a_search_in_a_table_finds_a_module_that_is_retrained_and_shown(nasrun, benchmark):
    closed = {f"edges-{s}to{t}": ["none"] for s, t in EDGES.values() if t < 6 and (s or t > 1)}
    closed |= {f"edges-{s}to6": ["none"] for s in range(2, 6)}
    left = "{" + ",".join(f"{name}: [none]" for name in closed) + "}"
    words = ["space=nasbench101", f"+space.choices={left}", f"space.table={benchmark}"]
    words += ["strategy=evolution", "evaluator=tabular", "strategy.num_candidates=80"]
    words += ["strategy.evaluator.column=cifar10_val_108ep", "width=2", "depth=3", "images=64"]
    words += ["batch_size=16", "epochs=1", "budget.threads=1", "budget.device=cpu"]
    answer = nasrun("run", "stages=[search,select,retrain]", *words)
    assert answer.status == 0, answer.err
    (run,) = Path("outputs").glob("*/v001")
    selected = json.loads((run / "select/fittest/result.json").read_text())
    assert selected["true"]["cifar10"] == {"accuracy": 0.96, "rank": 1, "of": 7, "epochs": 108}
    assert "cifar10 96.00%, rank 1 of 7" in nasrun("show", run).out
    shown = nasrun("show", f"genotype={INCEPTION}", "format=json")
    assert json.loads(shown.out)["params"] == 2_694_282
    refusal = nasrun("search", "space=nasbench101", "strategy=darts").refusal
    assert "needs a supernet" in refusal
    refusal = nasrun("search", "space=nasbench101", "strategy=pbtnas").refusal
    assert "strategy=pbtnas needs modules that networks inherit" in refusal
