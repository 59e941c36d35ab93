"""Frechet distances between features of generated and real images (1706.08500).

At full size the features are Inception's, from a file that the user gives. For small images of
classes that a network can learn in seconds, `OwnFeatures` trains two small classifiers: one for
selection, and one with other random numbers for the report, which uses the test images. These
distances can be compared with each other, but never with Inception's.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.budget import Budget
from nasrun.data.base import Dataset
from nasrun.data.facts import Facts
from nasrun.data.splits import Part
from nasrun.divergence import Diverged
from nasrun.machine import one_thread
from nasrun.stage import Metrics
from nasrun.streams import restored

Sampler = Callable[[int], Tensor]
"""Returns `count` generated images (B, C, H, W) uint8, drawn from torch's global generator."""
BATCH = 500


def pixels(dataset: Dataset, *parts: Part, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the images (N, C, H, W) uint8 of these parts, and their labels."""
    facts, split = dataset.facts(), dataset.split(*parts, device=device)
    mean, std = (torch.tensor(x, device=device)[:, None, None] for x in (facts.mean, facts.std))
    images = [
        ((batch * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        for batch, _ in split.batches(BATCH)
    ]
    return torch.cat(images).contiguous(), split.labels.to(device)


def frechet(first: Moments, second: Moments) -> float:
    """Return |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^.5 S2 S1^.5)^.5) of two Gaussians, in float64."""
    root = _root(first[1])
    cross = torch.linalg.eigvalsh(root @ second[1] @ root).clamp_min(0).sqrt().sum()
    distance = (first[0] - second[0]).square().sum() + first[1].trace() + second[1].trace()
    return max(0.0, float(distance - 2 * cross))


Moments = tuple[Tensor, Tensor]
"""Mean (d,) and covariance (d, d) of features, float64."""


def moments(features: Tensor) -> Moments:
    """Return the moments of features (N, d)."""
    features = features.cpu().double()  # Apple's GPUs have no float64
    return features.mean(0), torch.cov(features.T)


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


class Distance(ABC):
    """A distance of generated to real images; settings in the constructor, data in `begin`."""

    @abstractmethod
    def begin(self, dataset: Dataset, budget: Budget) -> None:
        """Measure the real images."""

    @abstractmethod
    def search(self, sample: Sampler) -> Metrics:
        """Return `fid` to the training images, for selection."""

    @abstractmethod
    def report(self, sample: Sampler) -> Metrics:
        """Return `fid` as it is reported, and metrics that explain it."""


class OwnFeatures(Distance):
    """Features of a small classifier of the images' own classes, 32 numbers per image.

    Selection compares `samples` samples with the training images (train and validation part). The
    report uses another classifier, `report_samples` samples and the test images; `fid_floor` is the
    distance of the real training images, `smallest_class` the share of the rarest class among
    samples.
    """

    def __init__(
        self, *, samples: int, report_samples: int, epochs: int, lr: float, batch_size: int
    ) -> None:
        for key, value in (("samples", samples), ("report_samples", report_samples)):
            if value < 2:
                raise ValueError(
                    f"{key}={value}: use at least 2, preferably 960 (30 per feature) or more"
                )
        if epochs < 1 or batch_size < 1 or not lr > 0:
            raise ValueError(
                f"epochs={epochs} batch_size={batch_size} lr={lr}: "
                "use at least 1 epoch, 1 image and lr > 0"
            )
        self.samples = samples
        self.report_samples = report_samples
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size

    def begin(self, dataset: Dataset, budget: Budget) -> None:
        self.dataset, self.device = dataset, budget.torch_device
        images, labels = pixels(dataset, "train", "validation", device=torch.device("cpu"))
        self.first, self.second = (self._classifier(images, labels, seed) for seed in (1, 2))
        images = images.to(self.device)
        self.real = moments(self._here(self.first).features_of(images))
        self.floor_of = moments(self._here(self.second).features_of(images))
        if not all(bool(x.isfinite().all()) for x in (*self.real, *self.floor_of)):
            raise Diverged("the classifier of the images", {}, ["task.distance.lr"])

    def _here(self, classifier: Classes) -> Classes:
        """Return a classifier on the device.

        The classifiers stay on the CPU themselves, so that workers, which may use another GPU, can
        be sent them.
        """
        if self.device.type == "cpu":
            return classifier
        return copy.deepcopy(classifier).to(self.device)

    def _classifier(self, images: Tensor, labels: Tensor, seed: int) -> Classes:
        """Return the classifier of a seed, trained on the CPU with one thread.

        So it is the same in every process of a machine, whatever the budget: a search that is
        resumed trains it again, and its scores must mean the same.
        """
        facts = self.dataset.facts()
        with restored(), one_thread():
            torch.manual_seed(seed)
            classifier = Classes(facts)
            optimizer = torch.optim.AdamW(classifier.parameters(), lr=self.lr)
            steps = self.epochs * -(-len(labels) // self.batch_size)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=steps)
            for _ in range(self.epochs):
                for index in torch.randperm(len(labels)).split(self.batch_size):
                    logits = classifier(images[index])
                    loss = F.cross_entropy(logits, labels[index])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
        return classifier.requires_grad_(False).eval()

    def search(self, sample: Sampler) -> Metrics:
        features = self._here(self.first).features_of(sample(self.samples))
        return {"fid": frechet(moments(features), self.real)}

    def report(self, sample: Sampler) -> Metrics:
        images, labels = pixels(self.dataset, "test", device=self.device)
        second = self._here(self.second)
        real = moments(second.features_of(images))
        features = second.features_of(sample(self.report_samples))
        classes = second.head(features).argmax(1)
        shares = torch.bincount(classes, minlength=second.head.out_features) / len(classes)
        hits = second.head(second.features_of(images)).argmax(1) == labels
        return {
            "fid": frechet(moments(features), real),
            "fid_floor": frechet(self.floor_of, real),
            "smallest_class": float(shares.min()),
            "classifier_accuracy": float(hits.float().mean()),
        }


class Classes(nn.Module):
    """A classifier with three convolutions and 32 features."""

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        half = facts.size // 2
        self.body = nn.Sequential(
            nn.Conv2d(facts.channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(min(half, 4)),
            nn.Flatten(),
            nn.Linear(64 * min(half, 4) ** 2, 32),
            nn.ReLU(),
        )
        self.head = nn.Linear(32, facts.num_classes)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) uint8 -> (B, classes)
        return self.head(self.body(images.float() / 127.5 - 1))

    @torch.no_grad()
    def features_of(self, images: Tensor) -> Tensor:
        """Return the features (N, 32) of images (N, C, H, W) uint8."""
        return torch.cat([self.body(part.float() / 127.5 - 1) for part in images.split(BATCH)])


class Inception(Distance):
    """The published FID: features of the TensorFlow Inception-v3 (extra `gan`, torch-fidelity).

    `weights` is the path of torch-fidelity's file `weights-inception-2015-12-05-6726825d.pth`.
    `samples` are compared for selection and `report_samples` for the report, both with the training
    images, as published.
    """

    def __init__(self, *, weights: str, samples: int, report_samples: int) -> None:
        for key, value in (("samples", samples), ("report_samples", report_samples)):
            if value < 2:
                raise ValueError(f"{key}={value}: use at least 2; papers use 5000 and 50000")
        self.weights = Path(weights)
        self.samples = samples
        self.report_samples = report_samples

    def begin(self, dataset: Dataset, budget: Budget) -> None:
        if not self.weights.is_file():
            raise ValueError(
                f"task.distance.weights={self.weights}: no such file; give torch-fidelity's "
                "weights-inception-2015-12-05-6726825d.pth"
            )
        try:
            import torch_fidelity  # noqa: F401  checks that it is installed
        except ModuleNotFoundError as error:
            raise ValueError(
                "task.distance: Inception's features need torch-fidelity; pip install 'nasrun[gan]'"
            ) from error
        self.device = budget.torch_device
        self._network: Any = None
        images, _ = pixels(dataset, "train", "validation", device=self.device)
        self.real = moments(self._features(images))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_network": None}

    @torch.no_grad()
    def _features(self, images: Tensor) -> Tensor:
        if self._network is None:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

            self._network = FeatureExtractorInceptionV3(
                "inception", ["2048"], feature_extractor_weights_path=str(self.weights)
            ).to(self.device)
        colour = images.expand(-1, 3, -1, -1)
        return torch.cat([self._network(part)[0] for part in colour.split(BATCH)])

    def search(self, sample: Sampler) -> Metrics:
        return {"fid": frechet(moments(self._features(sample(self.samples))), self.real)}

    def report(self, sample: Sampler) -> Metrics:
        return {"fid": frechet(moments(self._features(sample(self.report_samples))), self.real)}
