"""Training a chosen architecture from scratch: the CIFAR recipe and the ImageNet recipe.

Retraining and transfer are two configurations of this one stage (DARTS, 1806.09055, sections 3.1
and 3.3). The test images are read once, after the last round, and the last weights are used.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch

from nasrun import pretrained
from nasrun.context import Context
from nasrun.costs.cost import count
from nasrun.costs.memory import network_bytes
from nasrun.divergence import Diverged, finite
from nasrun.genotype import Genotype
from nasrun.refusing import refuse_below, refuse_clip
from nasrun.schedules import Schedule
from nasrun.spaces.base import ClassifierSpace
from nasrun.spaces.layout import Layout, Stem
from nasrun.stage import Divided, Metrics, Stage
from nasrun.supernet.region import compile_regions
from nasrun.tasks.averaged import Averaged
from nasrun.tasks.base import ImageTask, OptimizerFactory, Part, Subset


class Retrain(Stage, Divided):
    """Train a genotype's network for `epochs` epochs, then test it.

    With `data=all` it trains on the training and the validation part, as published; with
    `data=train` the validation accuracy is logged each round. The probability of drop path grows
    linearly from 0 towards `drop_path`, which it would reach after the last epoch. A round is one
    `rounds_per_epoch`-th of an epoch: the learning rate follows the schedule round by round, and an
    interruption loses at most one round. With `ema`, an exponential moving average of the weights
    over the steps, with this decay, is evaluated and kept. With `weights`, a file of a finished
    training of the same network, the training begins from these instead of new ones; the classifier
    is new if the classes are others.
    """

    def __init__(
        self,
        *,
        epochs: int,
        rounds_per_epoch: int,
        batch_size: int,
        data: Literal["all", "train"],
        channels: int,
        layers: int | None,
        stem: Stem,
        auxiliary: bool,
        drop_path: float,
        optimizer: OptimizerFactory,
        schedule: Schedule,
        clip: float | None,
        task: ImageTask,
        ema: float | None = None,
        weights: str | None = None,
    ) -> None:
        refuse_clip(clip=clip)
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path={drop_path}: use 0 or more, but less than 1")
        if ema is not None and not 0 < ema < 1:
            raise ValueError(f"ema={ema}: use a decay above 0 and below 1, or null for none")
        self.epochs = epochs
        self.rounds_per_epoch = rounds_per_epoch
        self.batch_size = batch_size
        refuse_below(self, epochs=1, rounds_per_epoch=1, batch_size=2)
        self.parts: tuple[Part, ...] = ("train", "validation") if data == "all" else ("train",)
        self.layout = Layout(channels=channels, layers=layers, stem=stem, auxiliary=auxiliary)
        self.drop_path = drop_path
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip = clip
        self.task = task
        self.ema = ema
        self.weights = None if weights is None else Path(weights)

    @property
    def rounds(self) -> int:
        return self.epochs * self.rounds_per_epoch

    @property
    def smallest_batch(self) -> float:
        return self.batch_size

    def begin(self, context: Context[ClassifierSpace, ImageTask], genotype: Genotype) -> None:
        """Build the network of a genotype and read the training data; the task is its own."""
        space, budget = context.space, context.budget
        self.genotype, self.space, self.budget = genotype, space, budget
        self.streams = context.streams
        assert context.task is self.task
        self.round = 0
        budget.refuse_beyond(self.step_bytes, "training this network")
        self.train = self.task.split(*self.parts)
        if len(self.train) < 2 * self.rounds_per_epoch:
            raise ValueError(
                f"rounds_per_epoch={self.rounds_per_epoch}: there are only {len(self.train)} "
                f"images, and a round needs 2; use at most {len(self.train) // 2}"
            )
        for order in torch.arange(len(self.train)).tensor_split(self.rounds_per_epoch):
            budget.refuse_thin(len(order), self.batch_size)
        self.validation = None if "validation" in self.parts else self.task.split("validation")
        network = space.network(
            genotype, inputs=self.task.inputs, outputs=self.task.outputs, layout=self.layout
        )
        if self.weights is not None:
            pretrained.load(network, self.weights, self.task.outputs)
        compile_regions(network, budget)
        learner = self.task.learner(network, optimizer=self.optimizer, clip=self.clip)
        self.learner = (
            learner if self.ema is None else Averaged(learner, self.task, budget.world, self.ema)
        )

    def step_bytes(self) -> int:
        """Return the bytes of a step by shapes: weights, optimizer, activations and gradients."""
        return network_bytes(
            self.space,
            self.genotype,
            self.layout,
            self.task,
            budget=self.budget,
            batch_size=math.ceil(self.batch_size / self.budget.size),
            test_batch=2 * self.batch_size,
            optimizer=self.optimizer,
            averaged=self.ema is not None,
        )

    def run_round(self) -> Metrics:
        part = self.round % self.rounds_per_epoch
        epoch = self.round // self.rounds_per_epoch
        drop_path = self.drop_path * epoch / self.epochs
        self.learner.network.drop_path = drop_path  # type: ignore[assignment]
        whole = self.streams.throughout("order", epoch)
        order = torch.randperm(len(self.train), generator=whole)
        order = order.tensor_split(self.rounds_per_epoch)[part]
        lr = self.schedule.at(self.round / self.rounds, self.learner.first_lr)
        changes = self.streams("augment")
        batches = self.task.batches(self.train, self.batch_size, order, changes)
        steps = math.ceil(len(order) / self.batch_size)
        losses = self.learner.train(self.track(batches, steps), lr)
        if not finite(losses, self.learner.network):
            raise Diverged("the training", losses, ("optimizer.lr", "clip"))
        metrics = {"lr": lr, "drop_path": drop_path, **losses}
        if self.validation is not None:
            metrics.update({f"validation_{name}": y for name, y in self.validate().items()})
        return metrics

    def validate(self) -> Metrics:
        """Return the metrics on the validation part, which is not trained on with `data=train`."""
        assert self.validation is not None
        return self.learner.evaluate(self.validation, 2 * self.batch_size)

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])

    def finish(self, folder: Any) -> dict[str, Any]:
        from nasrun.pictures.confusion import confusion
        from nasrun.pictures.curves import retrain_curves

        network = self.learner.delivered
        some = Subset(self.train, torch.arange(min(len(self.train), 2 * self.batch_size)))
        answered = self.learner.evaluate(some, 2 * self.batch_size)
        if not finite(answered):  # the last step diverged; then no test image is read
            raise Diverged("the training", answered, ("optimizer.lr", "clip"))
        weights = network.state_dict()
        folder.save_weights({name: tensor.detach().cpu() for name, tensor in weights.items()})
        rounds = folder.metrics()
        retrain_curves(rounds, folder.path / "curves.png")
        last = rounds[-1] if self.validation is not None and rounds else {}
        cost = count(network, self.task.inputs, self.task.size)
        network.eval()
        test, answers = self.task.examine(network, self.task.split("test"), 2 * self.batch_size)
        classes = self.task.facts.classes
        folder.write("classes.json", {"classes": answers.by_class(classes)})
        confusion(answers.counts.tolist(), classes, folder.path / "confusion.png")
        return {
            **{f"test_{name}": value for name, value in test.items()},
            "test_balanced_accuracy": answers.balanced_accuracy,
            **{name: value for name, value in last.items() if name.startswith("validation")},
            "weights_of": "last epoch" if self.ema is None else f"average, decay {self.ema}",
            **({} if self.weights is None else {"first_weights": str(self.weights.resolve())}),
            "params": cost.params,
            "macs": cost.macs,
            "epochs": self.epochs,
            "channels": self.layout.channels,
            "layers": self.layout.layers,
            "trained_on": "+".join(self.parts),
            "train_images": len(self.train),
            "genotype": self.space.render(self.genotype),
            "data": asdict(self.task.facts),
        }
