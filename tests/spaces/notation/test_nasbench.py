"""NAS-Bench-201's strings, structures, lists and numbers."""

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.spaces.nasbench201 import NasBench201
from nasrun.spaces.notation.nasbench import CELLS, EDGES, OPERATIONS, numbered, read

SPACE = NasBench201(operations=OPERATIONS, channels=4, layers=3)
TABLE = Path(__file__).parents[4] / "shared" / "data" / "nasbench201-cifar10.csv"
chosen = st.tuples(*[st.sampled_from(OPERATIONS)] * 6)


def text_of(choices):
    a, b, c, d, e, f = choices
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(chosen)
def test_a_cell_is_the_same_in_every_form(choices):
    string, edges = text_of(choices), dict(zip(EDGES, choices, strict=True))
    nodes = [tuple((edges[n, source], source) for source in range(n)) for n in (1, 2, 3)]
    forms = {
        "plain": string,
        "spaced": string.replace("|", " | "),
        "folded": string.replace("+", "+\n  "),
        "quoted": f"arch: '{string}',",
        "structure": f"Structure(4 nodes with {string})",
        "logged": f"[2020] last-geno is Structure(4 nodes with {string}) | best: {string}\n",
        "list": str(nodes),
        "code": f"ResNet_CODE = Structure(\n  {nodes} # node-3\n  )",
    }
    for name, text in forms.items():
        assert read(text) == edges, name
        assert SPACE.render(SPACE.parse(text)) == string, name


# The released code asserts the numbers 0, 9 and 123, and names 9930 in a comment.


@pytest.mark.parametrize(
    ("index", "choices"),
    [
        (0, "avg_pool_3x3 nor_conv_1x1 skip_connect nor_conv_1x1 skip_connect skip_connect"),
        (9, "avg_pool_3x3 none none skip_connect none nor_conv_3x3"),
        (123, "avg_pool_3x3 avg_pool_3x3 nor_conv_1x1 none avg_pool_3x3 nor_conv_3x3"),
        (9930, "nor_conv_3x3 nor_conv_3x3 nor_conv_3x3 skip_connect nor_conv_3x3 nor_conv_3x3"),
    ],
)
def test_a_number_is_the_cell_that_nats_bench_gives_it(index, choices):
    for text in (f" {index}\n", f"{index:06d}", f"{index:030d}"):
        assert SPACE.render(SPACE.parse(text)) == text_of(choices.split())


def test_every_number_is_another_cell():
    assert CELLS == 15_625
    seen = {tuple(numbered(index).values()) for index in range(0, CELLS, 125)}
    assert len(seen) == 125


@pytest.mark.skipif(not TABLE.exists(), reason=f"{TABLE} is not there")
def test_the_numbers_are_those_of_the_benchmark():
    with TABLE.open(newline="") as file:
        rows = {row["index"]: row["architecture"] for row in csv.DictReader(file)}
    for index in range(0, CELLS, 625):
        assert SPACE.render(SPACE.parse(str(index))) == rows[str(index)]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("15625", "numbered 0 to 15624"),
        ("9" * 5000, "numbered 0 to 15624"),
        ("(4, 3, 2, 1, 0, 2)", r"different orders; give \|op~0"),
        ("[4 3 2 1 0 2]", r"different orders; give \|op~0"),
        ("64:64:32:8:8", r"expected \|op~0"),
        (
            f"{text_of(OPERATIONS + OPERATIONS[:1])} {text_of(OPERATIONS[:1] * 6)}",
            "found 2 cells",
        ),
        (
            "Structure([(('none', 0),), (('none', 0), ('none', 1))])",
            "no edge cell/3-0: give none~0 in node 3",
        ),
        ("Structure([(('none', 0), ('none', 0))])", "cell/1-0 twice"),
        ("Structure([(('none', 1),)])", "none~1' of node 1"),
        ("Structure([('none', 0)])", r"node 1=\('none', 0\)"),
        ("Structure(3)", "node 1=3"),
        ("[" * 9999, "nested"),
    ],
)
def test_what_is_no_cell_is_refused_in_one_line(text, named):
    with pytest.raises(ValueError, match=named) as caught:
        SPACE.parse(text)
    assert len(str(caught.value).splitlines()) == 1
