"""Graphs of modules: pruning, digests and widths, against NAS-Bench-101's tests and brute force."""

from itertools import permutations, product

import pytest

from nasrun.spaces.module_graph import OPERATIONS, ModuleGraph
from nasrun.spaces.notation import modules

CONV3, CONV1, POOL = OPERATIONS


def graph(rows, *operations):
    """A graph by the rows of its matrix; conv3x3 where no operations are given."""
    rows = rows.split("/")
    size = range(len(rows))
    found = frozenset((i, j) for i in size for j in size if rows[i][j] == "1")
    return ModuleGraph(operations or (CONV3,) * (len(rows) - 2), found)


@pytest.mark.parametrize(
    ("rows", "kept", "pruned"),
    [
        ("010/001/000", "ab", "010/001/000"),
        ("0110/0001/0001/0000", "ab", "0110/0001/0001/0000"),
        ("0100/0001/0000/0000", "a", "010/001/000"),  # an island
        ("01000/00001/00010/00000/00000", "a", "010/001/000"),
        ("0110/0000/0001/0000", "b", "010/001/000"),  # a vertex that leads nowhere
        ("0010/0001/0001/0000", "b", "010/001/000"),  # a vertex that nothing enters
        ("00/00", "", None),
        ("0100/0000/0001/0000", "", None),
        ("0000/0010/0000/0000", "", None),
    ],
)
def test_what_is_on_no_path_is_pruned_as_the_released_tests_say(rows, kept, pruned):
    operations = tuple("abcde"[: rows.count("/") - 1])
    found = ModuleGraph(operations, graph(rows).edges).pruned()
    if pruned is None:
        assert found is None
    else:
        expected = graph(pruned).edges
        assert found == ModuleGraph(tuple(kept[: len(found.operations)]), expected)


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs", "widths"),
    [
        ("0100/0010/0001/0000", 8, 16, [8, 16, 16, 16]),
        ("0100/0010/0001/0000", 16, 8, [16, 8, 8, 8]),
        ("01/00", 1, 5, [1, 5]),
        ("01100/00010/00010/00001/00000", 8, 16, [8, 16, 16, 16, 16]),
        ("0110/0001/0001/0000", 8, 15, [8, 8, 7, 15]),
        ("01110/00001/00001/00001/00000", 8, 8, [8, 3, 3, 2, 8]),
        ("01110/00001/00001/00001/00000", 8, 15, [8, 5, 5, 5, 15]),
        ("01000/00110/00001/00001/00000", 8, 9, [8, 5, 5, 4, 9]),
        ("01010/00101/00010/00001/00000", 8, 15, [8, 8, 7, 7, 15]),
    ],
)
def test_channels_are_divided_as_the_released_tests_say(rows, inputs, outputs, widths):
    assert graph(rows).widths(inputs, outputs) == widths


def test_graphs_have_one_digest_exactly_if_they_are_isomorphic():
    """All pruned graphs of at most four vertices, by trying all orders of the inner vertices."""
    classes = {}
    for inner in range(3):
        pairs = [(s, t) for t in range(1, inner + 2) for s in range(t)]
        for kept, labels in product(
            product((0, 1), repeat=len(pairs)), product(OPERATIONS, repeat=inner)
        ):
            edges = frozenset(pair for pair, bit in zip(pairs, kept, strict=True) if bit)
            found = ModuleGraph(labels, edges).pruned()
            if found is None or len(found.operations) < inner:
                continue
            forms = []
            for order in permutations(range(1, inner + 1)):
                place = {0: 0, inner + 1: inner + 1, **dict(enumerate(order, 1))}
                moved = frozenset((place[s], place[t]) for s, t in edges)
                names = sorted(zip(order, labels, strict=True))
                forms.append((tuple(sorted(moved)), tuple(name for _, name in names)))
            classes.setdefault(min(forms), set()).add(found.digest())
    assert all(len(digests) == 1 for digests in classes.values())
    assert len(set.union(*classes.values())) == len(classes) == 1 + 6 + 84


def test_a_text_is_read_back_with_rows_apart_or_not_and_wrong_ones_are_refused():
    text = f"input {CONV1} {POOL} output 0110/0010/0001/0000"
    found = modules.read(text)
    assert found == graph("0110/0010/0001/0000", CONV1, POOL)
    assert modules.write(found) == text
    assert modules.read(text.replace("/", "")) == found
    assert modules.read(f"input,{CONV1},{POOL},output 0110001000010000") == found
    lists = f"['input', '{CONV1}', '{POOL}', 'output'] [[0,1,1,0],[0,0,1,0],[0,0,0,1],[0,0,0,0]]"
    assert modules.read(lists) == found
    assert all(map(modules.written, (text, lists)))
    for wrong, told in {
        f"input,{CONV1},output 010/001": "a matrix of 6 digits; give 3 rows of 3",
        f"input,{CONV1},output 010/001/100": "an edge from vertex 2 to 0",
        f"input,{CONV1},output 012/001/000": "3 rows of 3 zeros and ones",
        f"input,{','.join([POOL] * 6)},output {'0' * 64}": "at most 7",
        "output 01/00": "give the labels from input to output",
    }.items():
        with pytest.raises(ValueError, match=told):
            modules.read(wrong)
