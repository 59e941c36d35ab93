"""A packed folder: the same images in the same parts, whatever interrupts the packing."""

import io
import tarfile

import numpy
import pytest
import torch
from PIL import ExifTags, Image

from nasrun.data.augment import Augment
from nasrun.data.decode import Broken
from nasrun.data.folder import ImageFolder
from nasrun.data.imagenet import ImageNet
from nasrun.data.layout import read_layout
from nasrun.data.packing import Packing, pack
from nasrun.data.shards import INDEX, Index

CPU = torch.device("cpu")
PARTS = ("train", "validation", "test")
KEPT = Packing(images=5, side=None, quality=95)


def silent(items, text, total):
    return items


@pytest.fixture
def root(paint, tmp_path):
    for part, count in (("train", 6), ("val", 2)):
        for wnid in ("n01", "n02"):
            for number in range(count):
                ending = ("jpg", "png")[number % 2]
                paint(f"{part}/{wnid}/{number}.v1.{ending}", size=(30 + 7 * number, 50 - number))
    return tmp_path / "set"


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"}


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_shards_are_the_folder_to_every_data_set(root, tmp_path):
    pack(str(root), tmp_path / "packed", KEPT, silent)
    for kind, settings in (
        (ImageNet, {"size": 24, "resize": 28, "workers": 0, "validation": 0.25}),
        (ImageFolder, {"validation": 0.25, "size": 16}),
    ):
        loose, packed = (kind(root=str(place), **settings) for place in (root, tmp_path / "packed"))
        assert packed.contents().digest == loose.contents().digest
        packed.check(), packed.look(silent)
        for part in PARTS:
            for augment in (None, Augment(resized_crop=(0.1, 1.0), jitter=0.4)):
                batches = []
                for dataset in (loose, packed):
                    torch.manual_seed(3)
                    split = dataset.split(part, device=CPU)
                    batches.append(
                        [x for batch in split.batches(4, augment=augment) for x in batch]
                    )
                assert same(*batches)


@pytest.mark.parametrize("parts", [("train",), ("train", "val", "test")])
def test_parts_are_divided_as_those_of_the_folder(fill, tmp_path, parts):
    root = fill(**dict.fromkeys(parts, 6))
    pack(str(root), tmp_path / "packed", KEPT, silent)
    for test in (None, 0.4) if parts == ("train",) else (None,):
        loose, packed = (read_layout(str(place), test) for place in (root, tmp_path / "packed"))
        assert packed.training.files == loose.training.files
        assert packed.test.files == loose.test.files
        assert packed.test.sizes == loose.test.sizes
        one, other = (layout.labelled(0) for layout in (loose, packed))
        assert torch.equal(one.labels, other.labels) and torch.equal(one.draws, other.draws)
        assert (one.aside is None) == (other.aside is None) == (len(parts) == 1)
    if len(parts) == 3:
        with pytest.raises(ValueError, match="test is the test part already; use null"):
            read_layout(str(tmp_path / "packed"), 0.4)


def test_members_are_pairs_of_an_image_and_its_label_with_mixed_classes(root, tmp_path):
    """WebDataset takes what precedes the first dot as the key, and the rest as the field."""
    index = pack(str(root), tmp_path / "packed", KEPT, silent)
    assert list(index.shards) == [f"training-{n:06}.tar" for n in range(3)] + ["test-000000.tar"]
    labels, images = [], set()
    for name in list(index.shards)[:3]:
        with tarfile.open(tmp_path / "packed" / name) as tar:
            members = tar.getmembers()
            for image, label in zip(members[::2], members[1::2], strict=True):
                key, field = image.name.split(".")
                assert label.name == f"{key}.cls" and field in ("jpg", "png")
                labels.append(int(tar.extractfile(label).read()))
                images.add(tar.extractfile(image).read())
    assert images == {path.read_bytes() for path in root.glob("train/*/*")}
    assert sorted(labels) == [0] * 6 + [1] * 6 != labels


def test_an_interrupted_packing_goes_on_to_the_same_bytes(root, tmp_path):
    folder = str(root)
    pack(folder, tmp_path / "whole", KEPT, silent)

    def two(items, text, total):
        yield from items[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(folder, tmp_path / "stopped", KEPT, two)
    assert not (tmp_path / "stopped" / INDEX).exists()
    draft = tmp_path / "stopped" / f".training-000002.tar.{'0' * 32}.part"
    draft.write_bytes(b"half")
    left = []
    pack(folder, tmp_path / "stopped", KEPT, lambda items, text, total: left.append(total) or items)
    assert left == [2]
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")


def test_larger_images_are_scaled_and_others_keep_their_bytes(root, tmp_path):
    packing = Packing(images=100, side=40, quality=90)
    pack(str(root), tmp_path / "packed", packing, silent)
    listing = read_layout(str(tmp_path / "packed"), None).training
    for number, name in enumerate(listing.files):
        before = Image.open(root / name)
        after = Image.open(io.BytesIO(listing.file(number).read_bytes()))
        if min(before.size) <= 40:
            assert listing.file(number).read_bytes() == (root / name).read_bytes()
        else:
            assert min(after.size) == 40 and after.format == "JPEG"
            assert after.width / after.height == pytest.approx(
                before.width / before.height, abs=0.02
            )
        assert listing.sizes[number] == len(listing.file(number).read_bytes())


def test_grey_images_that_are_scaled_stay_grey(paint, tmp_path):
    for part in ("train", "test"):
        for name in ("ant", "bee"):
            for mode in ("1", "L", "LA"):
                paint(f"{part}/{name}/{mode}.png", size=(50, 40), mode=mode)
    root, packed = tmp_path / "set", tmp_path / "packed"
    pack(str(root), packed, Packing(images=100, side=20, quality=95), silent)
    for place in (root, packed):
        assert ImageFolder(root=str(place), size=8).facts().channels == 1


def test_an_image_that_lies_on_its_side_keeps_its_proportions(fill, tmp_path):
    root = fill(train=2, test=2)
    wide = numpy.zeros((60, 120), dtype=numpy.uint8) + numpy.arange(120, dtype=numpy.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for ending in ("jpg", "tif"):
        Image.fromarray(wide).save(root / "train/ant" / f"side.{ending}", exif=exif)
    pack(str(root), tmp_path / "packed", Packing(images=100, side=30, quality=95), silent)
    listing = read_layout(str(tmp_path / "packed"), None).training
    found = {
        name.rpartition("/")[2]: Image.open(io.BytesIO(listing.file(number).read_bytes()))
        for number, name in enumerate(listing.files)
    }
    one, two = (numpy.asarray(found[name]) for name in sorted(found) if "side" in name)
    assert one.shape == two.shape == (60, 30)
    assert numpy.abs(one.astype(int) - two).max() < 4  # grey falls along the longer side in both
    assert one[-1].mean() - one[0].mean() == pytest.approx(118, abs=4)


def test_what_cannot_be_packed_is_named_and_nothing_half_is_left(root, tmp_path):
    folder, out = str(root), tmp_path / "packed"
    broken = [root / "train/n01/0.v1.jpg", root / "train/n02/1.v1.png"]
    broken[0].write_bytes(b"not an image")
    broken[1].write_bytes(broken[1].read_bytes()[:-40])  # its header is sound
    with pytest.raises(Broken) as error:
        pack(folder, out, Packing(images=100, side=None, quality=95), silent)
    assert all(str(path) in str(error.value) for path in broken)
    assert {path.name for path in out.iterdir()} <= {"packing.json", ".lock"}


def test_a_folder_with_something_else_in_it_is_refused(root, tmp_path):
    folder, out = str(root), tmp_path / "packed"
    pack(folder, out, KEPT, silent)
    for packing in (
        Packing(images=6, side=None, quality=95),
        Packing(images=5, side=9, quality=95),
    ):
        with pytest.raises(ValueError, match=r"out=.*other images or settings are packed there"):
            pack(folder, out, packing, silent)
    with pytest.raises(ValueError, match=r"out=.*it is not empty; name a new folder"):
        pack(folder, root, KEPT, silent)
    (out / "training-000001.tar").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"training-000001.tar: damaged .* delete it and repeat"):
        pack(folder, out, KEPT, silent)


def test_a_packing_that_could_not_begin_can_be_repeated(root, tmp_path):
    out = tmp_path / "packed"
    out.mkdir()
    (out / ".lock").touch()
    (out / f".packing.json.{'0' * 32}.part").write_text("half")
    pack(str(root), out, KEPT, silent)
    assert (out / "packing.json").is_file()


def test_missing_shards_and_a_damaged_index_are_named(root, tmp_path):
    out = tmp_path / "packed"
    index = pack(str(root), out, KEPT, silent)
    columns = {**index.parts["training"], "labels": [9] * 12}
    wrong = Index(**{**vars(index), "parts": {**index.parts, "training": columns}})
    for damaged in (b"", (out / INDEX).read_bytes()[:-9], wrong.to_bytes()):
        (out / INDEX).write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"dataset.root=.*{INDEX} is damaged"):
            ImageNet(root=str(out)).check()
    (out / INDEX).write_bytes(index.to_bytes())
    (out / "test-000000.tar").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"test-000000.tar is missing or does not have its"):
        ImageNet(root=str(out)).check()


def test_a_packed_folder_can_be_packed_again(root, tmp_path):
    pack(str(root), tmp_path / "once", KEPT, silent)
    pack(str(tmp_path / "once"), tmp_path / "twice", KEPT, silent)
    assert content(tmp_path / "once") == content(tmp_path / "twice")
