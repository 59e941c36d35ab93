"""`nasrun predict`: the classes of files, as the run's own test would have them."""

import csv
import io
import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from nasrun.data.images import Digits


@pytest.fixture
def pictures(finished):
    """The test images of the run as files in folders named by their class."""
    stored = Digits().stored(test=True)
    images = stored.pixels(torch.arange(len(stored.labels)))
    for number, (image, label) in enumerate(zip(images, stored.labels.tolist(), strict=True)):
        path = Path(f"pictures/{label}/{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path)
    return len(images)


def test_files_of_the_test_part_get_the_test_accuracy(nasrun, finished, pictures):
    answer = nasrun("predict", finished, "pictures", "format=csv", "top=1")
    assert answer.status == 0, answer.err
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert len(rows) == pictures
    right = sum(row["class"] == Path(row["image"]).parent.name for row in rows)
    result = json.loads((finished / "retrain/magnitude/result.json").read_text())
    assert right / pictures == pytest.approx(result["test_accuracy"])
    assert all(0 < float(row["probability"]) <= 1 and row["rank"] == "1" for row in rows)


def test_probabilities_are_of_all_classes_and_fall(nasrun, finished, pictures):
    answer = nasrun("predict", finished, "pictures/3", "top=10", "format=json")
    records = json.loads(answer.out)
    assert records
    for record in records:
        shares = [row["probability"] for row in record["classes"]]
        assert sum(shares) == pytest.approx(1.0, abs=1e-5)
        assert shares == sorted(shares, reverse=True)
        assert {row["class"] for row in record["classes"]} == set("0123456789")


def test_a_table_has_a_row_per_image_and_a_colour_picture_is_read_in_grey(nasrun, finished):
    for name in ("a=b.png", "other.jpg"):
        Image.new("RGB", (30, 20), (200, 30, 30)).save(name)
    answer = nasrun("predict", finished, "a=b.png", "other.jpg", "other.jpg", "top=2")
    assert answer.status == 0, answer.err
    rows = [line.split("│")[1:-1] for line in answer.out.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in rows] == ["a=b.png", "other.jpg"]
    assert all(row[2].strip().endswith("%") and row[3].count("%") == 1 for row in rows)


def test_wrong_words_are_refused_and_all_broken_files_are_named(nasrun, finished):
    Path("empty").mkdir()
    Image.effect_noise((40, 40), 50).save("good.png")
    Path("text.png").write_text("no image")
    Path("cut.png").write_bytes(Path("good.png").read_bytes()[:500])
    os.mkfifo("pipe.png")
    for words, told in {
        f"{finished} good.png pipe.png": "pipe.png: is a pipe or a device; give image files",
        f"{finished}": "predict: give the folder of a run, then images",
        f"{finished} nowhere.png": "nowhere.png: there is no such file or folder",
        f"{finished} empty": "empty: has no images; name a folder",
        "nowhere good.png": "run=nowhere: no run there",
        f"{finished} good.png top=0": "top=0: use 1 or more",
        f"{finished} good.png top=11": "top=11: the network knows 10 classes; use 10 or fewer",
        f"{finished} good.png format=xml": "format=xml: use table, json or csv",
        f"{finished} good.png branch=nope": "branch=nope: no such training",
    }.items():
        assert told in nasrun("predict", *words.split()).refusal
    refusal = nasrun("predict", finished, "good.png", "text.png", "cut.png").refusal
    assert "text.png (" in refusal
    assert "cut.png (" in refusal
    assert "good.png" not in refusal
