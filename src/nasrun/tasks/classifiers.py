"""Classifiers that train themselves, as members of a population on labelled images.

PBT-NAS (2307.15621) has no such setting; all numbers are ours. A member is trained on the training
part and scored on the validation part; the test part is read when a member is delivered.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from nasrun.budget import Budget
from nasrun.data.augment import Augment
from nasrun.data.base import Dataset
from nasrun.data.splits import Part, Split
from nasrun.networks import ImageClassifier
from nasrun.refusing import refuse_below, refuse_clip
from nasrun.stage import Metrics
from nasrun.tasks.base import ImageMembersTask, MemberLearner, OptimizerFactory
from nasrun.tasks.blend import Blend
from nasrun.tasks.classification import Classification, Classifier
from nasrun.tasks.moments import moments_of, restore_moments
from nasrun.trained import Trained, state_of


class Classifiers(ImageMembersTask):
    """Classification for members of a population; the score is the validation accuracy.

    An interval is `epochs` passes over the training images at the optimizer's constant rate, with
    gradients clipped to the norm `clip`. The rest is as in `Classification`.
    """

    learns_from = Dataset
    trains = ImageClassifier
    objective = score = "validation_accuracy"
    tested = "accuracy"

    def __init__(
        self,
        *,
        augment: Augment,
        label_smoothing: float,
        auxiliary_weight: float,
        share: float,
        epochs: int,
        batch_size: int,
        optimizer: OptimizerFactory,
        clip: float | None,
        blend: Blend | None = None,
        class_weight: Literal["balanced"] | None = None,
    ) -> None:
        self.images: Classification = Classification(
            augment=augment,
            label_smoothing=label_smoothing,
            auxiliary_weight=auxiliary_weight,
            share=share,
            blend=blend,
            class_weight=class_weight,
        )
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.clip = clip
        refuse_below(self, epochs=1, batch_size=2)
        refuse_clip(clip=clip)
        self._parts: dict[Part, Split] = {}

    def begin(self, dataset: Dataset, budget: Budget) -> None:
        self.images.begin(dataset, budget)
        self.inputs, self.outputs = self.images.inputs, self.images.outputs
        self._parts = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the images: a process that receives the task reads them itself."""
        return {**self.__dict__, "_parts": {}}

    def part(self, name: Part) -> Split:
        """Return a part of the images, read once; the test part is not kept."""
        if name == "test":
            return self.images.split(name)
        if name not in self._parts:
            self._parts[name] = self.images.split(name)
        return self._parts[name]

    def check(self, network: nn.Module) -> None:
        assert isinstance(network, ImageClassifier)
        self.part("train"), self.part("validation")  # so that faults in them show now

    def needs(self, network: nn.Module, members: int, intervals: int) -> str:
        steps = math.ceil(len(self.part("train")) / self.batch_size)
        total = members * intervals * self.epochs * steps
        return "" if total < 1_000_000 else f"{total / 1e6:.0f} million training steps in all"

    def learner(self, network: nn.Module) -> ClassifierMember:
        return ClassifierMember(self, network)


class ClassifierMember(MemberLearner):
    """A classifier with its optimizer; `epochs` includes those of its ancestors."""

    def __init__(self, task: Classifiers, network: nn.Module) -> None:
        task.images.budget.apply_in_process()  # a worker process has its own settings
        self.task = task
        self.classifier = Classifier(task.images, network, task.optimizer, task.clip)
        self.network = self.classifier.network
        self.epochs = 0

    def train_interval(self) -> Metrics:
        task, images = self.task, self.task.part("train")
        losses = []
        for _ in range(task.epochs):
            batches = task.images.batches(images, task.batch_size, torch.randperm(len(images)))
            losses.append(self.classifier.train(batches, self.classifier.first_lr)["train_loss"])
            self.epochs += 1
        return {"train_loss": sum(losses) / len(losses)}

    def evaluate(self) -> Metrics:
        task = self.task
        found = self.classifier.evaluate(task.part("validation"), 2 * task.batch_size)
        return {f"validation_{name}": y for name, y in found.items()}

    def test(self) -> Metrics:
        task, network = self.task, self.network.eval()
        metrics, answers = task.images.examine(network, task.part("test"), 2 * task.batch_size)
        return {**metrics, "balanced_accuracy": answers.balanced_accuracy}

    def show(self, path: Path) -> list[str]:
        """Return no pictures."""
        return []

    def trained(self) -> Trained:
        return Trained(
            network=state_of(self.network),
            moments=moments_of(self.network, [self.classifier.optimizer]),
            memory={"epochs": self.epochs},
        )

    def load(self, trained: Trained) -> None:
        self.network.load_state_dict(trained.network)
        restore_moments(self.network, [self.classifier.optimizer], trained.moments)
        self.epochs = trained.memory["epochs"]
