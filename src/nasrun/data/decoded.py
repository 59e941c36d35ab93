"""Caches of decoded images and of checks, in the cache folder."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nasrun.data.base import Watched
from nasrun.data.decode import Broken, ImageFile, Unreadable, load_image, open_image, square
from nasrun.data.images import cache_folder, in_stored_order, in_test_order
from nasrun.data.layout import FolderLayout
from nasrun.data.listing import Listing
from nasrun.files import flush

THREADED = 16 * 1024  # average bytes per file above which threads decode faster
CHUNK = 64  # number of files per piece of work

END_OF_JPEG = b"\xff\xd9"
TAIL = 512  # bytes at the end of a JPEG in which its end is looked for

log = logging.getLogger(__name__)


def look_at(
    layout: FolderLayout,
    division: tuple[Tensor, Tensor],
    size: int,
    channels: int,
    watched: Watched,
) -> None:
    """Decode and cache the images of all parts; ValueError names broken ones.

    division: indices of the train and of the validation images among those of training.
    """
    broken: list[Unreadable] = []
    listings = _used(layout, division)
    for listing in listings:
        if not _path(listing, size, channels).is_file():
            try:
                decoded(listing, size, channels, watched)
            except Broken as error:
                broken += error.files
    if broken:
        raise Broken(broken, sum(map(len, listings)))


def look_once(layout: FolderLayout, division: tuple[Tensor, Tensor], watched: Watched) -> None:
    """Check training images by their headers and test images whole; ValueError names broken ones.

    A successful check is not repeated while names, lengths and times of the files stay the same.
    """
    headers, whole = _used(layout, division)
    marks = (_digest(headers, "headers and ends"), _digest(whole, "whole"))
    mark = cache_folder() / "looked" / "-".join(marks)
    if mark.is_file():
        return
    broken = _each(headers, lambda _, file: _read_header(file), watched)
    broken += _each(whole, lambda _, file: load_image(file, 3).close(), watched)
    if broken:
        raise Broken(broken, len(headers) + len(whole))
    with suppress(OSError):  # without it, they are checked each time
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def _used(layout: FolderLayout, division: tuple[Tensor, Tensor]) -> tuple[Listing, Listing]:
    """Return the training images that a division uses, whatever their parts, and the test part."""
    training = layout.training.at(in_stored_order(*division))
    return training, layout.test.at(in_test_order(layout.test.labels))


def _read_header(file: ImageFile) -> None:
    """Read a header; a JPEG without an end is decoded, which refuses one that is cut off."""
    with open_image(file) as image:
        if image.format == "JPEG" and not _has_end(file):
            image.load()


def _has_end(file: ImageFile) -> bool:
    """Return whether a JPEG ends with its mark; cameras may pad it with zeros."""
    with file.open("rb") as stream:
        stream.seek(max(stream.seek(0, os.SEEK_END) - TAIL, 0))
        return stream.read().rstrip(b"\0").endswith(END_OF_JPEG)


def _unwatched(items: Iterable[Any], text: str, total: int) -> Iterable[Any]:
    return items


def decoded(listing: Listing, size: int, channels: int, watched: Watched = _unwatched) -> Tensor:
    """Return the images as (n, channels, size, size) uint8, from the cache if possible.

    A file with another name, length or modification time makes a new cache entry, and so does a
    folder that is moved. If the cache cannot be written, the images are decoded each time, with a
    warning. ValueError names all broken files.
    """
    from filelock import FileLock
    from safetensors import SafetensorError

    path = _path(listing, size, channels)
    images = _cached(path)
    if images is not None:
        return images
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            images = _cached(path)  # another process may have decoded them meanwhile
            if images is None:
                images = _decoded(listing, size, channels, watched)
                _keep(images, path)
    except (OSError, SafetensorError) as error:
        log.warning(
            "NASRUN_CACHE=%s: cannot keep the decoded images (%s); they are decoded at each start",
            cache_folder(),
            error,
        )
    return _decoded(listing, size, channels, watched) if images is None else images


def _keep(images: Tensor, path: Path) -> None:
    """Write an entry of the cache as a whole, or not at all."""
    from safetensors.torch import save_file

    temporary = path.with_suffix(".tmp")
    try:
        save_file({"images": images}, temporary)
        flush(temporary)  # else a power failure may leave it as long, but empty
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _path(listing: Listing, size: int, channels: int) -> Path:
    return cache_folder() / "images" / f"{_digest(listing, size, channels)}.safetensors"


def _digest(listing: Listing, *how: object) -> str:
    version = 4  # of this format
    digest = hashlib.sha256(" ".join(map(str, (version, *how, listing.root.resolve()))).encode())
    for number, name in enumerate(listing.files):
        file = listing.file(number)
        try:
            status = file.stat()
        except OSError as error:  # deleted since it was listed
            raise Broken([Unreadable(file, str(error.strerror))], len(listing)) from error
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


def _decoded(listing: Listing, size: int, channels: int, watched: Watched) -> Tensor:
    images = torch.empty(len(listing), channels, size, size, dtype=torch.uint8)

    def decode(position: int, file: ImageFile) -> None:
        images[position] = square(load_image(file, channels), size)

    log.info("decoding %d images of %s", len(listing), listing.root)
    if broken := _each(listing, decode, watched):
        raise Broken(broken, len(listing))
    return images


def _each(
    listing: Listing, do: Callable[[int, ImageFile], None], watched: Watched
) -> list[Unreadable]:
    """Call `do` for every file, and return those that cannot be read.

    Threads are used if the files are large enough to gain from it: Pillow decodes without the
    interpreter's lock but parses headers with it. On CIFAR's files of 1 kB two threads take twice
    as long as one, on ImageNet's of 90 kB they take two thirds.
    """

    def through(positions: range) -> list[Unreadable]:
        broken = []
        for position in positions:
            try:
                do(position, listing.file(position))
            except Unreadable as error:
                broken.append(error)
        return broken

    chunks = [range(i, min(i + CHUNK, len(listing))) for i in range(0, len(listing), CHUNK)]
    average = sum(listing.sizes) / max(1, len(listing))
    with ThreadPoolExecutor(os.cpu_count() if average > THREADED else 1) as pool:
        found = watched(pool.map(through, chunks), "looking at images", len(chunks))
        return [error for broken in found for error in broken]
