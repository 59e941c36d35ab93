"""A user's own folders: parts, shapes, and what is looked at before anything begins."""

import numpy
import pytest
import torch
from PIL import Image

from nasrun.data import decoded, folder
from nasrun.data.folder import ImageFolder

CPU = torch.device("cpu")
PARTS = ("train", "validation", "test")


def sizes(dataset):
    return [len(dataset.split(part, device=CPU)) for part in PARTS]


def silent(items, text, total):
    return items


def look(root, **settings):
    ImageFolder(root=str(root), **settings).look(silent)


def test_validation_is_held_out_of_train_and_the_parts_are_the_files_once(fill):
    dataset = ImageFolder(root=str(fill(train=20, test=3)), validation=0.25)
    train, validation, test = sizes(dataset)
    assert (train + validation, test) == (40, 6)
    assert 2 <= validation <= 20  # 10 and three deviations
    assert (
        len(ImageFolder(root=dataset.root, images=20).split("train", "validation", device=CPU))
        == 20
    )


def pictures(dataset, part):
    return {image.numpy().tobytes() for image in dataset.split(part, device=CPU)._images}


def test_no_image_moves_to_another_part_when_files_come_and_go(fill):
    root = fill(train=30)
    before = {part: pictures(ImageFolder(root=str(root)), part) for part in PARTS}
    for number in range(0, 30, 3):
        (root / "train" / "ant" / f"{number:03}.png").unlink()
    fewer = {part: pictures(ImageFolder(root=str(root)), part) for part in PARTS}
    assert sum(map(len, fewer.values())) == 50
    fill(train=33)
    more = {part: pictures(ImageFolder(root=str(root)), part) for part in PARTS}
    assert sum(map(len, more.values())) == 66
    for part in PARTS:
        assert fewer[part] < before[part] <= more[part]


def test_a_test_part_that_is_held_out_is_the_same_for_every_split_seed(fill):
    root = str(fill(train=20))
    first, last = (ImageFolder(root=root, split_seed=seed) for seed in (0, 9))
    assert pictures(first, "test") == pictures(last, "test")
    assert pictures(first, "train") != pictures(last, "train")
    few, many = (ImageFolder(root=root, test=share) for share in (0.1, 0.5))
    assert pictures(few, "test") < pictures(many, "test")


def test_a_val_folder_beside_a_test_folder_is_the_validation_part_as_given(fill, paint):
    root = fill(train=8, val=2, test=3)
    for name in ("ant", "bee"):
        for number in range(2):
            paint(f"val/{name}/{number:03}.png", colour=(77, 77, 77))
    dataset = ImageFolder(root=str(root))
    assert sizes(dataset) == [16, 4, 6]
    assert dataset.split("validation", device=CPU)._images.unique().tolist() == [77]
    with pytest.raises(ValueError, match=r"dataset.validation=0.5: .* use null"):
        ImageFolder(root=str(root), validation=0.5).check()


def test_labels_follow_the_sorted_class_names(paint, tmp_path):
    for colour, name in enumerate(("zebra", "ant", "Bee")):
        for number in range(4):
            paint(f"{name}/{number}.png", colour=(100 * colour,) * 3)
    dataset = ImageFolder(root=str(tmp_path / "set"), test=0.25, validation=0.4)
    assert dataset.facts().classes == ("Bee", "ant", "zebra")
    split = dataset.split(*PARTS, device=CPU)
    colours = [100 * (2 - label) for label in split.labels.tolist()]
    assert colours == split._images[:, 0, 0, 0].tolist()


def test_grey_images_make_one_channel_and_one_coloured_image_makes_three(paint, tmp_path):
    for name in ("ant", "bee"):
        for number in range(5):
            paint(f"{name}/{number}.png", mode="L")
    root = str(tmp_path / "set")
    grey = ImageFolder(root=root)
    assert (grey.facts().channels, len(grey.facts().mean)) == (1, 1)
    for number in range(9):  # one of them at least stays in training
        paint(f"ant/9{number}.png")
    assert ImageFolder(root=root).facts().channels == 3


def test_the_size_is_the_most_common_shorter_side_up_to_64(paint, tmp_path):
    def painted(side):
        for name in ("ant", "bee"):
            for number in range(9):
                paint(f"{name}/{number}.png", size=(side, side + 10) if number else (90, 90))

    painted(20)
    root = str(tmp_path / "set")
    assert ImageFolder(root=root).facts().size == 20
    assert ImageFolder(root=root, size=8).facts().size == 8
    painted(100)
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


def test_float_images_are_seen_by_their_range(tmp_path):
    generator = numpy.random.default_rng(0)
    for part, count in (("train", 6), ("test", 2)):
        for label, name in enumerate(("ant", "bee")):
            for number in range(count):
                path = tmp_path / "set" / part / name / f"{number}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                values = generator.uniform(0.5 * label, 0.5 + 0.5 * label, (12, 12))
                Image.fromarray(values.astype(numpy.float32)).save(path)
    dataset = ImageFolder(root=str(tmp_path / "set"), validation=0.0)
    dataset.look(silent)
    facts = dataset.facts()
    assert (facts.channels, facts.size) == (1, 12)
    assert facts.mean[0] == pytest.approx(0.5, abs=0.02)  # of numbers uniform in 0 .. 1
    assert facts.std[0] == pytest.approx(12**-0.5, abs=0.02)
    Image.fromarray(255 * values.astype(numpy.float32)).save(path)
    with pytest.raises(ValueError, match=r"test/bee/1.tif \(mode F, values from .* to 2\d\d"):
        look(tmp_path / "set")


@pytest.mark.parametrize("white", [0, 1, 4095])
def test_images_that_are_black_throughout_are_refused(tmp_path, white):
    """Eight or twelve bits stored as sixteen, or a shape that is in the transparency alone."""
    generator = numpy.random.default_rng(0)
    for name in ("ant", "bee"):
        for number in range(6):
            path = tmp_path / "set" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = generator.integers(0, white + 1, (12, 12))
            Image.fromarray(values.astype(numpy.uint16)).save(path)
    with pytest.raises(ValueError, match=r"all pixels of all images lie between 0 and \d+ of 255"):
        ImageFolder(root=str(tmp_path / "set")).facts()


# Looking


def test_all_broken_images_of_all_parts_are_named_before_anything_is_learned(fill):
    root = fill(train=30, test=5)
    broken = [
        root / name for name in ("train/ant/001.png", "train/bee/007.png", "test/ant/000.png")
    ]
    broken[0].write_bytes(broken[0].read_bytes()[:150])
    broken[1].write_bytes(b"not an image")
    broken[2].write_bytes(broken[2].read_bytes()[:150])
    with pytest.raises(ValueError, match="cannot read 3 of 70 images, remove or replace") as error:
        look(root)
    assert all(str(path) in str(error.value) for path in broken)
    assert "\n" not in str(error.value)
    for path in broken[:2]:
        path.unlink()
    with pytest.raises(ValueError, match=f"cannot read the image {broken[2]} .*remove or replace"):
        look(root)
    broken[2].unlink()
    look(root)


def test_what_is_looked_at_is_decoded_once(fill, monkeypatch):
    root = fill(train=8, test=3)
    look(root)
    monkeypatch.setattr(decoded, "load_image", lambda *_: pytest.fail("decoded again"))
    look(root)
    assert sizes(ImageFolder(root=str(root)))[2] == 6


def test_a_cap_leaves_the_other_images_alone(fill):
    root = fill(train=30, test=2)
    dataset = ImageFolder(root=str(root), images=6)
    (broken,) = [
        root / name for name in dataset.layout.training.files if name.endswith("ant/000.png")
    ]
    broken.write_bytes(b"not an image")
    for seed in range(6):
        settings = {"images": 6, "split_seed": seed, "size": 12}
        chosen = ImageFolder(root=str(root), **settings)
        index = torch.cat(chosen.holdout.split(chosen.layout.labelled(seed)))
        kept = chosen.layout.training.at(index)
        if broken in map(kept.file, range(len(kept))):
            with pytest.raises(ValueError, match=r"000\.png"):
                look(root, **settings)
        else:
            look(root, **settings)


def test_progress_is_shown_while_looking(fill):
    told = []

    def watched(items, text, total):
        told.append((text, total))
        return items

    ImageFolder(root=str(fill(train=40, test=3))).look(watched)
    assert told == [("looking at images", 2), ("looking at images", 1)]


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


def test_the_check_decodes_nothing(fill, monkeypatch):
    root = fill(train=4, test=2)
    monkeypatch.setattr(folder, "open_image", lambda path: pytest.fail("opened"))
    ImageFolder(root=str(root)).check()


def test_images_that_do_not_fit_into_the_memory_are_refused_before_they_are_decoded(
    fill, monkeypatch
):
    root = fill(train=8, test=2)
    monkeypatch.setattr(folder, "decoded", lambda *_: pytest.fail("decoded"))
    dataset = ImageFolder(root=str(root), size=10**6)
    with pytest.raises(ValueError, match=r"dataset.size=1000000: 16 images of 1000000 x 1000000"):
        dataset.look(silent)
    with pytest.raises(ValueError, match=r"and the machine has \d+; use \d+ or less"):
        dataset.split("train", device=CPU)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5])
def test_a_test_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ValueError, match=rf"dataset.test={fraction}: use a fraction"):
        ImageFolder(root="anywhere", test=fraction)


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
    look(root)
    facts = ImageFolder(root=str(root)).facts()
    assert (facts.num_classes, facts.channels, facts.size) == (3, 3, 64)
    train, validation, test = sizes(ImageFolder(root=str(root), validation=0.2))
    assert (train + validation, test) == (15, 15)
    assert validation >= 3
