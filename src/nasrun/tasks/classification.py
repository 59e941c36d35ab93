"""Image classification: cross entropy, accuracy, and a learner with one optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from nasrun.budget import Budget
from nasrun.data.augment import Augment
from nasrun.data.base import Dataset
from nasrun.data.holdout import stratified
from nasrun.data.images import refuse_empty
from nasrun.data.splits import Part, Split, Subset, batched
from nasrun.stage import Metrics
from nasrun.tasks.base import (
    Batch,
    Forward,
    Forwards,
    ImageTask,
    Learner,
    OptimizerFactory,
    Sliced,
    Track,
    optimizer_of,
)
from nasrun.tasks.blend import Blend
from nasrun.tasks.confusion import Confusion
from nasrun.world import ALONE, World


class Classification(ImageTask):
    """Cross entropy with label smoothing and, if a network has one, an auxiliary head's loss.

    `share` in (0, 1] is the share of the training and validation images that is used, the same
    stratified part each time; all test images are always used. `blend` mixes the images of a
    training batch. With `class_weight=balanced`, the loss of an image is weighted by
    images / (classes * images of its class), counted in the training part; that of a mixed image,
    by the mean over its classes.
    """

    objective = "accuracy"

    def __init__(
        self,
        *,
        augment: Augment,
        label_smoothing: float,
        auxiliary_weight: float,
        share: float,
        blend: Blend | None = None,
        class_weight: Literal["balanced"] | None = None,
    ) -> None:
        if class_weight not in (None, "balanced"):
            raise ValueError(f"class_weight={class_weight}: use balanced or null")
        if not 0 < share <= 1:
            raise ValueError(f"share={share}: use more than 0 and at most 1")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing={label_smoothing}: use 0 or more, but less than 1")
        if auxiliary_weight < 0:
            raise ValueError(f"auxiliary_weight={auxiliary_weight}: use 0 or more")
        self.augment = augment
        self.label_smoothing = label_smoothing
        self.auxiliary_weight = auxiliary_weight
        self.share = share
        self.blend = blend
        self.class_weight = class_weight
        self.class_weights: Tensor | None = None

    def begin(self, dataset: Dataset, budget: Budget) -> None:
        self.dataset, self.budget = dataset, budget
        self.facts = dataset.facts()
        self.inputs, self.outputs = self.facts.channels, self.facts.num_classes
        self.size = self.facts.size
        if self.class_weight is not None:
            labels = dataset.split("train", device=torch.device("cpu")).labels
            self.class_weights = balanced(labels, self.facts.classes)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the weights of classes on the CPU: another process has a device of its own."""
        weights = self.class_weights
        return {**self.__dict__, "class_weights": None if weights is None else weights.cpu()}

    def split(self, *parts: Part) -> Split:
        whole = self.dataset.split(*parts, device=self.budget.torch_device)
        if self.share == 1 or "test" in parts:
            return whole
        count = round(self.share * len(whole))
        try:
            kept = self.subset(whole, count)
            refuse_empty(kept.labels, parts)
        except ValueError as error:
            raise ValueError(
                f"share={self.share}: {count} of {len(whole)} images are left, not enough for one "
                "of every class; use a larger share"
            ) from error
        return kept

    def subset(self, split: Split, count: int) -> Split:
        try:
            (kept,) = stratified(split.labels, [count], seed=0)
        except ValueError as error:
            raise ValueError(
                f"images={count}: there are {len(split)}; use at most {len(split)}, and enough for "
                "one of every class"
            ) from error
        return Subset(split, kept)

    def batches(
        self,
        split: Split,
        batch_size: int,
        order: Tensor,
        generator: torch.Generator | None = None,
    ) -> Iterator[Sliced]:
        for batch in self._batches(split, batch_size, order, generator, self.budget.world):
            if self.blend is None:
                yield batch
            else:
                images, labels = self.blend(*batch[:2], self.outputs, generator)
                yield Sliced(images, labels, batch.part)

    def _batches(
        self,
        split: Split,
        batch_size: int,
        order: Tensor,
        generator: torch.Generator | None,
        world: World,
    ) -> Iterator[Sliced]:
        lonely = len(order) % batch_size == 1  # batch norm has no variance over one image
        pairs = split.batches(
            batch_size,
            augment=self.augment,
            order=order,
            drop_last=lonely,
            world=world,
            generator=generator,
        )
        whole = batched(order, batch_size, lonely)
        for (images, labels), index in zip(pairs, whole, strict=False):  # a portion has fewer
            yield Sliced(images, labels, world.slice(len(index)))

    def loss(self, forward: Forward, batch: Sliced | Batch) -> Tensor:
        world, (images, labels, part) = self.budget.world, Sliced(*batch)
        part = ALONE.slice(len(labels)) if part is None else part
        with self.budget.autocast(), world.dividing(part):
            logits, *auxiliary = forward(images)
            total = self._cross_entropy(logits, labels)
            for other in auxiliary:
                total = total + self.auxiliary_weight * self._cross_entropy(other, labels)
        return world.weighed(total, part)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the images of a batch, each with the weight of its class.

        Torch's own weights are not used: they also weight what smoothing gives to other classes,
        so that the best answer to an image of a frequent class would be a rare one.
        """
        smoothing = self.label_smoothing
        if self.class_weights is None:
            return F.cross_entropy(logits, labels, label_smoothing=smoothing)
        self.class_weights = weights = self.class_weights.to(logits.device)
        losses = F.cross_entropy(
            logits.float(), labels, label_smoothing=smoothing, reduction="none"
        )
        return ((weights[labels] if labels.ndim == 1 else labels.float() @ weights) * losses).mean()

    @torch.no_grad()
    def compare(
        self,
        forwards: Forwards,
        split: Split,
        batch_size: int,
        *,
        augmented: torch.Generator | None = None,
        track: Track | None = None,
    ) -> list[Metrics]:
        # an augmented measurement changes the network
        world = self.budget.world if augmented is None else ALONE
        batches: Iterable[Sliced | Batch] = self._whole(split, batch_size, world)
        if augmented is not None:
            order = torch.randperm(len(split), generator=augmented)
            batches = self._batches(split, batch_size, order, augmented, world)
        if track is not None:
            batches = track(batches, math.ceil(len(split) / batch_size / world.size))
        sums = [  # on the network's device, so that nothing waits
            torch.stack([self._sums(each, labels) for each in logits])
            for logits, labels in self._answered(forwards, batches)
        ]
        return self._means(sums, world)

    @torch.no_grad()
    def examine(self, forward: Forward, split: Split, batch_size: int) -> tuple[Metrics, Confusion]:
        world, sums, pairs = self.budget.world, list[Tensor](), list[Tensor]()
        batches = self._whole(split, batch_size, world)
        for (logits,), labels in self._answered(lambda x: [forward(x)], batches):
            sums.append(self._sums(logits, labels)[None])
            pairs.append(torch.stack([labels, self._ranked(logits)[:, 0]]))
        (metrics,) = self._means(sums, world)
        own = torch.cat(pairs, dim=1).cpu() if pairs else torch.zeros(2, 0, dtype=torch.int64)
        labels, answers = torch.cat(world.together(own), dim=1)
        return metrics, Confusion.of(labels, answers, self.outputs)

    def _answered(
        self, forwards: Forwards, batches: Iterable[Sliced | Batch]
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Yield the logits of every network on a batch, and the batch's labels."""
        for images, labels, *_ in batches:
            with self.budget.autocast():
                logits = [outputs[0] for outputs in forwards(images)]
            yield [each.float() for each in logits], labels

    def _means(self, sums: Sequence[Tensor], world: World) -> list[Metrics]:
        """Return the metrics of every network over the batches of all processes.

        sums: per batch of this process, those of each network, (networks, 4).
        """
        own = sum(each.double() for each in torch.stack([*sums]).cpu()) if sums else None
        totals = sum(found for found in world.together(own) if found is not None)
        assert isinstance(totals, Tensor)
        names = ["loss", "accuracy", *(["top5_accuracy"] if self.outputs > 5 else [])]
        means = (totals[:, 1:] / totals[:, :1]).tolist()
        return [dict(zip(names, row, strict=False)) for row in means]

    def _whole(self, split: Split, batch_size: int, world: World) -> Iterator[Batch]:
        """Return this process's batches of all images in order.

        A single last image joins the batch before it, since batch norm that uses the batch has no
        variance over one image.
        """
        order, longer = torch.arange(len(split)), []
        if len(split) > batch_size and len(split) % batch_size == 1:
            order, last = order.tensor_split([len(split) - batch_size - 1])
            longer = [last]
        own = world.own([index for index in (*order.split(batch_size), *longer) if len(index)])
        regular = [index for index in own if len(index) <= batch_size]
        for alike in (regular, own[len(regular) :]):
            if alike:
                yield from split.batches(max(map(len, alike)), order=torch.cat(list(alike)))

    def _sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return a batch's images, summed loss, and labels that rank first and among five."""
        loss = F.cross_entropy(logits, labels, reduction="sum")
        right = self._ranked(logits) == labels[:, None]
        return torch.stack([loss.new_full((), len(labels)), loss, right[:, 0].sum(), right.sum()])

    def _ranked(self, logits: Tensor) -> Tensor:
        """Return the five likeliest classes (B, 5), fewer if there are fewer."""
        return logits.topk(min(5, self.outputs), dim=1).indices

    def learner(
        self, network: nn.Module, *, optimizer: OptimizerFactory, clip: float | None
    ) -> Learner:
        return Classifier(self, network, optimizer, clip)


def balanced(labels: Tensor, classes: Sequence[str]) -> Tensor:
    """Return one weight per class, with which all classes weigh the same; the mean image has 1."""
    counts = labels.bincount(minlength=len(classes))
    if absent := [name for name, count in zip(classes, counts, strict=True) if not count]:
        raise ValueError(
            f"class_weight=balanced: no training image shows {absent[0]}; add some, or use null"
        )
    return len(labels) / (len(classes) * counts)


class Classifier(Learner):
    """A network and its optimizer on a classification task."""

    def __init__(
        self,
        task: Classification,
        network: nn.Module,
        optimizer: OptimizerFactory,
        clip: float | None,
    ) -> None:
        self.task = task
        self.network = network.to(task.budget.torch_device).to(memory_format=torch.channels_last)
        self.world = task.budget.world
        self.world.enter(self.network)
        self.reduce = self.world.reduction(self.network)
        self.optimizer = optimizer_of(optimizer, self.network.parameters())
        self.clip = clip
        self._first_lr: float = self.optimizer.param_groups[0]["lr"]

    @property
    def delivered(self) -> nn.Module:
        return self.network

    @property
    def first_lr(self) -> float:
        return self._first_lr

    def train(self, batches: Iterable[Sliced | Batch], lr: float) -> Metrics:
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        losses = []
        for batch in batches:
            loss = self.task.loss(self.network, batch)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.reduce()
            if self.clip is not None:
                clip_grad_norm_(self.network.parameters(), self.clip)
            self.optimizer.step()
            losses.append(loss.detach())
        mean = torch.stack(losses).mean()
        self.world.average([mean])
        self.world.settle(self.network)
        return {"train_loss": float(mean)}

    def evaluate(self, split: Split, batch_size: int) -> Metrics:
        self.network.eval()
        return self.task.evaluate(self.network, split, batch_size)

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
