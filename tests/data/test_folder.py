"""A user's own folders: layouts, modes, errors and the cache."""

import logging
import os
import pathlib
import pickle

import numpy
import pytest
import torch
from PIL import Image

from nasrun.data import folder
from nasrun.data.folder import ImageFolder, Unreadable, load_image, square

CPU = torch.device("cpu")


@pytest.fixture
def fill(paint, tmp_path):
    """Fill `part/<class>/` folders with noise; returns the root."""

    def filled(**counts):
        for part, count in counts.items():
            for name in ("ant", "bee"):
                for number in range(count):
                    paint(f"{part}/{name}/{number:03}.png")
        return tmp_path / "set"

    return filled


def sizes(dataset):
    return [len(dataset.split(part, device=CPU)) for part in ("train", "validation", "test")]


def test_train_and_test_folders_hold_validation_out_of_train(fill):
    assert sizes(ImageFolder(root=str(fill(train=8, test=3)), validation=0.25)) == [12, 4, 6]


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_val_folder_alone_is_the_test_part(fill, name):
    assert sizes(ImageFolder(root=str(fill(**{"train": 8, name: 3})))) == [8, 8, 6]


def test_a_val_folder_beside_a_test_folder_is_the_validation_part_as_given(fill, paint):
    root = fill(train=8, val=2, test=3)
    for name in ("ant", "bee"):
        for number in range(2):
            paint(f"val/{name}/{number:03}.png", colour=(77, 77, 77))
    dataset = ImageFolder(root=str(root))
    assert sizes(dataset) == [16, 4, 6]
    assert dataset.split("validation", device=CPU)._images.unique().tolist() == [77]
    with pytest.raises(ValueError, match=r"dataset.validation=0.5: .*=null would do"):
        ImageFolder(root=str(root), validation=0.5).check()


def test_class_folders_alone_hold_a_stratified_test_part_out(fill):
    root = fill(train=10)
    for dataset in (
        ImageFolder(root=str(root)),
        ImageFolder(root=str(root / "train")),
        ImageFolder(root=str(root), test=0.2, split_seed=9),
    ):
        assert sizes(dataset) == [8, 8, 4]
        assert dataset.split("test", device=CPU).labels.tolist().count(0) == 2
    first, last = (
        ImageFolder(root=str(root), split_seed=seed).split("test", device=CPU) for seed in (0, 9)
    )
    assert torch.equal(first._images, last._images)


def test_a_test_fraction_beside_a_test_folder_is_refused(fill):
    with pytest.raises(ValueError, match=r"dataset.test=0.3: .* dataset.test=null would do"):
        ImageFolder(root=str(fill(train=4, test=2)), test=0.3).check()


def test_a_test_folder_without_class_folders_has_no_labels_and_is_left_out(fill, paint):
    root = fill(train=8, val=3)
    paint("test/0.png")
    assert sizes(ImageFolder(root=str(root))) == [8, 8, 6]


def test_labels_follow_the_sorted_class_names(paint, tmp_path):
    for colour, name in enumerate(("zebra", "ant", "Bee")):
        for number in range(4):
            paint(f"{name}/{number}.png", colour=(colour,) * 3)
    dataset = ImageFolder(root=str(tmp_path / "set"), test=0.25, validation=0.4)
    assert dataset.facts().classes == ("Bee", "ant", "zebra")
    split = dataset.split("train", "validation", "test", device=CPU)
    assert [2 - label for label in split.labels.tolist()] == split._images[:, 0, 0, 0].tolist()


def test_grey_images_make_one_channel_and_one_coloured_image_makes_three(paint, tmp_path):
    for name in ("ant", "bee"):
        for number in range(5):
            paint(f"{name}/{number}.png", mode="L")
    root = str(tmp_path / "set")
    grey = ImageFolder(root=root)
    assert (grey.facts().channels, len(grey.facts().mean)) == (1, 1)
    paint("ant/9.png")
    assert ImageFolder(root=root).facts().channels == 3


def test_the_size_is_the_most_common_shorter_side_up_to_64(paint, tmp_path):
    for name in ("ant", "bee"):
        for number in range(5):
            paint(f"{name}/{number}.png", size=(20, 30) if number else (90, 90))
    root = str(tmp_path / "set")
    assert ImageFolder(root=root).facts().size == 20
    assert ImageFolder(root=root, size=8).facts().size == 8
    paint("ant/0.png", size=(100, 100))
    for name in ("ant", "bee"):
        for number in range(5):
            paint(f"{name}/{number}.png", size=(100, 200))
    assert ImageFolder(root=root).facts().size == 64


def test_mean_and_deviation_come_from_the_train_part_alone(fill, paint):
    root = fill(train=8, test=3)
    dataset = ImageFolder(root=str(root))
    before = dataset.facts()
    (images, _) = next(dataset.split("train", device=CPU).batches(100))
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    deviations = images.std((0, 2, 3), correction=0)
    torch.testing.assert_close(deviations, torch.ones(3), atol=1e-5, rtol=0)
    for number in range(3):
        paint(f"test/ant/{number:03}.png", colour=(255, 0, 0))
    assert ImageFolder(root=str(root)).facts() == before


def test_test_images_are_not_read_before_they_are_asked_for(fill):
    root = fill(train=4, test=2)
    broken = root / "test" / "ant" / "000.png"
    broken.write_bytes(b"not an image")
    dataset = ImageFolder(root=str(root))
    dataset.check()
    dataset.facts()
    dataset.split("train", "validation", device=CPU)
    with pytest.raises(ValueError, match=f"{broken} .*remove or replace it"):
        dataset.split("test", device=CPU)


def test_a_truncated_image_is_refused_by_its_path(fill):
    root = fill(train=4, test=2)
    broken = root / "train" / "bee" / "001.png"
    broken.write_bytes(broken.read_bytes()[:150])
    with pytest.raises(ValueError, match=f"{broken} .*remove or replace it"):
        ImageFolder(root=str(root)).split("train", device=CPU)


def test_the_check_decodes_nothing(fill, monkeypatch):
    root = fill(train=4, test=2)
    monkeypatch.setattr(folder, "open_image", lambda path: pytest.fail("opened"))
    ImageFolder(root=str(root)).check()


def test_an_empty_class_folder_is_refused_by_name(fill):
    root = fill(train=4, test=2)
    (root / "train" / "cow").mkdir()
    (root / "test" / "cow").mkdir()
    (root / "train" / "cow" / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"class folder .*train/cow has no images"):
        ImageFolder(root=str(root)).check()


def test_classes_that_differ_between_parts_are_named(fill, paint):
    root = fill(train=4, test=2)
    (root / "test" / "bee").rename(root / "test" / "wasp")
    with pytest.raises(ValueError, match="test lacks bee and has wasp"):
        ImageFolder(root=str(root)).check()


def test_a_missing_folder_is_refused_with_what_would_do(tmp_path):
    with pytest.raises(ValueError, match=r"dataset.root=.*nowhere: .* would do"):
        ImageFolder(root=str(tmp_path / "nowhere")).check()
    with pytest.raises(ValueError, match="0 class folders"):
        ImageFolder(root=str(tmp_path)).check()


def test_a_test_folder_without_a_train_folder_is_refused(fill):
    with pytest.raises(ValueError, match="no train folder beside it"):
        ImageFolder(root=str(fill(test=3))).check()


def test_images_in_a_part_without_class_folders_are_refused_with_how_to_sort_them(fill, paint):
    root = fill(train=4)
    paint("val/ILSVRC2012_val_00000001.png")
    with pytest.raises(ValueError, match=r"val has no class folders; .*valprep.sh"):
        ImageFolder(root=str(root)).check()


def test_other_and_hidden_files_are_no_images(fill):
    root = fill(train=4, test=2)
    (root / "train" / "ant" / "labels.csv").write_text("1")
    (root / "train" / "ant" / "._000.png").write_bytes(b"macOS")
    (root / ".git").mkdir()
    assert sizes(ImageFolder(root=str(root), validation=0.25)) == [6, 2, 4]


def test_nested_images_belong_to_their_class(fill):
    root = fill(train=4, test=2)
    (root / "train" / "ant" / "images").mkdir()
    (root / "train" / "ant" / "000.png").rename(root / "train" / "ant" / "images" / "000.PNG")
    assert sizes(ImageFolder(root=str(root), validation=0.25)) == [6, 2, 4]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5])
def test_a_test_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ValueError, match=rf"dataset.test={fraction}: .* would do"):
        ImageFolder(root="anywhere", test=fraction)


@pytest.mark.parametrize(
    ("mode", "colour", "ending"),
    [
        ("L", 200, "png"),
        ("RGB", (200, 200, 200), "jpg"),
        ("RGBA", (200, 200, 200, 128), "png"),
        ("P", 200, "png"),
        ("LA", (200, 255), "png"),
        ("CMYK", (0, 0, 0, 55), "jpg"),
        ("I;16", 200 * 257, "png"),
        ("1", 1, "png"),
    ],
)
def test_images_of_every_mode_are_read(paint, mode, colour, ending):
    path = paint(f"one.{ending}", colour="#c8c8c8" if mode == "P" else colour, mode=mode)
    expected = 255 if mode == "1" else 200
    for channels in (1, 3):
        pixels = square(load_image(path, channels), 12)
        assert pixels.shape == (channels, 12, 12)
        assert (pixels.int() - expected).abs().max() <= 2


def test_the_shorter_side_is_scaled_and_the_centre_kept():
    wide = numpy.zeros((20, 40, 3), dtype=numpy.uint8)
    wide[:, 6:34] = 250  # the filter reaches a little out of the centre
    assert square(Image.fromarray(wide), 10).unique().tolist() == [250]
    assert square(Image.fromarray(wide.transpose(1, 0, 2).copy()), 10).unique().tolist() == [250]


def test_an_image_of_the_asked_size_keeps_its_bytes(paint):
    path = paint("one.png")
    original = torch.from_numpy(numpy.array(Image.open(path))).permute(2, 0, 1)
    assert torch.equal(square(load_image(path, 3), 12), original)


def test_decoded_images_come_from_the_cache_until_a_file_changes(fill, cache, monkeypatch):
    root = fill(train=4, test=2)
    first = ImageFolder(root=str(root)).split("train", device=CPU)
    assert len(list(cache.rglob("*.safetensors"))) == 1
    with monkeypatch.context() as patched:
        patched.setattr(folder, "_decoded", lambda *_: pytest.fail("decoded again"))
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
        for name in ("ant/0.bmp", "ant/1.bmp", "bee/0.bmp", "bee/1.bmp"):
            for part in ("train", "test"):
                os.utime(paint(f"{part}/{name}", (grey, grey, grey)), (1, 1))
        root = (tmp_path / "set").rename(tmp_path / f"set{grey}")
        images = ImageFolder(root=str(root)).split("train", device=CPU)._images
        found.append(images.unique().tolist())
    assert found == [[10], [200]]


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
        assert sizes(ImageFolder(root=str(fill(train=4, test=2)))) == [4, 4, 4]
    assert f"NASRUN_CACHE={tmp_path / 'file'}" in caplog.text


def test_tiny_imagenet_is_read_with_val_as_its_test_part(unpack):
    wanted = {}

    def few(name):
        part, wnid, _ = name.removeprefix("./").split("/")
        key = (part, wnid)
        if len({k[1] for k in {*wanted, key}}) > 3:
            return False
        wanted[key] = wanted.get(key, 0) + 1
        return wanted[key] <= 5

    root = unpack("tiny-imagenet-60.tar.xz", few, 10**9)
    facts = ImageFolder(root=str(root)).facts()
    assert (facts.num_classes, facts.channels, facts.size) == (3, 3, 64)
    assert sizes(ImageFolder(root=str(root), validation=0.2)) == [12, 3, 15]


def test_a_link_to_nowhere_is_refused_by_its_path(fill):
    root = fill(train=4, test=2)
    link = root / "train" / "bee" / "link.png"
    link.symlink_to(root / "gone.png")
    with pytest.raises(ValueError, match=f"{link} .*remove or replace it"):
        ImageFolder(root=str(root), size=12).split("train", device=CPU)


def test_what_a_worker_finds_unreadable_reaches_the_process_that_asked():
    error = Unreadable(pathlib.Path("a/b.png"), "truncated")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert "a/b.png (truncated)" in str(again)
