"""A trained network with its preprocessing."""

import pytest
import torch
from torch import nn

from nasrun.genotype import Genotype
from nasrun.predictor import Predictor

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


@pytest.fixture
def predictor():
    return Predictor(Sum(), Genotype("toy", {}), RESULT).eval()


def test_pixels_and_fractions_are_the_same_image(predictor):
    pixels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    assert torch.allclose(predictor(pixels), predictor(pixels.float() / 255))


def test_channels_are_normalised_as_in_training(predictor):
    image = torch.full((1, 3, 4, 4), 0.6)
    assert torch.allclose(predictor(image), torch.tensor([[1.0, 1.6, 1.5]]))


def test_an_image_of_another_size_is_brought_to_the_trained_one(predictor):
    image = torch.full((1, 3, 9, 7), 0.6)
    assert torch.allclose(predictor(image), torch.tensor([[1.0, 1.6, 1.5]]), atol=1e-5)


def test_an_image_of_other_channels_is_refused(predictor):
    with pytest.raises(ValueError, match="images have 1 channels, the network takes 3"):
        predictor(torch.zeros(1, 1, 4, 4))


def test_it_names_its_classes_and_moves_as_a_module(predictor):
    assert predictor.classes == ("cat", "dog")
    assert {"mean", "std"} <= set(predictor.state_dict())
    assert predictor.to(torch.float64).mean.dtype == torch.float64


def test_an_export_without_the_extra_says_what_to_install(predictor, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"pip install 'nasrun\[onnx\]'"):
        predictor.export(tmp_path / "network.onnx")
    assert list(tmp_path.iterdir()) == []
