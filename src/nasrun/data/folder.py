"""A user's own images, in one folder per class, decoded once and cached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from nasrun.data.base import Watched
from nasrun.data.contents import Contents
from nasrun.data.decode import Broken, Unreadable, is_grey, open_image
from nasrun.data.decoded import decoded, look_at
from nasrun.data.facts import Facts
from nasrun.data.holdout import Labelled
from nasrun.data.images import Stored, TensorDataset
from nasrun.data.layout import FolderLayout, read_layout, refuse_fraction
from nasrun.data.listing import Listing
from nasrun.data.pixels import measured, refuse_too_large
from nasrun.shown import shown

SAMPLE = 256  # number of headers read for the channels and the most common side
LARGEST_SIDE = 64  # upper limit of an automatic size: 50,000 such images take 600 MB
DARK = 16  # of 255: the largest value of 12 bits stored as 16


@dataclass(kw_only=True, eq=False)
class ImageFolder(TensorDataset):
    """Images of any size in one folder per class, decoded once into one uint8 tensor.

    root: a folder in one of the layouts that `layout` reads. With both a `val` and a `test` folder,
        `val` is the validation part; with only `val`, it is the test part, and validation is held
        out of train.
    size: shorter side in pixels, before a centre crop; `None` is the images' most common shorter
        side, at most 64.
    test: the approximate fraction held out by file names if no folder has the test part; `None` is
        0.2.
    validation: the fraction held out of train; `None` is the given validation part, else one half.
    images: the largest number of train and validation images together; `None` is all.
    flip: whether a mirrored image keeps its label.
    """

    root: str
    test: float | None = None
    flip: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_fraction(self.test)

    def check(self) -> None:
        _ = self.division

    def look(self, watched: Watched) -> None:
        channels, size = self.shape
        look_at(self.layout, self.division, size, channels, watched)

    def contents(self) -> Contents:
        return self.layout.contents()

    @cached_property
    def layout(self) -> FolderLayout:
        """The folder's listing."""
        return read_layout(self.root, self.test)

    @cached_property
    def labelled(self) -> Labelled:
        """The images to be divided."""
        return self.layout.labelled(self.split_seed)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Channels and side in pixels, from the headers of a sample of training images."""
        layout = self.layout
        channels, side = peek(layout.training)
        size = self.size or min(side, LARGEST_SIDE)
        kept = min(len(layout.training), self.images or len(layout.training))
        refuse_too_large(max(kept, len(layout.test)), channels, size)
        return channels, size

    def stored(self, *, test: bool) -> Stored:
        listing = self.layout.test if test else self.layout.training

        def pixels(chosen: Tensor) -> Tensor:
            channels, size = self.shape
            return decoded(listing.at(chosen), size, channels)

        if test:
            return Stored(listing.labels, pixels)
        images = self.labelled
        return Stored(images.labels, pixels, images.aside, images.classes, images.draws)

    def describe(self) -> Facts:
        parts = {part: images for part, (images, _) in self.training().items()}
        self._refuse_flat([images for images in parts.values() if len(images)])
        mean, std = measured(parts["train"])
        channels, size = self.shape
        name = self.layout.training.root.name
        return Facts(name, self.layout.classes, channels, size, mean, std, self.flip)

    def _refuse_flat(self, parts: Sequence[Tensor]) -> None:
        """Raise ValueError if all pixels have nearly the same value."""
        low = min(int(images.min()) for images in parts)
        high = max(int(images.max()) for images in parts)
        if high - low <= DARK:
            raise ValueError(
                f"dataset.root={shown(self.root)}: all pixels of all images lie between {low} and "
                f"{high} of 255; scale them to the whole range of their type (transparency does "
                "not count)"
            )


def peek(listing: Listing) -> tuple[int, int]:
    """Return channels (1 if all are grey, else 3) and the most common shorter side of a sample."""
    step = max(1, len(listing) // SAMPLE)
    grey, sides = True, Counter[int]()
    broken: list[Unreadable] = []
    for number in range(0, len(listing), step):
        try:
            with open_image(listing.file(number)) as image:
                grey = grey and is_grey(image)
                sides[min(image.size)] += 1
        except Unreadable as error:  # `look` names all of them
            broken.append(error)
    if not sides:
        raise Broken(broken, len(broken))
    most = max(sides.values())
    return 1 if grey else 3, min(side for side, count in sides.items() if count == most)
