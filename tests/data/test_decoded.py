"""Caches of decoded images and of checks."""

import logging
import os

import pytest
import torch
from PIL import Image

from nasrun.data import decoded
from nasrun.data.folder import ImageFolder

CPU = torch.device("cpu")


def test_decoded_images_come_from_the_cache_until_a_file_changes(fill, cache, monkeypatch):
    root = fill(train=4, test=2)
    first = ImageFolder(root=str(root)).split("train", device=CPU)
    assert len(list(cache.rglob("*.safetensors"))) == 1
    with monkeypatch.context() as patched:
        patched.setattr(decoded, "_decoded", lambda *_: pytest.fail("decoded again"))
        again = ImageFolder(root=str(root)).split("train", device=CPU)
        assert torch.equal(first._images, again._images)
        ImageFolder(root=str(root), validation=0.25, split_seed=3).split("train", device=CPU)
    path = root / "train" / "ant" / "001.png"
    Image.new("RGB", (12, 12), (9, 9, 9)).save(path)
    changed = ImageFolder(root=str(root)).split("train", "validation", device=CPU)._images
    assert (changed == 9).all(3).all(2).all(1).sum() == 1
    assert len(list(cache.rglob("*.safetensors"))) == 2
    assert not list(cache.rglob("*.tmp"))


def test_a_changed_time_alone_decodes_again(fill, cache):
    root = fill(train=4, test=2)
    ImageFolder(root=str(root)).split("train", device=CPU)
    os.utime(root / "train" / "ant" / "001.png", (1, 1))
    ImageFolder(root=str(root)).split("train", device=CPU)
    assert len(list(cache.rglob("*.safetensors"))) == 2


def test_two_sets_whose_files_look_alike_do_not_share_a_cache(paint, cache, tmp_path):
    found = []
    for grey in (10, 200):  # of equal names, lengths and times
        for number, name in enumerate(("ant/0.bmp", "ant/1.bmp", "bee/0.bmp", "bee/1.bmp")):
            for part in ("train", "test"):
                os.utime(paint(f"{part}/{name}", (grey + 20 * (number % 2),) * 3), (1, 1))
        root = (tmp_path / "set").rename(tmp_path / f"set{grey}")
        split = ImageFolder(root=str(root)).split("train", "validation", device=CPU)
        found.append(split._images.unique().tolist())
    assert found == [[10, 30], [200, 220]]


def test_decoded_images_are_on_the_disk_before_they_get_their_name(fill, cache, monkeypatch):
    flushed = set()
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (flushed.add(os.fstat(fd).st_ino), fsync(fd)))
    ImageFolder(root=str(fill(train=4, test=2))).split("train", device=CPU)
    (kept,) = cache.rglob("*.safetensors")
    assert kept.stat().st_ino in flushed


def test_a_damaged_cache_is_decoded_anew(fill, cache, caplog):
    root = fill(train=4, test=2)
    first = ImageFolder(root=str(root)).split("train", device=CPU)
    (kept,) = cache.rglob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:50])
    again = ImageFolder(root=str(root)).split("train", device=CPU)
    assert torch.equal(first._images, again._images)
    assert "damaged" in caplog.text
    assert kept.stat().st_size > 50


def test_without_a_cache_to_write_to_it_works_and_warns(fill, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("NASRUN_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        dataset = ImageFolder(root=str(fill(train=4, test=2)))
        assert len(dataset.split("train", "validation", device=CPU)) == 8
    assert f"NASRUN_CACHE={tmp_path / 'file'}" in caplog.text


def test_a_cache_that_could_not_be_written_leaves_nothing(fill, cache, monkeypatch, caplog):
    def fill_the_disk(tensors, path):
        path.write_bytes(b"half of it")
        raise OSError(28, "no space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fill_the_disk)
    ImageFolder(root=str(fill(train=4, test=2))).split("train", device=CPU)
    assert "cannot keep the decoded images" in caplog.text
    assert not [*cache.rglob("*.tmp")]
