"""ImageNet and other sets of large images: workers decode and crop them batch by batch.

Every random number is drawn in the main process, so that the number of workers changes no pixel.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from multiprocessing import current_process

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as MapDataset

from nasrun.data.augment import Augment, crop_sides, normalise
from nasrun.data.base import Dataset, Watched
from nasrun.data.contents import Contents
from nasrun.data.crops import Crop, load_crop
from nasrun.data.decode import ImageFile, load_image, square
from nasrun.data.decoded import look_once
from nasrun.data.facts import Facts
from nasrun.data.holdout import Holdout
from nasrun.data.images import in_test_order, refuse_empty
from nasrun.data.layout import FolderLayout, read_layout, refuse_fraction
from nasrun.data.listing import Listing
from nasrun.data.pixels import refuse_too_large
from nasrun.data.policies import ImagePolicy
from nasrun.data.prefetch import moved
from nasrun.data.splits import Part, Split, batched
from nasrun.world import ALONE, World

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's, over ILSVRC2012's train


class ImageNet(Dataset):
    """ILSVRC2012, or any set of images of any size and mode in one folder per class.

    root: `train/<wnid>/*.JPEG` and `val/<wnid>/*.JPEG`, or another layout that `layout` reads;
        ILSVRC2012's `val` is the test part, and validation is held out of train.
    size: side of the network's input; resize: length of the shorter side before the centre crop
        in evaluation, `None` for 8/7 of `size`, as 256 is of 224. Both in pixels.
    workers: number of processes that decode; 0 decodes in the main process.
    validation: the fraction held out of train; `None` is the given validation part, else one half.
    test: the approximate fraction held out by file names if no folder has the test part; `None` is
        0.2.
    """

    def __init__(
        self,
        *,
        root: str,
        size: int = 224,
        resize: int | None = None,
        workers: int = 2,
        test: float | None = None,
        images: int | None = None,
        validation: float | None = 0.2,
        split_seed: int = 0,
        flip: bool = True,
    ) -> None:
        if size < 1:
            raise ValueError(f"dataset.size={size}: use a number of pixels above 0")
        if resize is not None and resize < size:
            raise ValueError(f"dataset.resize={resize}: use dataset.size={size} or more")
        if workers < 0:
            raise ValueError(f"dataset.workers={workers}: use 0 or more")
        self.root = root
        self.size = size
        self.resize = round(size * 8 / 7) if resize is None else resize
        self.workers = workers
        refuse_fraction(test)
        self.test = test
        self.holdout = Holdout(images=images, validation=validation, split_seed=split_seed)
        self.flip = flip

    def check(self) -> None:
        refuse_too_large(1, 3, self.size)
        _ = self.division

    def look(self, watched: Watched) -> None:
        """Check headers and ends of JPEGs of the training part, and all bytes of the test part."""
        look_once(self.layout, self.division, watched)

    def contents(self) -> Contents:
        return self.layout.contents()

    @cached_property
    def layout(self) -> FolderLayout:
        """The folder's listing."""
        return read_layout(self.root, self.test)

    @cached_property
    def division(self) -> tuple[Tensor, Tensor]:
        """The indices of the train and of the validation images."""
        return self.holdout.split(self.layout.labelled(self.holdout.split_seed))

    def facts(self) -> Facts:
        name, kept = self.layout.training.root.name, self.size / self.resize
        return Facts(name, self.layout.classes, 3, self.size, MEAN, STD, self.flip, kept)

    def split(self, *parts: Part, device: torch.device) -> Split:
        assert parts and set(parts) <= {"train", "validation", "test"}, parts
        listings = self._parts
        listing = listings[parts[0]]
        for part in parts[1:]:
            listing = listing + listings[part]
        refuse_empty(listing.labels, parts)
        return StreamSplit(
            listing=listing,
            facts=self.facts(),
            workers=self.workers,
            device=device,
        )

    def count_test(self) -> int:
        return len(self.layout.test)

    @cached_property
    def _parts(self) -> dict[Part, Listing]:
        layout, (train, validation) = self.layout, self.division
        return {
            "train": layout.training.at(train),
            "validation": layout.training.at(validation),
            "test": layout.test.at(in_test_order(layout.test.labels)),
        }


class StreamSplit(Split):
    """Images that stay in files: workers decode and crop them, the device does the rest."""

    def __init__(
        self, *, listing: Listing, facts: Facts, workers: int, device: torch.device
    ) -> None:
        self.labels = listing.labels
        self._listing = listing
        self._facts = facts
        self._workers = workers
        self._device = device

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
        whole = batched(order, batch_size, drop_last)
        crops = torch.split(self._crops(len(order), augment, generator), batch_size)
        policy = None if augment is None or augment.resized_crop is None else augment.policy
        drawn = torch.zeros(len(order), dtype=torch.int64)
        if policy is not None:
            drawn.random_(2**62, generator=generator)
        seeds = torch.split(drawn, batch_size)
        parts = [world.slice(len(index)) for index in whole]
        decoder = _Decoder(
            self._listing,
            tuple(index[part.range] for index, part in zip(whole, parts, strict=True)),
            tuple(crop[part.range] for crop, part in zip(crops, parts, strict=False)),
            self._facts.size,
            self._facts.kept,
            policy,
            tuple(each[part.range] for each, part in zip(seeds, parts, strict=False)),
        )
        loader = DataLoader(
            decoder,
            batch_size=None,  # an item is a batch already
            num_workers=0 if current_process().daemon else self._workers,  # it has no children
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),  # keeps the loader's own seed out of the global generator
        )
        if augment is not None and augment.resized_crop is not None:
            # the workers have cropped, mirrored and changed
            augment = replace(augment, resized_crop=None, padding=0.0, flip=False, policy=None)
        decoded = moved(_sound(loader), self._device)
        for part, (images, labels) in zip(parts, decoded, strict=True):
            if augment is None:
                changed = normalise(images, self._facts)
            else:
                changed = augment(images, self._facts, part, generator)
            yield changed, labels

    def _crops(
        self, count: int, augment: Augment | None, generator: torch.Generator | None
    ) -> Tensor:
        """Return (count, 5), the numbers of each `Crop`, or (count, 0) for centre crops."""
        if augment is None or augment.resized_crop is None:
            return torch.empty(count, 0)
        area, ratio, row, column, mirror = torch.rand(count, 5, generator=generator).unbind(1)
        mirrored = mirror < (0.5 if augment.flip and self._facts.flip else 0.0)
        sides = crop_sides(area, ratio, augment.resized_crop)
        return torch.stack((*sides, row, column, mirrored.float()), dim=1)


def _sound(
    batches: Iterable[tuple[Tensor, Tensor] | ValueError],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches, or raise the error that a worker met."""
    for batch in batches:
        if isinstance(batch, ValueError):
            raise batch
        yield batch


@dataclass(frozen=True)
class _Decoder(MapDataset[tuple[Tensor, Tensor] | ValueError]):
    """Maps a batch number to (B, 3, size, size) uint8 and labels, or to the error that it met."""

    listing: Listing
    batches: tuple[Tensor, ...]
    crops: tuple[Tensor, ...]
    size: int
    kept: float
    policy: ImagePolicy | None
    seeds: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor] | ValueError:
        if number >= len(self):
            raise IndexError(number)
        index, crops, seeds = self.batches[number], self.crops[number], self.seeds[number]
        images = torch.empty(len(index), self.size, self.size, 3, dtype=torch.uint8)
        images = images.permute(0, 3, 1, 2)  # channels_last, as decoders write
        try:
            for image, i, crop, seed in zip(
                images, index.tolist(), crops.tolist(), seeds.tolist(), strict=True
            ):
                decoded = self._decode(self.listing.file(i), crop)
                image.copy_(decoded if self.policy is None else self.policy(decoded, seed))
        except ValueError as error:  # if raised here, the user would see a traceback
            return error
        return images, self.listing.labels[index]

    def _decode(self, file: ImageFile, crop: list[float]) -> Tensor:
        if not crop:
            return square(load_image(file, channels=3), self.size, self.kept)
        return load_crop(file, Crop(*crop), self.size)
