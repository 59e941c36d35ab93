"""A trained network with its preprocessing."""

import json
import sys
from dataclasses import asdict

import numpy
import pytest
import torch
from PIL import Image
from torch import nn

from nasrun.data.folder import ImageFolder
from nasrun.data.imagenet import ImageNet
from nasrun.genotype import Genotype
from nasrun.runs.formats import FORMATS
from nasrun.runs.network import TrainedNetwork

RESULT = {
    "data": {
        "classes": ["cat", "dog"],
        "channels": 3,
        "size": 4,
        "mean": [0.1, 0.2, 0.3],
        "std": [0.5, 0.25, 0.2],
    }
}


class Sum(nn.Module):
    """Logits that show what arrived: the mean of each channel."""

    def forward(self, x):
        assert x.shape[2:] == (4, 4)
        return (x.mean(dim=(2, 3)),)


class Seen(nn.Module):
    """Returns the input itself."""

    def forward(self, x):
        return (x,)


@pytest.fixture
def network():
    return TrainedNetwork(Sum(), Genotype("toy", {}), RESULT).eval()


def test_pixels_and_fractions_are_the_same_image(network):
    pixels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    assert torch.allclose(network(pixels), network(pixels.float() / 255))


def test_channels_are_normalised_as_in_training(network):
    image = torch.full((1, 3, 4, 4), 0.6)
    assert torch.allclose(network(image), torch.tensor([[1.0, 1.6, 1.5]]))


def test_an_image_of_another_size_is_brought_to_the_trained_one(network):
    image = torch.full((1, 3, 9, 7), 0.6)
    assert torch.allclose(network(image), torch.tensor([[1.0, 1.6, 1.5]]), atol=1e-5)


@pytest.fixture(params=[(24, 24), (50, 37), (37, 90), (20, 23)], ids=str)
def folder(request, tmp_path):
    """Smooth pictures of one width and height in two classes, two of each for the test."""
    generator = numpy.random.default_rng(0)
    for part in ("train", "val"):
        for name in "ab":
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(2):
                coarse = generator.integers(0, 256, (6, 6, 3)).astype(numpy.uint8)
                picture = Image.fromarray(coarse).resize(request.param, Image.Resampling.BICUBIC)
                picture.save(tmp_path / part / name / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (ImageNet, {"size": 24, "resize": 28, "workers": 0}),
        (ImageNet, {"size": 24, "resize": 24, "workers": 0}),
        (ImageFolder, {"size": 24}),
    ],
)
def test_an_original_is_seen_as_the_test_saw_it(folder, kind, settings):
    dataset = kind(root=str(folder), validation=0.5, **settings)
    network = TrainedNetwork(Seen(), Genotype("toy", {}), {"data": asdict(dataset.facts())})
    originals = [
        torch.from_numpy(numpy.array(Image.open(path))).permute(2, 0, 1)
        for path in sorted(folder.glob("val/*/*.png"))
    ]
    seen = network(torch.stack(originals))
    tested, _ = next(dataset.split("test", device=torch.device("cpu")).batches(4))
    differences = (seen.unsqueeze(1) - tested).abs() * network.std * 255
    nearest = differences.flatten(2).amax(2).min(1).values  # the test part is shuffled
    assert nearest.max() < 2  # of 255: Pillow rounds twice


def of_onnx(path):
    """The function of a file and its metadata, as a program without nasrun reads them."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    return lambda x: torch.from_numpy(session.run(None, {"images": x.numpy()})[0]), facts


def of_pt2(path):
    facts = {"classes": ""}  # an empty dictionary would stay empty
    return torch.export.load(path, extra_files=facts).module(), facts


@pytest.mark.parametrize(("name", "opened"), [("onnx", of_onnx), ("pt2", of_pt2)])
def test_an_export_crops_inside_and_tells_its_classes_and_what_it_does(
    network, tmp_path, name, opened
):
    if name == "onnx":
        pytest.importorskip("onnxscript")
    network.kept = 0.5
    path = tmp_path / f"network.{name}"
    assert network.export(path, FORMATS[name]) < 1e-5
    computed, told = opened(path)
    for number in (1, 2, 7):
        images = torch.rand(number, 3, 8, 8)
        images[:, :, 2:6, 2:6] = 0.6
        logits = computed(images)
        assert torch.allclose(logits, network(images), atol=1e-5)
        assert torch.allclose(logits, torch.tensor([1.0, 1.6, 1.5]), atol=1e-5)
    assert json.loads(told["classes"]) == ["cat", "dog"]
    assert json.loads(told["mean"]) == pytest.approx([0.1, 0.2, 0.3])
    assert json.loads(told["std"]) == pytest.approx([0.5, 0.25, 0.2])
    assert (told["size"], told["crop"], told["channels"]) == ("4", "0.5", "RGB")
    assert "(batch, 3, 8, 8) floats in 0..1" in told["input"]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_arrays_and_pictures_are_taken_and_a_single_image_is_a_batch_of_one(network):
    picture = Image.new("RGB", (9, 7), (153, 153, 153))
    for image in (torch.full((3, 4, 4), 0.6), numpy.full((9, 7, 3), 0.6), picture, [picture]):
        assert torch.allclose(network(image), torch.tensor([[1.0, 1.6, 1.5]]), atol=1e-5)


def test_an_image_of_other_channels_is_refused(network):
    with pytest.raises(ValueError, match="images have 1 channels, the network takes 3"):
        network(torch.zeros(1, 1, 4, 4))


def test_it_names_its_classes_and_moves_as_a_module(network):
    assert network.classes == ("cat", "dog")
    assert {"mean", "std"} <= set(network.state_dict())
    assert network.to(torch.float64).mean.dtype == torch.float64


def test_without_the_extra_onnx_says_what_to_install_and_pt2_is_written(
    network, tmp_path, monkeypatch
):
    for package in ("onnx", "onnxruntime", "onnxscript"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=r"pip install 'nasrun\[onnx\]'`, or use format=pt2"):
        network.export(tmp_path / "network.onnx", FORMATS["onnx"])
    assert list(tmp_path.iterdir()) == []
    network.export(tmp_path / "network.pt2", FORMATS["pt2"])
    assert (tmp_path / "network.pt2").exists()
