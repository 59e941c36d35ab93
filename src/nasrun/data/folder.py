"""A user's own images, in one folder for each class.

Three layouts are read; labels of the test part are never used before the end:

- `train/<class>` with `test/<class>`: `test` is the test part; with a `val` (`valid`,
  `validation`) folder too, that is the validation part as given;
- `train/<class>` with `val/<class>` only, as ImageNet and Tiny-ImageNet have it: `val` is the test
  part, and validation is held out of train;
- class folders only, at the top or under `train`: a stratified test part is held out.

A `test` folder without class folders has no labels (ILSVRC2012, Kaggle) and is left out.
"""

import hashlib
import logging
import os
import struct
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nasrun.data.facts import Facts
from nasrun.data.images import TEST_SEED, Stored, TensorDataset, cache_folder, measured, stratified

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = {
    *(".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
}
TRAIN, VALIDATION, TEST = ("train",), ("val", "valid", "validation"), ("test",)
GREY = {"1", "L", "LA", "La", "I", "F"}  # and the 16-bit modes, "I;16..."
SAMPLE = 256  # so many headers tell the number of channels and the most common side
THREADED = 16 * 1024  # bytes of an average file from which on decoding in threads pays
LARGEST_SIDE = 64  # found out, not asked for: 50,000 such images take 600 MB

log = logging.getLogger(__name__)


class ImageFolder(TensorDataset):
    """Images of any size in one folder for each class, decoded once into one uint8 tensor.

    root: a folder in one of the layouts above. With both a `val` and a `test` folder, `val` is the
    validation part; with `val` alone, `val` is the test part and validation is held out of train.
    size: shorter side in pixels, then a centre crop; None is the images' most common shorter side,
        at most 64.
    test: the fraction held out where no folder holds the test part; None is 0.2.
    validation: the fraction held out of train; None is the given validation part, else one half.
    images: at most so many train and validation images together; None is all.
    flip: a mirrored image keeps its label.
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
        self._layout: Layout | None = None
        self._shape: tuple[int, int] | None = None

    def check(self) -> None:
        layout = self.layout()
        self.holdout.split(layout.training.labels, layout.aside)

    def layout(self) -> "Layout":
        """The folder's listing, read once."""
        if self._layout is None:
            self._layout = read_layout(self.root, self.test)
        return self._layout

    def stored(self, *, test: bool) -> Stored:
        layout = self.layout()
        listing = layout.test if test else layout.training
        channels, size = self.shape()
        return Stored(
            listing.labels,
            lambda chosen: decoded(listing, chosen, size, channels, cache_folder()),
            None if test else layout.aside,
        )

    def shape(self) -> tuple[int, int]:
        """Channels and side in pixels, from the headers of a sample of the training images."""
        if self._shape is None:
            channels, side = peek(self.layout().training)
            self._shape = channels, self.size or min(side, LARGEST_SIDE)
        return self._shape

    def describe(self) -> Facts:
        images, _ = self.training()["train"]
        mean, std = measured(images)
        channels, size = self.shape()
        name = self.layout().training.root.name
        return Facts(name, self.layout().classes, channels, size, mean, std, self.flip)


@dataclass(frozen=True)
class Listing:
    """The image files of one part: names relative to the root, and labels (N,) int64."""

    root: Path
    files: tuple[str, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.files)

    def at(self, index: Tensor) -> "Listing":
        """These images only, in this order."""
        return Listing(self.root, tuple(self.files[i] for i in index.tolist()), self.labels[index])

    def __add__(self, other: "Listing") -> "Listing":
        labels = torch.cat([self.labels, other.labels])
        return Listing(self.root, self.files + other.files, labels)


@dataclass(frozen=True)
class Layout:
    """What the files of a root are for.

    training: all images that are not for the test. aside: (N,) bool, those of them that lie in a
    validation folder; None where there is no such part.
    """

    classes: tuple[str, ...]
    training: Listing
    test: Listing
    aside: Tensor | None


def checked_fraction(test: float | None) -> float | None:
    """The fraction to hold out for the test, or ValueError."""
    if test is not None and not 0 < test < 1:
        raise ValueError(f"dataset.test={test}: a fraction between 0 and 1, or null, would do")
    return test


def read_layout(root: str, test: float | None) -> Layout:
    """List the images of `root`; hold a fraction of them out where no folder holds the test part.

    Raises ValueError where a folder or a class is missing, or the classes of two parts differ.
    """
    folder = Path(root).expanduser().absolute()
    if not folder.is_dir():
        raise ValueError(
            f"dataset.root={root}: there is no such folder; one with train/<class>/*.jpg and "
            "test/<class>/*.jpg, or with <class>/*.jpg, would do"
        )
    top = {name: folder / name for name in _folders(folder)}
    train, validation, held = (_named(top, names) for names in (TRAIN, VALIDATION, TEST))
    if train is None and (validation or held):
        raise ValueError(
            f"dataset.root={root}: {validation or held} is there, but no train folder beside it; "
            f"training images in {folder / 'train'}/<class>/ would do"
        )
    if held is not None and not _folders(held):
        held = None
    if held is None:
        held, validation = validation, None
    train = train or folder
    classes = _folders(train)
    if len(classes) < 2:
        raise ValueError(
            f"dataset.root={root}: {len(classes)} class folders in {train}; "
            "two or more, each with the images of one class, would do"
        )
    training = _listing(folder, train, classes)
    if held is None:
        count = round((0.2 if test is None else test) * len(training))
        kept, out = stratified(training.labels, [len(training) - count, count], TEST_SEED)
        training, tested = training.at(kept.sort().values), training.at(out.sort().values)
        return Layout(classes, training, tested, None)
    if test is not None:
        raise ValueError(
            f"dataset.test={test}: {held} is the test part already; dataset.test=null would do"
        )
    tested = _listing(folder, held, classes)
    if validation is None:
        return Layout(classes, training, tested, None)
    given = _listing(folder, validation, classes)
    aside = torch.arange(len(training) + len(given)) >= len(training)
    return Layout(classes, training + given, tested, aside)


def _named(folders: dict[str, Path], names: Sequence[str]) -> Path | None:
    found = [folders[name] for name in names if name in folders]
    if len(found) > 1:
        raise ValueError(
            f"dataset.root={found[0].parent}: both {found[0].name} and {found[1].name} are there; "
            "one of them would do"
        )
    return found[0] if found else None


def _folders(folder: Path) -> tuple[str, ...]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir()]
    return tuple(sorted(name for name in names if not name.startswith(".")))


def _listing(root: Path, part: Path, classes: tuple[str, ...]) -> Listing:
    """The images of one part, class by class, each sorted by name."""
    found = _folders(part)
    if not found:
        raise ValueError(
            f"dataset.root={root}: {part} has no class folders; the images sorted into "
            f"{part}/<class>/, as in train, would do (for ILSVRC2012's val, the script valprep.sh "
            "of soumith/imagenetloader.torch does it)"
        )
    if set(found) != set(classes):
        lacks, extra = sorted(set(classes) - set(found)), sorted(set(found) - set(classes))
        differences = [f"lacks {_some(lacks)}"] * bool(lacks) + [f"has {_some(extra)}"] * bool(
            extra
        )
        raise ValueError(
            f"dataset.root={root}: against train, {part} {' and '.join(differences)}; "
            "the same class folders in every part would do"
        )
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = image_names(part / name, root)
        if not images:
            raise ValueError(
                f"dataset.root={root}: the class folder {part / name} has no images; images with "
                f"one of the endings {' '.join(sorted(EXTENSIONS))}, or no such folder, would do"
            )
        files += images
        labels += [label] * len(images)
    return Listing(root, tuple(files), torch.tensor(labels))


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def image_names(folder: Path, root: Path) -> list[str]:
    """The images below a folder, relative to the root; hidden files are no images."""
    found = []
    for place, _, names in os.walk(folder, followlinks=True):
        inner = os.path.relpath(place, root)
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS:
                found.append(os.path.join(inner, name))
    return sorted(found)


def peek(listing: Listing) -> tuple[int, int]:
    """Channels (1 if all are grey, else 3) and the most common shorter side of a sample."""
    step = max(1, len(listing) // SAMPLE)
    grey, sides = True, Counter[int]()
    for name in listing.files[::step]:
        with open_image(listing.root / name) as image:
            grey = grey and (image.mode in GREY or image.mode.startswith("I;16"))
            sides[min(image.size)] += 1
    most = max(sides.values())
    return 1 if grey else 3, min(side for side, count in sides.items() if count == most)


def open_image(path: Path) -> "Image":
    """The image at `path`, its header read; Unreadable if it is none."""
    from PIL import Image

    try:
        return Image.open(path)
    except _broken() as error:
        raise Unreadable(path, str(error)) from error


def load_image(path: Path, channels: int) -> "Image":
    """The decoded image at `path`, grey or RGB whatever its mode; Unreadable if it is broken."""
    try:
        with open_image(path) as image:
            return in_channels(image, channels)
    except _broken() as error:
        raise Unreadable(path, str(error)) from error


def in_channels(image: "Image", channels: int) -> "Image":
    """The image in grey or in RGB, whatever its mode."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = image.point(lambda value: value * (1 / 256)).convert("L")  # 16 bits to 8
    return image.convert("L" if channels == 1 else "RGB")


def _broken() -> tuple[type[Exception], ...]:
    """What Pillow raises on files that are damaged or no images."""
    from PIL.Image import DecompressionBombError

    return (OSError, SyntaxError, EOFError, struct.error, DecompressionBombError)


class Unreadable(ValueError):
    """A file that is no image, or a broken one; it can travel between processes."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return (
            f"dataset.root: cannot read the image {self.path} ({self.reason}): remove or replace it"
        )


def square(image: "Image", size: int, kept: float = 1.0) -> Tensor:
    """(C, size, size) uint8: the shorter side scaled, then a centre crop, in one step.

    kept: the crop's side as a fraction of the shorter side.
    """
    side = min(image.size) * kept
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return scaled(image, (left, top, left + side, top + side), size)


def scaled(image: "Image", box: tuple[float, float, float, float], size: int) -> Tensor:
    """(C, size, size) uint8: the box (left, top, right, bottom; pixels), bilinear, antialiased."""
    import numpy
    from PIL.Image import Resampling

    pixels = numpy.array(image.resize((size, size), Resampling.BILINEAR, box=box))
    return torch.from_numpy(pixels).view(size, size, -1).permute(2, 0, 1)


def decoded(listing: Listing, chosen: Tensor, size: int, channels: int, cache: Path) -> Tensor:
    """The chosen images as (n, channels, size, size) uint8, from the cache if they are there.

    A file that changes its name, length or modification time makes a new cache entry, and so does
    a folder that is moved. Where the cache cannot be written, the images are decoded each time,
    with a warning.
    """
    from filelock import FileLock
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    listing = listing.at(chosen)
    path = cache / "images" / f"{_digest(listing, size, channels)}.safetensors"
    images = _cached(path)
    if images is not None:
        return images
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            images = _cached(path)  # another process may have been at it
            if images is None:
                images = _decoded(listing, size, channels)
                temporary = path.with_suffix(".tmp")
                save_file({"images": images}, temporary)
                os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        log.warning(
            "NASRUN_CACHE=%s: cannot keep the decoded images (%s); they are decoded at each start",
            cache,
            error,
        )
    return _decoded(listing, size, channels) if images is None else images


def _digest(listing: Listing, size: int, channels: int) -> str:
    version = 2  # of this format
    digest = hashlib.sha256(f"{version} {size} {channels} {listing.root.resolve()}".encode())
    for name in listing.files:
        try:
            status = os.stat(listing.root / name)
        except OSError as error:  # a link to nowhere
            raise Unreadable(listing.root / name, str(error)) from error
        digest.update(f"\n{name}\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return digest.hexdigest()


def _cached(path: Path) -> Tensor | None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)["images"] if path.is_file() else None
    except (SafetensorError, KeyError, OSError) as error:
        log.warning("%s is damaged (%s); the images are decoded again", path, error)
        return None


def _decoded(listing: Listing, size: int, channels: int) -> Tensor:
    """Decode every image; in threads where the files are large enough to gain from it."""
    images = torch.empty(len(listing), channels, size, size, dtype=torch.uint8)

    def decode(positions: range) -> None:
        for position in positions:
            image = load_image(listing.root / listing.files[position], channels)
            images[position] = square(image, size)

    chunks = [range(i, min(i + 64, len(listing))) for i in range(0, len(listing), 64)]
    log.info("decoding %d images of %s", len(listing), listing.root)
    sample = listing.files[:: max(1, len(listing) // SAMPLE)]
    weight = sum(os.path.getsize(listing.root / name) for name in sample) / len(sample)
    # Pillow decodes without the interpreter's lock but parses headers with it: on CIFAR's files of
    # 1 kB two threads take twice as long as one, on ImageNet's of 90 kB they take two thirds
    with ThreadPoolExecutor(os.cpu_count() if weight > THREADED else 1) as pool:
        for _ in pool.map(decode, chunks):  # raises what a thread raised
            pass
    return images
