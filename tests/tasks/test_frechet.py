"""The Frechet distance against SciPy's matrix root and closed forms; the small features."""

import pickle

import numpy
import pytest
import scipy.linalg
import torch

from nasrun.budget import Budget
from nasrun.data.images import Digits
from nasrun.tasks.frechet import OwnFeatures, frechet, moments, pixels

CPU = torch.device("cpu")


def digits(images=200):
    return Digits(size=None, images=images, validation=0.25, split_seed=0)


def test_it_is_that_of_scipys_matrix_root():
    torch.manual_seed(0)
    first, second = torch.randn(300, 5) @ torch.randn(5, 5), torch.randn(200, 5) + 1
    (m1, s1), (m2, s2) = ([x.numpy() for x in moments(part)] for part in (first, second))
    root = scipy.linalg.sqrtm(s1 @ s2).real
    expected = numpy.square(m1 - m2).sum() + numpy.trace(s1 + s2 - 2 * root)
    assert frechet(moments(first), moments(second)) == pytest.approx(expected, rel=1e-6)


def test_of_equal_features_it_is_zero_and_of_shifted_ones_the_squared_shift():
    torch.manual_seed(0)
    features = torch.randn(100, 4, dtype=torch.float64)
    shift = torch.tensor([1.0, 2.0, 0.0, 0.0], dtype=torch.float64)
    assert frechet(moments(features), moments(features)) == pytest.approx(0, abs=1e-9)
    assert frechet(moments(features), moments(features + shift)) == pytest.approx(5)


def test_pixels_are_the_data_sets_own():
    data = digits()
    images, labels = pixels(data, "train", "validation", device=CPU)
    stored = torch.cat([part[0] for part in data.training().values()])
    assert torch.equal(images, stored)
    assert images.shape == (200, 1, 8, 8)
    assert labels.shape == (200,)


def test_noise_is_farther_than_real_images_and_few_classes_are_seen():
    budget = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
    data = digits(None)
    distance = OwnFeatures(samples=300, report_samples=300, epochs=3, lr=4e-3, batch_size=64)
    distance.begin(data, budget)
    images, labels = pixels(data, "train", "validation", device=CPU)
    ones = images[labels == 1]
    real = distance.search(lambda count: images[:count])["fid"]
    noise = distance.search(lambda count: torch.randint(0, 256, (count, 1, 8, 8)).byte())["fid"]
    assert real < 0.2 * noise
    assert 0.07 < distance.report(lambda count: images[:count])["smallest_class"] < 0.1
    report = distance.report(lambda count: ones.repeat(2, 1, 1, 1)[:count])
    assert report["smallest_class"] < 0.02
    assert report["fid"] > report["fid_floor"]
    assert report["classifier_accuracy"] > 0.8


def test_classifiers_stay_on_the_cpu_whatever_device_scores_with_them():
    budget = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
    distance = OwnFeatures(samples=40, report_samples=40, epochs=1, lr=4e-3, batch_size=64)
    pickle.dumps(distance)  # also before it has begun
    distance.begin(digits(64), budget)
    assert distance._here(distance.first) is distance.first
    distance.device = torch.device("meta")  # as another GPU
    assert {weight.device.type for weight in distance._here(distance.first).parameters()} == {
        "meta"
    }
    sent = pickle.loads(pickle.dumps(distance))
    for each in (distance, sent):
        for classifier in (each.first, each.second):
            assert {weight.device for weight in classifier.parameters()} == {CPU}


def test_a_classifier_that_diverges_is_told_before_anything_is_trained_on_it():
    budget = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
    distance = OwnFeatures(samples=40, report_samples=40, epochs=1, lr=1e30, batch_size=64)
    with pytest.raises(ValueError, match=r"images diverged; use a smaller task\.distance\.lr"):
        distance.begin(digits(64), budget)
