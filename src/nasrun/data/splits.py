"""The parts of an image set, read in batches."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from nasrun.data.augment import Augment, normalise
from nasrun.data.facts import Facts
from nasrun.machine import sent
from nasrun.world import ALONE, World

Part = Literal["train", "validation", "test"]


class Split(ABC):
    """One or more parts of a set, to be read in batches.

    labels: (N,) int64, on the CPU.
    """

    labels: Tensor

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def batches(
        self,
        batch_size: int,
        *,
        augment: Augment | None = None,
        order: Tensor | None = None,
        drop_last: bool = False,
        world: World = ALONE,
        generator: torch.Generator | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield normalised images (B, C, H, W) and labels (B,), on the device.

        Images are float32 in channels_last. order: (n,) int64, the indices to read, in order;
        `None` is all as stored. augment: random changes; `None` changes nothing. drop_last: skip a
        smaller last batch. world: the processes that share every batch; this one's slice is
        yielded. generator: a CPU generator of the changes, `None` for torch's global one.
        """


class TensorSplit(Split):
    """Images that are on the device as one uint8 tensor, and are augmented there in batches.

    images: (N, C, H, W) uint8. labels: (N,) int64.
    """

    def __init__(
        self, *, images: Tensor, labels: Tensor, facts: Facts, device: torch.device
    ) -> None:
        assert images.dtype == torch.uint8 and len(images) == len(labels)
        self.labels = labels
        self._images = images.to(device)
        self._labels = labels.to(device)
        self._facts = facts

    def __len__(self) -> int:
        return len(self.labels)

    def batches(
        self,
        batch_size: int,
        *,
        augment: Augment | None = None,
        order: Tensor | None = None,
        drop_last: bool = False,
        world: World = ALONE,
        generator: torch.Generator | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.arange(len(self)) if order is None else order
        for index in batched(order, batch_size, drop_last):
            part = world.slice(len(index))
            index = sent(index[part.range], self._images.device)
            images = self._images[index]
            if augment is None:
                changed = normalise(images, self._facts)
            else:
                changed = augment(images, self._facts, part, generator)
            yield changed, self._labels[index]


class Subset(Split):
    """Some images of a split as a split; indices: (n,) int64."""

    def __init__(self, whole: Split, indices: Tensor) -> None:
        self.labels = whole.labels[indices]
        self._whole = whole
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def batches(
        self,
        batch_size: int,
        *,
        augment: Augment | None = None,
        order: Tensor | None = None,
        drop_last: bool = False,
        world: World = ALONE,
        generator: torch.Generator | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        order = self._indices if order is None else self._indices[order]
        yield from self._whole.batches(
            batch_size,
            augment=augment,
            order=order,
            drop_last=drop_last,
            world=world,
            generator=generator,
        )


def batched(order: Tensor, batch_size: int, drop_last: bool) -> tuple[Tensor, ...]:
    """Return the indices of each batch; a smaller last batch can be dropped."""
    if drop_last and len(order) < batch_size:
        raise ValueError(
            f"batch_size={batch_size}: there are only {len(order)} images; use at most {len(order)}"
        )
    batches = torch.split(order, batch_size)
    return batches[:-1] if drop_last and len(order) % batch_size else batches
