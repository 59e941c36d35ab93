"""The contents of a set, and the differences of two sets."""

import gzip

import pytest

from nasrun.data.contents import Contents

BEFORE = Contents({"train/a/1.png": 10, "train/a/2.png": 20, "test/a/3.png": 30})


def test_the_digest_follows_names_and_sizes_in_any_order():
    assert Contents(dict(reversed(BEFORE.files.items()))).digest == BEFORE.digest
    for other in (
        {"train/a/1.png": 11, "train/a/2.png": 20, "test/a/3.png": 30},
        {"train/b/1.png": 10, "train/a/2.png": 20, "test/a/3.png": 30},
        {"train/a/2.png": 20, "test/a/3.png": 30},
        {},
    ):
        assert Contents(other).digest != BEFORE.digest


def test_a_difference_names_what_came_what_went_and_what_changed():
    assert BEFORE.changes(BEFORE) == ""
    now = Contents({"train/a/1.png": 11, "test/a/3.png": 30, "test/a/\x1b.png": 1})
    told = "1 added (test/a/\\x1b.png); 1 removed (train/a/2.png); 1 changed (train/a/1.png)"
    assert BEFORE.changes(now) == told
    many = Contents({**BEFORE.files, **{f"train/b/{number}.png": 1 for number in range(9)}})
    names = "train/b/0.png, train/b/1.png, train/b/2.png and 6 more"
    assert BEFORE.changes(many) == f"9 added ({names})"
    assert many.changes(BEFORE) == f"9 removed ({names})"


def test_what_is_written_is_read_and_the_same_bytes_each_time(tmp_path):
    strange = Contents({'a\n"b\x1b/ä.png': 3, **BEFORE.files})
    path = tmp_path / "contents.json.gz"
    path.write_bytes(strange.to_bytes())
    assert Contents.read(path) == strange
    assert Contents(dict(reversed(strange.files.items()))).to_bytes() == strange.to_bytes()


def test_damaged_contents_are_refused_by_the_name_of_the_file(tmp_path):
    path = tmp_path / "contents.json.gz"
    good = BEFORE.to_bytes()
    for content in (b"", good[:20], good[:15] + b"xx" + good[17:], gzip.compress(b"[1]")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path}: unreadable"):
            Contents.read(path)
