"""Images are held out by a seeded shuffle, or individually by the hash of their names.

Both are stratified: real sets are sorted by class, so that a plain slice would miss classes.
Shuffled parts have exact sizes, with every class within one image of its share. An image that is
held out by its name stays in its part when others are added or removed; such a part has its share
of every class on average, and at least one image.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Labelled:
    """Images that are to be divided.

    labels: (N,) int64. classes: their names, for messages. aside: (N,) bool, the images that the
    set itself reserves for validation. draws: (N,) float64 in 0 .. 1 by which an image is held out
    independently of the others; `None` uses a seeded shuffle.
    """

    labels: Tensor
    classes: Sequence[str] = ()
    aside: Tensor | None = None
    draws: Tensor | None = None

    def name(self, label: int) -> str:
        """Return the name of a label."""
        return self.classes[label] if self.classes else str(label)


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """Caps the training images and divides them into train and validation.

    images: the largest number of images of both parts together; `None` is all. validation: the
    fraction held out; `None` is the part that the set itself reserves, else one half.
    """

    images: int | None
    validation: float | None
    split_seed: int

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 1:
            raise ValueError(f"dataset.images={self.images}: use a number above 0, or null")
        if self.validation is not None and not 0 <= self.validation < 1:
            raise ValueError(
                f"dataset.validation={self.validation}: use a fraction from 0 to below 1"
            )

    def split(self, images: Labelled) -> tuple[Tensor, Tensor]:
        """Return the indices of the train and of the validation images."""
        count = len(images.labels)
        total = min(self.images or count, count)
        fraction = 0.5 if self.validation is None else self.validation
        aside = images.aside
        if aside is not None and self.validation is not None:
            raise ValueError(
                f"dataset.validation={self.validation}: the set has a validation part of its own, "
                "use null"
            )
        if aside is None and images.draws is not None:
            aside = held_out(images, fraction)
        if aside is None:
            held = math.ceil(round(fraction * total, 6))  # 0.1 * 30 is above 3 in binary
            held = min(held, total - 1)  # else 0.99 of 64 images would be all of them
            train, validation = stratified(images, [total - held, held], self.split_seed)
            return train, validation
        held = round(total * int(aside.sum()) / count)
        if held == 0 < int(aside.sum()):
            raise ValueError(
                f"dataset.images={self.images}: this leaves no image for validation, which has "
                f"{int(aside.sum())} of all {count}; use a larger number"
            )
        if held == total and int(aside.sum()) < count:
            raise ValueError(
                f"dataset.images={self.images}: this leaves no image for training, which has "
                f"{count - int(aside.sum())} of all {count}; use a larger number"
            )
        return self._some(images, ~aside, total - held), self._some(images, aside, held)

    def _some(self, images: Labelled, which: Tensor, size: int) -> Tensor:
        """Return `size` of these images, every class with its share.

        With draws, most of a smaller selection is part of a larger one.
        """
        index = which.nonzero().flatten()
        if size == 0:
            return index[:0]
        draws = None if images.draws is None else images.draws[index]
        part = Labelled(images.labels[index], images.classes, None, draws)
        (chosen,) = stratified(part, [size], self.split_seed)
        return index[chosen]


def draws(names: Sequence[str], purpose: str) -> Tensor:
    """Return (N,) float64, uniform in 0 .. 1: a hash of the purpose and of each name."""
    salt = hashlib.blake2b(purpose.encode(), digest_size=16).digest()

    def draw(name: str) -> float:
        digest = hashlib.blake2b(name.encode(), digest_size=8, key=salt).digest()
        return int.from_bytes(digest, "big") / 2**64

    return torch.tensor([draw(name) for name in names], dtype=torch.float64)


def held_out(images: Labelled, fraction: float) -> Tensor:
    """Return (N,) bool: the images whose draw is below the fraction.

    If no draw of a class is below it, the lowest one is held out; if all are, the highest one is
    not. ValueError names a class with too few images for that.
    """
    assert images.draws is not None
    out = images.draws < fraction
    if fraction == 0:
        return out
    for label, members in zip(*_by_class(images.labels), strict=True):
        if len(members) < 2:
            raise ValueError(
                f"dataset.root: class {images.name(label)} has only 1 image to divide between two "
                "parts, and train, validation and test each need one; put more images into its "
                "folder"
            )
        order = members[images.draws[members].argsort()]
        out[order[0]] = True
        out[order[-1]] = False
    return out


def stratified(images: Labelled | Tensor, sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Return disjoint shuffled parts of the given sizes, every class within 1 of its share.

    images: in any order; labels are sufficient. Returns one index tensor per size; if sizes sum to
    less than N, images are left out. The result depends only on the seed, or on the images' draws;
    the global generator is not used.
    """
    images = Labelled(images) if isinstance(images, Tensor) else images
    labels = images.labels
    assert min(sizes) >= 0
    if sum(sizes) > len(labels):
        raise ValueError(
            f"parts of {list(sizes)} images: there are only {len(labels)}; make them smaller"
        )
    order = _Shuffle(seed) if images.draws is None else _Sort(images.draws)
    classes, members = _by_class(labels)
    shares = _shares([len(each) for each in members], list(sizes))
    parts: list[list[Tensor]] = [[] for _ in sizes]
    columns = zip(*shares, strict=True)
    for label, those, taken in zip(classes, members, columns, strict=True):
        for size, count in zip(sizes, taken, strict=False):
            if count == 0 < size:
                raise ValueError(
                    f"class {images.name(label)}, with {len(those)} of {len(labels)} images, has "
                    f"none in a part of {size}; use more images of it, a higher dataset.images, or "
                    "a dataset.validation nearer to 0.5"
                )
        for part, chosen in zip(parts, torch.split(order(those), list(taken)), strict=False):
            part.append(chosen)
    return [order(torch.cat([torch.empty(0, dtype=torch.int64), *part])) for part in parts]


@dataclass(frozen=True)
class _Sort:
    """Orders images by their draws."""

    draws: Tensor

    def __call__(self, indices: Tensor) -> Tensor:
        return indices[self.draws[indices].argsort()]


class _Shuffle:
    """Orders images randomly by a seed."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, indices: Tensor) -> Tensor:
        return indices[torch.randperm(len(indices), generator=self.generator)]


def _by_class(labels: Tensor) -> tuple[list[int], tuple[Tensor, ...]]:
    """Return the labels that occur, and the indices of the images of each."""
    classes, counts = torch.unique(labels, return_counts=True)
    return classes.tolist(), torch.split(labels.argsort(stable=True), counts.tolist())


def _shares(counts: list[int], sizes: list[int]) -> list[list[int]]:
    """Return how many images of each class each part gets; the last row has those left out.

    Rows sum to the sizes, columns to the counts, and every number is its proportional share rounded
    down, or one more.
    """
    total = sum(counts)
    sizes = [*sizes, total - sum(sizes)]
    floors = [[size * count // total for count in counts] for size in sizes]
    shares = [list(row) for row in floors]
    missing = [size - sum(row) for size, row in zip(sizes, shares, strict=False)]
    # A matrix of zeros and ones with given row and column sums, by Ryser's construction: every
    # column puts its ones into the rows that still lack most.
    for label, count in enumerate(counts):
        ones = count - sum(row[label] for row in shares)
        for part in sorted(range(len(sizes)), key=lambda row: -missing[row])[:ones]:
            shares[part][label] += 1
            missing[part] -= 1
    _fill_empty(shares, floors)
    return shares


def _fill_empty(shares: list[list[int]], floors: list[list[int]]) -> None:
    """Give every part an image of every class if an exchange can keep all sums and bounds.

    In an exchange, the part gives its surplus image of another class to a row that has a surplus
    image of this one. The last row, of those left out, may become empty.
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
