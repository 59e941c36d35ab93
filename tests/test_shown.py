"""Names from outside, as a terminal may print them."""

import os

from hypothesis import given
from hypothesis import strategies as st

from nasrun.shown import shown


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
