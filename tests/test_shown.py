"""Names from outside, as a terminal may print them."""

import os

from hypothesis import given
from hypothesis import strategies as st

from nasrun.shown import shown, some


def test_what_is_printed_stays_and_what_a_terminal_obeys_is_spelled_out():
    for text in ("a b.png", "Ärger", "ねこ", "a\u3000b", "😀"):
        assert shown(text) == text
    assert shown("\x1b[2J\n\t\u202e") == "\\x1b[2J\\n\\t\\u202e"
    assert shown(os.fsdecode(b"caf\xe9.png")) == "caf\\xe9.png"


@given(st.binary(max_size=40))
def test_any_file_name_can_be_printed(name):
    text = shown(os.fsdecode(name))
    text.encode()
    assert text == shown(text)
    assert not any(ord(char) < 32 or ord(char) == 127 for char in text)


def test_of_many_names_the_first_are_shown_and_the_others_counted():
    assert some(["a", "b", "c"], 2) == "a, b and 1 more"
    assert some(["a", "b\n"], 2, "; ") == "a; b\\n"
