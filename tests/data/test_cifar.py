"""CIFAR and SVHN: torchvision's files, class folders, and what is missing."""

import hashlib
import pickle

import numpy
import pytest
import torch

from nasrun.data.cifar import Cifar10, Cifar100, Svhn
from nasrun.data.packing import Packing, pack

CPU = torch.device("cpu")


def fake_cifar10(root, monkeypatch, count=20):
    """CIFAR-10's own files, with noise in them."""
    from torchvision.datasets import CIFAR10

    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    generator = numpy.random.default_rng(0)

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    def batch():
        pixels = generator.integers(0, 256, (count, 3072), dtype=numpy.uint8)
        return {"data": pixels, "labels": [number % 10 for number in range(count)]}

    train = [write(f"data_batch_{number}", batch()) for number in range(1, 6)]
    test = [write("test_batch", batch())]
    names = [f"class{number}" for number in range(10)]
    meta = write("batches.meta", {"label_names": names})
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", test)
    monkeypatch.setattr(
        CIFAR10, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]}
    )
    return folder


def test_the_downloaded_files_are_read_and_divided(tmp_path, monkeypatch):
    folder = fake_cifar10(tmp_path, monkeypatch)
    dataset = Cifar10(root=str(tmp_path))
    dataset.check()
    train = dataset.split("train", device=CPU)
    assert torch.bincount(train.labels).tolist() == [5] * 10
    assert len(dataset.split("validation", device=CPU)) == 50
    test = dataset.split("test", device=CPU)
    stored = pickle.loads((folder / "test_batch").read_bytes())["data"].reshape(-1, 3, 32, 32)
    pixels = sorted(image.numpy().tobytes() for image in test._images)
    assert pixels == sorted(image.tobytes() for image in stored)
    facts = dataset.facts()
    assert facts.classes[3] == "class3"
    assert (facts.name, facts.size, facts.flip) == ("cifar10", 32, True)


def test_test_files_are_not_read_before_they_are_asked_for(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    fake_cifar10(tmp_path, monkeypatch)
    opened = []
    original = CIFAR10.__init__

    def spy(self, *arguments, **settings):
        opened.append(settings["train"])
        original(self, *arguments, **settings)

    monkeypatch.setattr(CIFAR10, "__init__", spy)
    dataset = Cifar10(root=str(tmp_path))
    dataset.facts()
    dataset.split("train", "validation", device=CPU)
    assert set(opened) == {True}
    dataset.split("test", device=CPU)
    assert opened[-1] is False


def test_another_size_is_resized_to(tmp_path, monkeypatch):
    fake_cifar10(tmp_path, monkeypatch)
    (images, _) = next(Cifar10(root=str(tmp_path), size=16).split("test", device=CPU).batches(2))
    assert images.shape == (2, 3, 16, 16)


@pytest.mark.parametrize("dataset", [Cifar10, Cifar100, Svhn])
def test_missing_data_name_the_root_the_place_and_the_download(dataset, tmp_path, cache):
    name = dataset.__name__.lower()
    with pytest.raises(ValueError, match=f"dataset.root=null: {name} .*dataset.download=true") as e:
        dataset().check()
    assert str(cache / name) in str(e.value)
    with pytest.raises(ValueError, match=r"dataset.root=.*elsewhere"):
        dataset(root=str(tmp_path / "elsewhere")).split("train", device=CPU)
    dataset(download=True).check()  # nothing to be missing: it is fetched when it is read


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    folder = fake_cifar10(tmp_path, monkeypatch)
    (folder / "data_batch_2").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"unbroken .*dataset.download=true"):
        Cifar10(root=str(tmp_path)).split("train", device=CPU)


def test_an_interrupted_download_is_repaired(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    damaged = fake_cifar10(tmp_path, monkeypatch) / "data_batch_2"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:100])
    monkeypatch.setattr(CIFAR10, "download", lambda self: damaged.write_bytes(whole))
    assert len(Cifar10(root=str(tmp_path), download=True).split("train", device=CPU)) == 50


def test_a_download_that_fails_says_so(tmp_path, monkeypatch):
    from torchvision.datasets import SVHN

    def offline(self):
        raise OSError("no network")

    monkeypatch.setattr(SVHN, "download", offline)
    with pytest.raises(ValueError, match=r"dataset.download=true: cannot fetch svhn .*no network"):
        Svhn(download=True).facts()

    def broken(self):
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(SVHN, "download", broken)
    with pytest.raises(ValueError, match=r"dataset.download=true: cannot fetch svhn .*corrupted"):
        Svhn(download=True).facts()


def test_svhn_is_read_from_its_matlab_files_without_flips(tmp_path, monkeypatch):
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    generator = numpy.random.default_rng(0)
    for part in ("train", "test"):
        pixels = generator.integers(0, 256, (32, 32, 3, 40), dtype=numpy.uint8)
        labels = numpy.arange(40).reshape(-1, 1) % 10 + 1  # SVHN's files call the digit 0 "10"
        savemat(tmp_path / f"{part}_32x32.mat", {"X": pixels, "y": labels})
    monkeypatch.setattr(SVHN, "_check_integrity", lambda self: True)
    dataset = Svhn(root=str(tmp_path))
    dataset.check()
    assert torch.bincount(dataset.split("train", device=CPU).labels).tolist() == [2] * 10
    assert dataset.facts().flip is False


def test_class_folders_are_read_as_the_set_itself(paint, tmp_path):
    for part, count in (("train", 4), ("test", 2)):
        for label in range(10):
            for number in range(count):
                paint(f"{part}/c{label}/{number}.png", size=(32, 32))
    dataset = Cifar10(root=str(tmp_path / "set"))
    dataset.check()
    assert len(dataset.split("train", device=CPU)) == 20
    assert len(dataset.split("test", device=CPU)) == 20
    assert dataset.facts().mean == (0.49139968, 0.48215827, 0.44653124)


def test_a_packed_folder_takes_the_place_of_its_class_folders(paint, tmp_path):
    for part, count in (("train", 4), ("test", 2)):
        for label in range(10):
            for number in range(count):
                paint(f"{part}/c{label}/{number}.png", size=(32, 32))
    how = Packing(images=20, side=None, quality=95)
    pack(str(tmp_path / "set"), tmp_path / "packed", how, lambda items, text, total: items)
    loose, packed = (Cifar10(root=str(tmp_path / name)) for name in ("set", "packed"))
    packed.check()
    assert packed.contents().digest == loose.contents().digest
    for part in ("train", "test"):
        one, other = (each.split(part, device=CPU) for each in (loose, packed))
        assert torch.equal(one.labels, other.labels)


def test_class_folders_of_another_set_are_refused(paint, tmp_path):
    for part in ("train", "test"):
        for label in range(3):
            paint(f"{part}/c{label}/0.png")
    with pytest.raises(ValueError, match=r"has 3 classes, and cifar10 .*dataset=image_folder"):
        Cifar10(root=str(tmp_path / "set")).check()


def test_class_folders_without_a_test_folder_are_refused(paint, tmp_path):
    for label in range(10):
        for number in range(10):
            paint(f"train/c{label}/{number}.png")
    parts = "10 classes in a train and a test folder; use dataset=image_folder"
    with pytest.raises(ValueError, match=f"set has no test folder, and cifar10 has {parts}"):
        Cifar10(root=str(tmp_path / "set")).check()


def test_class_folders_with_a_validation_folder_in_the_cache_are_refused_with_a_null_root(
    paint, tmp_path, monkeypatch
):
    for part in ("train", "val", "test"):
        for label in range(10):
            paint(f"{part}/c{label}/0.png")
    monkeypatch.setenv("NASRUN_CACHE", str(tmp_path))
    (tmp_path / "set").rename(tmp_path / "cifar10")
    with pytest.raises(ValueError, match=r"^dataset.root=null: .* has a validation folder, and"):
        Cifar10().check()


def test_real_cifar10_images_have_the_published_mean(unpack):
    numbers = {f"{number:04}.jpg" for number in range(40)}

    def few(name):
        return name.rsplit("/", 1)[1] in numbers and "/" in name

    dataset = Cifar10(root=str(unpack("cifar10.tar.xz", few, 800)))
    dataset.check()
    train = dataset.split("train", "validation", device=CPU)
    assert torch.bincount(train.labels).tolist() == [40] * 10
    assert dataset.facts().classes[:3] == ("airplane", "automobile", "bird")
    images = torch.cat([images for images, _ in train.batches(100)])
    assert images.mean((0, 2, 3)).abs().max() < 0.1
    assert (images.std((0, 2, 3)) - 1).abs().max() < 0.1


def silent(items, text, total):
    return items


def test_damaged_test_files_are_found_before_anything_is_trained(tmp_path, monkeypatch):
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    folder = fake_cifar10(tmp_path, monkeypatch)
    Cifar10(root=str(tmp_path)).look(silent)
    (folder / "test_batch").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"unbroken .*dataset.download=true"):
        Cifar10(root=str(tmp_path)).look(silent)
    generator = numpy.random.default_rng(0)
    pixels = generator.integers(0, 256, (32, 32, 3, 20), dtype=numpy.uint8)
    savemat(tmp_path / "train_32x32.mat", {"X": pixels, "y": numpy.arange(20)[:, None] % 10 + 1})
    (tmp_path / "test_32x32.mat").write_bytes(b"half")
    monkeypatch.setattr(SVHN, "_check_integrity", lambda self: self.split == "train")
    dataset = Svhn(root=str(tmp_path))
    dataset.check()
    dataset.split("train", device=CPU)
    with pytest.raises(ValueError, match=r"unbroken .*dataset.download=true"):
        dataset.look(silent)


def test_a_division_without_all_classes_is_refused_when_the_files_are_looked_at(
    tmp_path, monkeypatch
):
    fake_cifar10(tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=r"has none in a part of 1; use .* dataset.validation"):
        Cifar10(root=str(tmp_path), validation=0.001).look(silent)


def test_published_files_need_no_contents_and_class_folders_have_some(tmp_path, monkeypatch, paint):
    fake_cifar10(tmp_path, monkeypatch)
    assert Cifar10(root=str(tmp_path)).contents() is None
    for part in ("train", "test"):
        for label in range(10):
            for number in range(2):
                paint(f"{part}/c{label}/{number}.png", size=(32, 32))
    dataset = Cifar10(root=str(tmp_path / "set"))
    assert len(dataset.contents().files) == 40
    dataset.look(silent)
    (tmp_path / "set/test/c3/1.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"test/c3/1.png"):
        Cifar10(root=str(tmp_path / "set")).look(silent)


@pytest.mark.parametrize("dataset", [Cifar10, Cifar100, Svhn])
def test_a_size_beyond_the_memory_is_refused_before_anything_is_read(dataset):
    with pytest.raises(ValueError, match=r"dataset.size=100000: \d+ images of 100000"):
        dataset(size=100_000, download=True).check()
