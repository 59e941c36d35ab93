"""`nasrun pack`: its words; `tests/data/test_packing.py` looks at the shards."""

from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def images(here):
    for part in ("train", "test"):
        for name in ("ant", "bee"):
            for number in range(3):
                path = Path(f"set/{part}/{name}/{number}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (20, 30), (40 * number, 9, 9)).save(path)


def test_a_folder_is_packed_and_the_same_command_changes_nothing(nasrun, images):
    for _ in range(2):
        answer = nasrun("pack", "set", "out=packed", "images=4")
        assert answer.status == 0, answer.err
        assert answer.out == "packed: 12 images in 4 shards of 0 MiB in all\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["set"], "pack: give one folder of images, and out=FOLDER"),
        (["nowhere", "out=packed"], "nowhere: there is no such folder"),
        (["set", "out=packed", "images=0"], "images=0: use 1 or more"),
        (["set", "out=packed", "side=small"], "side=small: expected a whole number"),
        (["set", "out=packed", "quality=90"], "add side=PIXELS"),
        (["set", "out=packed", "side=9", "quality=101"], "quality=101: use 100 or less"),
        (["set", "out=set/packed"], "out=set/packed: it lies in the folder that is packed"),
        (["set", "out=packed", "shards=3"], "shards: unknown key"),
    ],
)
def test_wrong_words_are_one_line_and_leave_nothing(nasrun, images, words, told):
    answer = nasrun("pack", *words)
    assert answer.status == 2 and told in answer.err and answer.err.count("\n") == 1
    assert not Path("packed").exists() and not Path("set/packed").exists()
