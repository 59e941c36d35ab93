"""A damaged state is detected, whichever bit is flipped."""

import json

import pytest
import torch

from nasrun.runs.state import DIGESTS, PREVIOUS, STATE, read_state, write_state


def state(round):
    return {"round": round, "stage": {"w": torch.arange(50.0)}, "random": {}, "seconds": 0.0}


@pytest.fixture
def folder(tmp_path):
    for round in (1, 2):
        write_state(tmp_path, state(round), {}, {})
    return tmp_path


def flipped(path, place):
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << place % 8
    path.write_bytes(content)


def test_a_single_flipped_bit_falls_back_to_the_state_before_with_a_warning(folder):
    sound = (folder / STATE).read_bytes()
    for place in range(0, len(sound), 41):
        flipped(folder / STATE, place)
        with pytest.warns(UserWarning, match="damaged state"):
            assert read_state(folder, repair=True)["round"] == 1, place
        assert not (folder / STATE).exists()
        (folder / STATE).write_bytes(sound)
    assert read_state(folder, repair=True)["round"] == 2


def test_without_digests_the_checksums_within_are_used(folder):
    (folder / DIGESTS).unlink()
    assert read_state(folder, repair=True)["round"] == 2
    place = (folder / STATE).read_bytes().index(torch.arange(50.0).numpy().tobytes()[40:80])
    flipped(folder / STATE, place)
    with pytest.warns(UserWarning, match="damaged state"):
        assert read_state(folder, repair=True)["round"] == 1


def test_damaged_digests_block_no_sound_state(folder):
    content = (folder / DIGESTS).read_text()
    digest = json.loads(content)["sha256"][0]
    for damaged in ("", "{", content.replace(digest, digest[::-1]), '{"sha256": 3, "check": 3}'):
        (folder / DIGESTS).write_text(damaged)
        assert read_state(folder, repair=True)["round"] == 2


def test_a_stop_between_the_digests_and_the_state_leaves_a_known_state(folder, monkeypatch):
    def stop(path, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", stop)
        for _ in range(4):
            with pytest.raises(KeyboardInterrupt):
                write_state(folder, state(3), {}, {})
    assert read_state(folder, repair=True)["round"] == 2
    assert sorted(path.name for path in folder.iterdir()) == sorted([DIGESTS, PREVIOUS, STATE])


@pytest.mark.parametrize(
    "error",
    [
        PermissionError("no"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_state_that_cannot_be_read_now_is_not_taken_for_a_damaged_one(folder, monkeypatch, error):
    def fail(*args, **words):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("torch.load", fail)
        with pytest.raises((PermissionError, MemoryError)):
            read_state(folder, repair=True)
    assert read_state(folder, repair=True)["round"] == 2


def test_two_damaged_states_are_an_error_that_names_both(folder):
    for name in (STATE, PREVIOUS):
        flipped(folder / name, 100)
    with pytest.raises(ValueError, match=f"{STATE}.*{PREVIOUS}.*delete it to start again"):
        read_state(folder, repair=True)


def test_a_save_after_a_fallback_keeps_the_sound_state(folder):
    flipped(folder / STATE, 100)
    with pytest.warns(UserWarning, match="damaged state"):
        read_state(folder, repair=True)
    write_state(folder, state(2), {}, {})
    flipped(folder / STATE, 100)
    with pytest.warns(UserWarning, match="damaged state"):
        assert read_state(folder, repair=True)["round"] == 1
