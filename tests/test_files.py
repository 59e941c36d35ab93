"""Files are complete or absent, no link is followed, and damaged files are named."""

import errno
import hashlib
import io
import json
import os
from itertools import pairwise

import pytest
import torch

from nasrun import files
from nasrun.files import (
    append_line,
    digest_of,
    read_json,
    read_lines,
    read_yaml,
    remove_drafts,
    write_json,
    write_text,
    write_whole,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_the_place_of_the_one_before_and_its_digest_is_known(tmp_path):
    path = tmp_path / "state"
    for content in (b"first", b"second"):
        digest = write_whole(path, lambda file, content=content: file.write(content))
        assert path.read_bytes() == content
        assert digest == digest_of(path) == hashlib.sha256(content).hexdigest()
    assert names(tmp_path) == ["state"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path, number):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(number, os.strerror(number))

    path = tmp_path / "state.pt"
    write_text(path, "before")

    def save(file):
        file.file = Full()  # what is below torch
        torch.save({"weights": torch.zeros(1000)}, file)

    with pytest.raises(ValueError, match=r"state\.pt: .*; free some and repeat the command"):
        write_whole(path, save)
    assert path.read_text() == "before"
    assert names(tmp_path) == ["state.pt"]


def test_an_interruption_leaves_what_was_there(tmp_path):
    path = tmp_path / "state"
    write_text(path, "before")

    def stop(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, stop)
    assert (path.read_text(), names(tmp_path)) == ("before", ["state"])


def test_no_link_is_followed(tmp_path):
    other, folder = tmp_path / "other", tmp_path / "run"
    folder.mkdir()
    other.write_text("mine")
    for name in ("report.json", "report.json.tmp", "metrics.jsonl"):
        (folder / name).symlink_to(other)
    write_json(folder / "report.json", {"a": 1})
    with pytest.raises(OSError, match="symbolic link"):
        append_line(folder / "metrics.jsonl", "{}")
    assert other.read_text() == "mine"
    assert not (folder / "report.json").is_symlink()


def test_leftovers_of_unfinished_writes_are_removed_links_left_alone(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.part").touch()
    run = tmp_path / "run"
    (run / "select").mkdir(parents=True)
    (run / "away").symlink_to(outside)
    draft = f".state.pt.{'0a' * 16}.part"
    kept = ["cells.png", "notes.tmp", "video.part"]
    for name in (draft, "state.tmp", "select/cells.png.tmp", *(f"select/{name}" for name in kept)):
        (run / name).touch()
    remove_drafts(run)
    assert names(run) == ["away", "select"]
    assert names(run / "select") == kept
    assert names(outside) == ["x.part"]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in pairwise("abcdefgh")
)


@pytest.mark.parametrize(
    ("read", "text", "told"),
    [
        (read_json, "{", "unreadable"),
        (read_json, '{"a":' * 100_000, "nested too deep"),
        (read_json, '{"a":' * 300 + "1" + "}" * 300, "nested too deep"),
        (read_yaml, '{"a":' * 300 + "1" + "}" * 300, "nested too deep"),
        (read_json, "[]", "has no a"),
        (read_json, '{"b": 1}', "has no a"),
        (read_yaml, "a: [", "unreadable"),
        (read_yaml, "[" * 5000, "nested too deep"),
        (read_yaml, BOMB, "more than 1,000,000 values"),
    ],
)
def test_damage_is_told_by_the_files_name(tmp_path, read, text, told):
    path = tmp_path / "result"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"{path}: .*{told}"):
        read(path, "a")


@pytest.mark.parametrize("text", ['{"a": 1}\n{"a"\n', "3\n", "[1]\n", "\x00\n"])
def test_a_damaged_line_is_told_by_the_files_name(tmp_path, text):
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=str(path)):
        read_lines(path)


def test_a_log_may_have_many_lines_but_none_with_too_many_values(tmp_path, monkeypatch):
    monkeypatch.setattr("nasrun.files.MOST", 5)
    path = tmp_path / "scores.jsonl"
    path.write_text('{"a": [1, 2]}\n' * 10)
    assert len(read_lines(path)) == 10
    path.write_text('{"a": 1}\n{"a": [1, 2, 3, 4]}\n')
    with pytest.raises(ValueError, match="more than 5 values"):
        read_lines(path)


def test_a_log_may_be_large_but_none_of_its_lines(tmp_path, monkeypatch):
    monkeypatch.setattr("nasrun.files.LARGEST", 2**20)
    path = tmp_path / "measured.jsonl"
    path.write_text(f'{{"a": "{"x" * 999}"}}\n' * 1100)
    assert len(read_lines(path)) == 1100
    for end in ("", '"}\n'):
        path.write_text('{"a": "' + "x" * 2**20 + end)
        with pytest.raises(ValueError, match=rf"{path}: damaged, a line has more than 1 MiB"):
            read_lines(path)


def test_a_large_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST", 2**20)
    path = tmp_path / "report.json"
    path.write_text("[" + "1," * 2**20 + "1]")
    with pytest.raises(ValueError, match=rf"{path}: .*more than 1 MiB"):
        read_json(path)


def test_a_line_that_does_not_fit_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    append_line(path, "first")
    write = os.write
    monkeypatch.setattr(files.os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    with pytest.raises(ValueError, match=r"metrics\.jsonl: no space .* free some"):
        append_line(path, "second")
    assert path.read_text() == "first\n"


def test_lines_that_two_processes_append_are_all_kept(tmp_path):
    if not hasattr(os, "fork"):
        pytest.skip("this system copies no processes")
    path = tmp_path / "measured.jsonl"
    other = os.fork()
    for number in range(200):
        append_line(path, json.dumps({"of": bool(other), "number": number}))
    if not other:
        os._exit(0)
    assert os.waitpid(other, 0)[1] == 0
    rows = read_lines(path)
    for of in (True, False):
        assert [row["number"] for row in rows if row["of"] == of] == [*range(200)]


def test_an_error_of_another_kind_is_not_told_as_one_of_the_disk(tmp_path):
    def fail(file):
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError:
            raise ValueError("another") from None

    with pytest.raises(ValueError, match="another"):
        write_whole(tmp_path / "x", fail)


@pytest.mark.parametrize("end", ["", "x", "x" * 9999], ids=len)
def test_a_line_that_lacks_its_end_is_none_and_the_next_takes_its_place(tmp_path, end):
    path = tmp_path / "jobs.jsonl"
    for lines in ([], [{"job": 0}, {"text": "y" * 9000}]):
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines) + end)
        assert read_lines(path) == lines
        append_line(path, '{"job": 2}')
        assert read_lines(path) == [*lines, {"job": 2}]
