"""How images are held out: by a seeded shuffle, or one by one by the names of their files.

Both are stratified: real sets come sorted by class, and a plain slice would then miss classes.
Shuffled parts have exact sizes, every class within one image of its share. A file that its name
holds out stays where it is, whatever is added or removed beside it; its part has its share of every
class on average, and at least one image.
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

    labels: (N,) int64. classes: their names, for those who are told of one. aside: (N,) bool, the
    images that the set itself sets aside for validation. draws: (N,) float64 in 0 .. 1, by which an
    image is held out whatever else is there; None leaves it to a seeded shuffle.
    """

    labels: Tensor
    classes: Sequence[str] = ()
    aside: Tensor | None = None
    draws: Tensor | None = None

    def name(self, label: int) -> str:
        """What a label is called."""
        return self.classes[label] if self.classes else str(label)


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
            raise ValueError(f"dataset.images={self.images}: use a number above 0, or null")
        if self.validation is not None and not 0 <= self.validation < 1:
            raise ValueError(
                f"dataset.validation={self.validation}: use a fraction from 0 to below 1"
            )

    def split(self, images: Labelled) -> tuple[Tensor, Tensor]:
        """The indices of the train and of the validation images."""
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
            train, validation = stratified(images, [total - held, held], self.split_seed)
            return train, validation
        held = round(total * int(aside.sum()) / count)
        return self._some(images, ~aside, total - held), self._some(images, aside, held)

    def _some(self, images: Labelled, which: Tensor, size: int) -> Tensor:
        """So many of these images, every class with its share; nearly all of them are the first."""
        index = which.nonzero().flatten()
        if size == 0:
            return index[:0]
        draws = None if images.draws is None else images.draws[index]
        part = Labelled(images.labels[index], images.classes, None, draws)
        (chosen,) = stratified(part, [size], self.split_seed)
        return index[chosen]


def draws(names: Sequence[str], purpose: str) -> Tensor:
    """(N,) float64, uniform in 0 .. 1: a hash of the purpose and of each name."""
    salt = hashlib.blake2b(purpose.encode(), digest_size=16).digest()

    def draw(name: str) -> float:
        digest = hashlib.blake2b(name.encode(), digest_size=8, key=salt).digest()
        return int.from_bytes(digest, "big") / 2**64

    return torch.tensor([draw(name) for name in names], dtype=torch.float64)


def held_out(images: Labelled, fraction: float) -> Tensor:
    """(N,) bool: the images whose draw lies below the fraction.

    Of a class in which there is none it is the lowest one; where all are below it, all but the
    highest one. ValueError names a class that has too few images for that.
    """
    assert images.draws is not None
    out = images.draws < fraction
    if fraction == 0:
        return out
    for label, members in zip(*_by_class(images.labels), strict=True):
        if len(members) < 2:
            raise ValueError(
                f"dataset.root: class {images.name(label)} has only 1 image for two parts; "
                "put more images into its folder"
            )
        order = members[images.draws[members].argsort()]
        out[order[0]] = True
        out[order[-1]] = False
    return out


def stratified(images: Labelled | Tensor, sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Disjoint shuffled parts of the given sizes, each with every class within 1 of its share.

    images: in any order; their labels are enough. Returns one index tensor for each size; sizes
    that sum up to less than N leave images out. The seed alone decides, or the images' draws; the
    global generator is not touched.
    """
    images = Labelled(images) if isinstance(images, Tensor) else images
    labels = images.labels
    assert min(sizes) >= 0
    if sum(sizes) > len(labels):
        raise ValueError(
            f"parts of {list(sizes)} images: there are only {len(labels)}, make them smaller"
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
    """Images in the order of their draws."""

    draws: Tensor

    def __call__(self, indices: Tensor) -> Tensor:
        return indices[self.draws[indices].argsort()]


class _Shuffle:
    """Images in an order that the seed decides."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, indices: Tensor) -> Tensor:
        return indices[torch.randperm(len(indices), generator=self.generator)]


def _by_class(labels: Tensor) -> tuple[list[int], tuple[Tensor, ...]]:
    """The labels that there are, and the indices of the images of each."""
    classes, counts = torch.unique(labels, return_counts=True)
    return classes.tolist(), torch.split(labels.argsort(stable=True), counts.tolist())


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
