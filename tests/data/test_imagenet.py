"""Large originals, streamed: the number of workers changes nothing."""

import shutil
from dataclasses import dataclass

import numpy
import pytest
import torch
from PIL import Image

from nasrun.data.augment import Augment
from nasrun.data.imagenet import ImageNet
from nasrun.data.images import Digits
from nasrun.data.policies import RandAugment
from nasrun.engines.local import Pool
from nasrun.world import Alone

CPU = torch.device("cpu")
PARTS = ("train", "validation", "test")
SMALL = {"size": 24, "resize": 28, "validation": 0.25}


@pytest.fixture
def root(paint, tmp_path):
    modes = ["RGB", "L", "RGBA", "P", "CMYK", "RGB"]
    for part, count in (("train", 6), ("val", 2)):
        for wnid in ("n01", "n02"):
            for number in range(count):
                ending = "jpg" if modes[number] == "CMYK" else "png"
                size = (30 + 7 * number, 50 - 4 * number)
                paint(f"{part}/{wnid}/{number}.{ending}", size=size, mode=modes[number])
    return str(tmp_path / "set")


def epoch(root, workers, augment=None, **settings):
    """All batches of the train part, and the generator's state after them."""
    torch.manual_seed(5)
    split = ImageNet(root=root, workers=workers, **SMALL).split("train", device=CPU)
    images, labels = zip(*split.batches(4, augment=augment, **settings), strict=True)
    return torch.cat(images), torch.cat(labels), torch.get_rng_state()


@pytest.mark.parametrize(
    "augment",
    [
        None,
        Augment(),
        Augment(resized_crop=(0.08, 1.0), jitter=0.4),
        Augment(resized_crop=(0.08, 1.0), policy=RandAugment(changes=2, magnitude=9)),
    ],
)
def test_two_workers_give_the_same_bytes_as_none(root, augment):
    for alone, shared in zip(epoch(root, 0, augment), epoch(root, 2, augment), strict=True):
        assert torch.equal(alone, shared)


@pytest.mark.parametrize(
    "augment", [Augment(), Augment(resized_crop=(0.08, 1.0), jitter=0.4, cutout=0.5)]
)
def test_slices_of_several_processes_are_the_batches_of_one(root, augment):
    train = ImageNet(root=root, workers=0, **SMALL).split("train", device=CPU)
    digits = Digits(images=58).split("train", device=CPU)
    for split in (train, digits):
        torch.manual_seed(5)
        whole = list(split.batches(4, augment=augment, drop_last=True))  # no slice is empty
        slices = []
        for rank in range(3):
            world = Alone()
            world.rank, world.size = rank, 3
            torch.manual_seed(5)
            slices.append(list(split.batches(4, augment=augment, drop_last=True, world=world)))
        for (images, labels), *parts in zip(whole, *slices, strict=True):
            assert torch.allclose(torch.cat([part[0] for part in parts]), images, atol=1e-5)
            assert torch.equal(torch.cat([part[1] for part in parts]), labels)


@dataclass(frozen=True)
class FirstEpoch:
    """A job that reads images as a candidate's training does."""

    root: str

    def __call__(self, order):
        return epoch(self.root, order)[0].sum()


def test_a_pools_process_reads_images_too(root):
    """It may have no workers of its own."""
    engine = Pool(processes=1, retries=0)
    try:
        ((_, there),) = engine.run(FirstEpoch(root), [2], 1)
    finally:
        engine.close()
    assert torch.equal(there, epoch(root, 0)[0].sum())


def test_parts_have_their_sizes_and_val_is_the_test_part(root):
    dataset = ImageNet(root=root, workers=0, **SMALL)
    dataset.check()
    train, validation, test = (len(dataset.split(part, device=CPU)) for part in PARTS)
    assert (train + validation, test) == (12, 4)
    assert min(train, validation) >= 2
    together = dataset.split("train", "validation", device=CPU)
    assert len(together) == 12
    assert sorted(together.labels.tolist()) == [0] * 6 + [1] * 6


def test_batches_have_the_shape_the_layout_and_the_labels_of_their_images(root):
    split = ImageNet(root=root, workers=0, **SMALL).split("train", device=CPU)
    order = torch.tensor([3, 0, 5])
    images, labels = next(split.batches(3, order=order))
    assert images.shape == (3, 3, 24, 24)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(labels, split.labels[order])
    alone, _ = next(split.batches(1, order=order[1:]))
    assert torch.equal(alone[0], images[1])


def test_the_last_smaller_batch_can_be_dropped(root):
    whole, _, _ = epoch(root, 0)
    images, _, _ = epoch(root, 0, drop_last=True)
    assert len(images) == len(whole) // 4 * 4 < len(whole)


def test_evaluation_sees_the_same_share_of_an_image_at_every_size(root):
    for size, kept in ((224, 224 / 256), (64, 64 / 73), (7, 7 / 8)):
        assert ImageNet(root=root, size=size).facts().kept == kept
    assert ImageNet(root=root, size=64, resize=64).facts().kept == 1


def test_evaluation_is_torchvisions_resize_and_centre_crop(root, tmp_path):
    from torchvision.transforms import v2

    path = tmp_path / "set/val/n01/0.png"
    smooth = numpy.outer(numpy.arange(40) * 3, numpy.ones(56)) + numpy.arange(56)
    Image.fromarray(smooth.astype(numpy.uint8)).convert("RGB").save(path)
    split = ImageNet(root=root, workers=0, **SMALL).split("test", device=CPU)
    number = next(i for i, name in enumerate(split._listing.files) if name == "val/n01/0.png")
    (mine, _) = next(split.batches(1, order=torch.tensor([number])))
    expected = v2.Compose(
        [
            v2.Resize(28),
            v2.CenterCrop(24),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )(Image.open(path).convert("RGB"))
    assert (mine[0] - expected).abs().mean() < 0.03


def test_a_resized_crop_shows_the_asked_areas_of_a_ramp(paint, tmp_path):
    ramp = Image.fromarray(numpy.tile(numpy.arange(0, 256, 2, dtype=numpy.uint8), (64, 1)))
    for part in ("train", "val"):
        for wnid in ("n01", "n02"):
            (tmp_path / "set" / part / wnid).mkdir(parents=True)
            for number in range(30):
                ramp.convert("RGB").save(tmp_path / f"set/{part}/{wnid}/{number}.png")
    split = ImageNet(root=str(tmp_path / "set"), size=32, resize=32, workers=0, validation=0.1)
    augment = Augment(flip=False, resized_crop=(0.1, 0.4))
    (images, _) = next(split.split("train", device=CPU).batches(54, augment=augment))
    pixels = (images[:, 0] * 0.229 + 0.485) * 255
    widths = (pixels[:, 16, 30] - pixels[:, 16, 1]) / 29 * 32 / 2  # in pixels of the original
    side = (128 * 64) ** 0.5
    assert widths.min() > side * (0.1 * 3 / 4) ** 0.5 - 2
    assert widths.max() < side * (0.4 * 4 / 3) ** 0.5 + 2
    assert widths.std() > 3


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_one_line_that_names_it(root, tmp_path, workers):
    broken = tmp_path / "set/train/n02/1.png"
    broken.write_bytes(b"not an image")
    split = ImageNet(root=root, workers=workers, **SMALL).split("train", "validation", device=CPU)
    with pytest.raises(ValueError, match=f"{broken} .*remove or replace it") as error:
        list(split.batches(4))
    assert "\n" not in str(error.value)


def silent(items, text, total):
    return items


def test_a_jpeg_for_training_that_is_cut_off_is_found_before_anything_is_trained(
    root, paint, tmp_path
):
    jpeg = paint("train/n01/long.jpg", size=(60, 60))
    whole = jpeg.read_bytes()
    jpeg.write_bytes(whole + bytes(100))  # some cameras pad their files
    ImageNet(root=root, **SMALL).look(silent)
    jpeg.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"cannot read the image {jpeg} "):
        ImageNet(root=root, **SMALL).look(silent)


def test_headers_of_training_and_all_of_the_test_part_are_looked_at_once(root, tmp_path):
    broken = [tmp_path / "set" / name for name in ("train/n01/1.png", "val/n02/0.png")]
    for path in broken:
        path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match=f"cannot read the image {broken[1]} ") as error:
        ImageNet(root=root, **SMALL).look(silent)
    assert str(broken[0]) not in str(error.value)  # its header is sound
    broken[0].write_bytes(b"not an image")
    with pytest.raises(ValueError, match="cannot read 2 of 16 images, remove or replace them"):
        ImageNet(root=root, **SMALL).look(silent)
    for path in broken:
        path.unlink()
    ImageNet(root=root, **SMALL).look(silent)
    ImageNet(root=root, **SMALL).look(lambda *_: pytest.fail("looked again"))
    other = {**SMALL, "validation": 0.5, "split_seed": 3}  # the same images in other parts
    ImageNet(root=root, **other).look(lambda *_: pytest.fail("looked again"))
    (tmp_path / "set/train/n01/2.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"train/n01/2.png"):
        ImageNet(root=root, **SMALL).look(silent)


def test_the_set_has_the_name_of_its_folder(root):
    assert ImageNet(root=root).facts().name == "set"


def test_the_contents_are_the_files_of_all_parts(root, tmp_path):
    files = ImageNet(root=root).contents().files
    assert len(files) == 16
    assert files["val/n01/1.png"] == (tmp_path / "set/val/n01/1.png").stat().st_size


def test_an_image_that_does_not_fit_into_the_memory_is_refused(root):
    with pytest.raises(ValueError, match=r"dataset.size=1000000: 1 images? of 1000000"):
        ImageNet(root=root, size=10**6, resize=10**6).check()


def test_flat_validation_images_are_refused_with_how_to_sort_them(root, tmp_path, paint):
    shutil.rmtree(tmp_path / "set/val")
    paint("val/ILSVRC2012_val_00000001.jpg")
    with pytest.raises(ValueError, match=r"val/<class>/, .*valprep.sh"):
        ImageNet(root=root).check()


@pytest.mark.parametrize(("key", "value"), [("size", 0), ("resize", 100), ("workers", -1)])
def test_a_wrong_setting_is_refused_by_name_and_value(key, value):
    with pytest.raises(ValueError, match=rf"dataset.{key}={value}: use"):
        ImageNet(root="anywhere", **{key: value})


def test_real_imagenet_originals_stream(unpack):
    root = unpack("imagenet-samples-60.tar.xz", lambda name: True, 60)
    for wnid in (root / "val").iterdir():
        shutil.copytree(wnid, root / "train" / wnid.name)
    dataset = ImageNet(root=str(root), workers=2, validation=0.0)
    dataset.check()
    assert dataset.facts().num_classes == 60
    test = torch.cat([images for images, _ in dataset.split("test", device=CPU).batches(16)])
    assert test.shape == (60, 3, 224, 224)
    assert test.mean().abs() < 0.3 and 0.7 < test.std() < 1.4
    train = dataset.split("train", device=CPU)
    crops, labels = next(train.batches(20, augment=Augment(resized_crop=(0.08, 1.0), jitter=0.4)))
    assert crops.shape == (20, 3, 224, 224)
    assert torch.equal(labels, train.labels[:20])
