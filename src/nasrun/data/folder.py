"""A user's own images, in one folder per class, decoded once and cached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from nasrun.data.base import Watched
from nasrun.data.contents import Contents
from nasrun.data.decode import Broken, Unreadable, is_grey, open_image
from nasrun.data.decoded import decoded, look_at
from nasrun.data.facts import Facts
from nasrun.data.images import Stored, TensorDataset, in_stored_order, in_test_order
from nasrun.data.layout import FolderLayout, checked_fraction, read_layout
from nasrun.data.listing import Listing
from nasrun.data.pixels import measured, refuse_too_large
from nasrun.shown import shown

SAMPLE = 256  # number of headers read for the channels and the most common side
LARGEST_SIDE = 64  # upper limit of an automatic size: 50,000 such images take 600 MB
DARK = 16  # of 255: the largest value of 12 bits stored as 16


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

    def __init__(
        self,
        *,
        root: str,
        size: int | None = None,
        test: float | None = None,
        images: int | None = None,
        validation: float | None = None,
        split_seed: int = 0,
        flip: bool = True,
    ) -> None:
        super().__init__(size=size, images=images, validation=validation, split_seed=split_seed)
        self.root = root
        self.test = checked_fraction(test)
        self.flip = flip
        self._layout: FolderLayout | None = None
        self._shape: tuple[int, int] | None = None

    def check(self) -> None:
        self.holdout.split(self.layout().labelled(self.holdout.split_seed))

    def look(self, watched: Watched) -> None:
        layout = self.layout()
        channels, size = self.shape()
        division = self.holdout.split(layout.labelled(self.holdout.split_seed))
        training = layout.training.at(in_stored_order(*division))
        test = layout.test.at(in_test_order(layout.test.labels))
        look_at((training, test), size, channels, watched)

    def contents(self) -> Contents:
        return self.layout().contents()

    def layout(self) -> FolderLayout:
        """Return the folder's listing, which is read once."""
        if self._layout is None:
            self._layout = read_layout(self.root, self.test)
        return self._layout

    def stored(self, *, test: bool) -> Stored:
        layout = self.layout()
        channels, size = self.shape()
        listing = layout.test if test else layout.training

        def pixels(chosen: Tensor) -> Tensor:
            return decoded(listing.at(chosen), size, channels)

        if test:
            return Stored(listing.labels, pixels)
        images = layout.labelled(self.holdout.split_seed)
        return Stored(images.labels, pixels, images.aside, images.classes, images.draws)

    def shape(self) -> tuple[int, int]:
        """Return channels and side in pixels, from the headers of a sample of training images."""
        if self._shape is None:
            layout = self.layout()
            channels, side = peek(layout.training)
            size = self.size or min(side, LARGEST_SIDE)
            kept = min(len(layout.training), self.holdout.images or len(layout.training))
            refuse_too_large(max(kept, len(layout.test)), channels, size)
            self._shape = channels, size
        return self._shape

    def describe(self) -> Facts:
        parts = {part: images for part, (images, _) in self.training().items()}
        self._refuse_flat([images for images in parts.values() if len(images)])
        mean, std = measured(parts["train"])
        channels, size = self.shape()
        name = self.layout().training.root.name
        return Facts(name, self.layout().classes, channels, size, mean, std, self.flip)

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
