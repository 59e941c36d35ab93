"""Image classification: cross entropy, accuracy, and a learner with one optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

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
from nasrun.world import ALONE, World


class Classification(ImageTask):
    """Cross entropy with label smoothing and, if a network has one, an auxiliary head's loss.

    `share` in (0, 1] is the share of the training and validation images that is used, the same
    stratified part each time; all test images are always used. `blend` mixes the images of a
    training batch.
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
    ) -> None:
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

    def begin(self, dataset: Dataset, budget: Budget) -> None:
        self.dataset, self.budget = dataset, budget
        self.facts = dataset.facts()
        self.inputs, self.outputs = self.facts.channels, self.facts.num_classes
        self.size = self.facts.size

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
            total = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
            for other in auxiliary:
                total = total + self.auxiliary_weight * F.cross_entropy(
                    other, labels, label_smoothing=self.label_smoothing
                )
        return world.weighed(total, part)

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
        count = 0
        sums = []  # (forwards, 3) per batch, on the network's device, so that nothing waits
        for images, labels, *_ in batches:
            count += len(labels)
            with self.budget.autocast():
                logits = [outputs[0] for outputs in forwards(images)]
            sums.append(torch.stack([self._sums(each.float(), labels) for each in logits]))
        own = sum(each.double() for each in torch.stack(sums).cpu()) if sums else None
        counted = [(found, own) for found, own in world.together((count, own)) if own is not None]
        count, totals = (sum(column) for column in zip(*counted, strict=True))
        assert isinstance(totals, Tensor)
        names = ("loss", "accuracy", "top5_accuracy")[: 2 + (self.outputs > 5)]
        means = (totals / count).tolist()
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
        """Return a batch's summed loss, and how many labels rank first and among the first five."""
        loss = F.cross_entropy(logits, labels, reduction="sum")
        ranked = logits.topk(min(5, self.outputs), dim=1).indices == labels[:, None]
        return torch.stack([loss, ranked[:, 0].sum(), ranked.sum()])

    def learner(
        self, network: nn.Module, *, optimizer: OptimizerFactory, clip: float | None
    ) -> Learner:
        return Classifier(self, network, optimizer, clip)


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
