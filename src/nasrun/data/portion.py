"""A data set of which only a portion is read, to try work that would take too long."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nasrun.data.augment import Augment
from nasrun.data.base import Dataset, Watched
from nasrun.data.contents import Contents
from nasrun.data.facts import Facts
from nasrun.data.splits import Part, Split, batched
from nasrun.world import ALONE, World


@dataclass
class Portion:
    """The portion of the data to read, and a record of what was asked for and read."""

    share: float = 1.0
    most: int | None = None
    asked: list[tuple[int, int]] = field(default_factory=list)
    """Numbers of batches and images of every pass."""
    whole: int = 0
    batches: int = 0
    images: int = 0
    """Totals over the batches that were read: their full images, their number, the images read."""

    def take(self, share: float, most: int | None) -> None:
        """Read this share of every batch, and at most `most` batches per pass; reset the record."""
        self.share, self.most = share, most
        self.asked, self.whole, self.batches, self.images = [], 0, 0, 0

    @property
    def complete(self) -> bool:
        """Return whether all requested images were read."""
        return self.whole == self.images and self.batches >= sum(n for n, _ in self.asked)

    def of(self, index: Tensor) -> Tensor:
        """Return the part of a batch to read: at least two images, for batch norms."""
        return index[: max(2, round(self.share * len(index)))]


class PortionOfSplit(Split):
    """A split of which a portion is read; its length is that of the whole."""

    def __init__(self, split: Split, portion: Portion) -> None:
        self.labels = split.labels
        self._split = split
        self._portion = portion

    def __len__(self) -> int:
        return len(self._split)

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
        portion = self._portion
        order = torch.arange(len(self)) if order is None else order
        whole = batched(order, batch_size, drop_last)
        portion.asked.append((len(whole), sum(map(len, whole))))
        taken = whole[: portion.most]
        parts = [portion.of(index) for index in taken]
        if not parts:
            return
        together = max(map(len, parts))
        batches = self._split.batches(
            together,
            augment=augment,
            order=torch.cat(parts),
            world=world,
            generator=generator,
        )
        for index, (images, labels) in zip(taken, batches, strict=False):
            portion.whole += len(index)
            portion.batches += 1
            portion.images += len(labels)
            yield images, labels


class PortionOfData(Dataset):
    """A data set of which a portion is read."""

    def __init__(self, dataset: Dataset, portion: Portion) -> None:
        self._dataset, self._portion = dataset, portion

    def check(self) -> None:
        self._dataset.check()

    def look(self, watched: Watched) -> None:
        self._dataset.look(watched)

    def contents(self) -> Contents | None:
        return self._dataset.contents()

    def facts(self) -> Facts:
        return self._dataset.facts()

    def split(self, *parts: Part, device: torch.device) -> Split:
        return PortionOfSplit(self._dataset.split(*parts, device=device), self._portion)

    def count_test(self) -> int:
        return self._dataset.count_test()
