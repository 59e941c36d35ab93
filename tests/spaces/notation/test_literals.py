"""Values in foreign texts are parsed as Python would, and nothing else is."""

import ast
import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.spaces.notation.literals import NotRead, WrittenCall, named, only, uncommented, value_at

letters = st.text("abcdefgh_3~|+@ ", max_size=8)
leaves = st.one_of(
    letters, st.none(), st.booleans(), st.integers(-99, 99), st.floats(-9, 9, allow_nan=False)
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(letters, inner, max_size=3),
    ),
    max_leaves=8,
)
VALUE = re.compile(r"(?<==) *")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(values, st.sampled_from(["", "  ", "\n", " # a comment\n"]))
def test_a_literal_is_read_as_python_reads_it(value, after):
    text = f"{value!r}{after}"
    found, end = value_at(uncommented(text), 0)
    assert found == value == ast.literal_eval(text.strip())
    assert text[:end] == repr(value)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text("[](){}'\",:=#\n Genotyp_rang3.-e", max_size=40))
def test_any_text_is_read_or_refused(text):
    with suppress(NotRead):
        value_at(uncommented(text), 0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("range(2, 6)", [2, 3, 4, 5]),
        ("list(range(4, 6))", [4, 5]),
        ("np.float32(0.25)", 0.25),
        ("[np.str_('a'), np.int64(3), tensor(0.5)]", ["a", 3, 0.5]),
        ("('a')", "a"),
        ("('a',)", ("a",)),
        ('{"a": true, "b": null}', {"a": True, "b": None}),
        ("gt.Genotype(1, b=[2])", WrittenCall("gt.Genotype", (1,), {"b": [2]})),
    ],
)
def test_calls_that_make_numbers_and_lists_are_made_and_others_kept(text, value):
    assert value_at(text, 0)[0] == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1, 2",
        "[1 2]",
        "{1: 2}",
        "f(a=1, a=2)",
        "lambda: 1",
        "a.b",
        "[] * 9",
        "range(0, 10**9)",
        "range(99999999)",
        "range(1, 2, 0)",
        "9" * 5000,
        "[" * 99999,
        "f(" * 99999,
        "{'a':" * 99999,
        "__import__('os').system('touch no')",
    ],
)
def test_what_is_no_literal_is_refused_at_once(text):
    if text.endswith("* 9") or text.startswith("__"):  # what comes after the value is not looked at
        text = f"[{text}]"
    with pytest.raises(NotRead):
        value_at(text, 0)


def test_comments_and_docstrings_count_only_where_nothing_else_is_there():
    mark = re.compile(r"V\(")
    text = '"""V(1)"""\n# V(2)\na = V(3)  # it\'s V(4)\nb = V(3)'
    assert only(text, mark) == WrittenCall("V", (3,))
    assert only("# V(2)", mark) == WrittenCall("V", (2,))
    with pytest.raises(ValueError, match=r"found 2 architectures; give genotype=FILE:NAME.*b"):
        only("a = V(3)\nb = V(4)", mark)
    with pytest.raises(ValueError, match=r"found 2 architectures; leave only one"):
        only("1: V(3)\n2: V(4)", mark)
    assert only("{'best': V(3, 4), 'epoch': 5}", re.compile(r"V\(|\A\{")) == WrittenCall(
        "V", (3, 4)
    )
    assert only("{'best': V(3, 4) 'epoch': 5}", re.compile(r"V\(|\A\{")) == WrittenCall("V", (3, 4))
    assert only("class V(Tuple):\n  pass\na = V(3)", mark) == WrittenCall("V", (3,))


def test_a_name_is_the_last_value_that_it_is_given_and_an_alias_is_followed():
    text = "A = V([1, 2],\n  b=3)\nA_2 = W()\nBEST = A\nLOOP = LOOP\nA = V(9)\n# A = V(8)"
    assert named(text, "A") == "V(9)"
    assert named(text, "A_2") == "W()"
    assert named("A: Genotype = V(7)\nB : gt.Genotype=A", "B") == "V(7)"
    assert named(text, "BEST") == "V(9)"
    with pytest.raises(ValueError, match=r"nothing in it is named B; use one of A, A_2, BEST"):
        named(text, "B")
    with pytest.raises(ValueError, match="LOOP"):
        named(text, "LOOP")
