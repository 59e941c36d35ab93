"""Packs a folder of images into shards: tar files that WebDataset reads, and the index of `shards`.

Which image lies in which shard is known before the first is written: the images of a part, in an
order that a hash of their names gives, are cut into shards of equal numbers. A shard is complete or
absent, so an interrupted packing goes on with the shards that are missing, and the same images and
settings give the same bytes.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from nasrun.data.base import Watched
from nasrun.data.decode import Broken, ImageFile, Unreadable, in_channels, is_grey, open_image
from nasrun.data.holdout import draws
from nasrun.data.layout import read_parts
from nasrun.data.listing import Listing
from nasrun.data.shards import COLUMNS, INDEX, Index
from nasrun.files import OURS, read_json, remove_drafts, write_record, write_whole
from nasrun.shown import shown

LOCK = ".lock"
RECORD = "packing.json"
"""File of a packed folder: what is packed, and how."""
ENDINGS = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}
"""Endings of members where they are not the format in small letters."""
LABEL = "cls"
"""Ending of a member with a label; WebDataset's own."""
READ_AHEAD = 64  # images that are read, and scaled, while others are written


@dataclass(frozen=True)
class Packing:
    """How images are packed.

    images: per shard. side: the length to which the shorter side of larger images is scaled, in
    pixels; `None` keeps every file's bytes. quality: of the JPEGs that scaled images become.
    """

    images: int
    side: int | None
    quality: int


@dataclass(frozen=True)
class _Shard:
    """A shard to be written: the indices of its images in their part."""

    name: str
    part: str
    indices: Sequence[int]


def pack(root: str, folder: Path, packing: Packing, watched: Watched) -> Index:
    """Pack the images of `root` into `folder`, or go on with it, and return its index.

    The folder is made if it is missing. Raises ValueError if something else is in it, and for
    images that cannot be read, which it names.
    """
    parts = read_parts(root)
    found = {"training": parts.training, "validation": parts.validation, "test": parts.test}
    listings = {part: listing for part, listing in found.items() if listing is not None}
    shards = [shard for part in listings for shard in _shards(part, listings[part], packing)]
    with _begun(folder, listings, packing):
        missing = [shard for shard in shards if not (folder / shard.name).exists()]
        for shard in watched(missing, "packing", len(missing)):
            listing = listings[shard.part]
            write_whole(folder / shard.name, partial(_fill, shard, listing, packing))
        columns = {part: _columns(folder, part, listings[part], shards) for part in listings}
        sizes = {shard.name: (folder / shard.name).stat().st_size for shard in shards}
        index = Index(parts.classes, parts.within, parts.held, columns, sizes)
        write_whole(folder / INDEX, lambda file: file.write(index.to_bytes()))
    return index


def _others(folder: Path) -> bool:
    """Return whether there is more than what a packing leaves that could not begin."""
    return any(path.name != LOCK and not OURS.fullmatch(path.name) for path in folder.iterdir())


@contextmanager
def _begun(folder: Path, listings: Mapping[str, Listing], packing: Packing) -> Iterator[None]:
    """Lock the folder, and record what is packed into it."""
    from filelock import FileLock, Timeout

    named = f"out={shown(folder)}"
    names = sha256()
    for part, listing in listings.items():
        for name, size in zip(listing.files, listing.sizes, strict=True):
            names.update(f"{part} {name}\0{size}\n".encode())
    record = {"contents": names.hexdigest(), **asdict(packing)}
    if (folder / RECORD).exists():
        if read_json(folder / RECORD) != record:
            raise ValueError(f"{named}: other images or settings are packed there; name another")
    elif folder.exists() and (not folder.is_dir() or _others(folder)):
        raise ValueError(f"{named}: it is not empty; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0):
            remove_drafts(folder)
            write_record(folder / RECORD, record)
            yield
    except Timeout as error:
        raise ValueError(
            f"{named}: another nasrun process packs into it; wait until that ends"
        ) from error


def _shards(part: str, listing: Listing, packing: Packing) -> list[_Shard]:
    """Return the shards of a part, with their images in an order that mixes the classes."""
    order = draws(listing.files, "packing").argsort(stable=True).tolist()
    starts = range(0, len(order), packing.images)
    return [
        _Shard(f"{part}-{number:06}.tar", part, order[start : start + packing.images])
        for number, start in enumerate(starts)
    ]


def _fill(shard: _Shard, listing: Listing, packing: Packing, file: IO[bytes]) -> None:
    """Write the shard's images and their labels as a tar file."""
    broken: list[Unreadable] = []
    stem = shard.name.removesuffix(".tar")
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        members = _read(shard, listing, packing)
        for number, (index, found) in enumerate(zip(shard.indices, members, strict=True)):
            if isinstance(found, Unreadable):
                broken.append(found)
                continue
            encoded, ending = found
            _add(tar, f"{stem}-{number:06}.{ending}", encoded)
            _add(tar, f"{stem}-{number:06}.{LABEL}", str(int(listing.labels[index])).encode())
    if broken:
        raise Broken(broken, len(shard.indices))


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _read(
    shard: _Shard, listing: Listing, packing: Packing
) -> Iterator[tuple[bytes, str] | Unreadable]:
    """Yield what each image of a shard becomes, and its ending, or the error that it met."""

    def encode(index: int) -> tuple[bytes, str] | Unreadable:
        try:
            return _encoded(listing.file(index), listing.sizes[index], packing)
        except Unreadable as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow works without the interpreter's lock
        for start in range(0, len(shard.indices), READ_AHEAD):
            yield from pool.map(encode, shard.indices[start : start + READ_AHEAD])


def _encoded(file: ImageFile, size: int, packing: Packing) -> tuple[bytes, str]:
    """Return the content of a file, scaled if it is too large, and the ending for its format."""
    from PIL.Image import Resampling

    with open_image(file) as image:
        form, shorter = str(image.format), min(image.size)
        if packing.side is not None and shorter > packing.side:
            upright = in_channels(image, 1 if is_grey(image) else 3)
            # only now: Pillow swaps the sides of a TIFF as it loads it
            width, height = (round(side * packing.side / shorter) for side in upright.size)
            scaled = upright.resize((width, height), Resampling.BILINEAR)
            jpeg = io.BytesIO()
            scaled.save(jpeg, "JPEG", quality=packing.quality)
            return jpeg.getvalue(), "jpg"
        image.load()  # a broken image shows here
        encoded = file.read_bytes()
        if len(encoded) != size:
            raise Unreadable(file, "it was changed while it was packed")
    return encoded, ENDINGS.get(form, form.lower())


def _columns(
    folder: Path, part: str, listing: Listing, shards: Sequence[_Shard]
) -> dict[str, list[Any]]:
    """Return the columns of a part's index, with the places that its shards have in them."""
    size, place, offset = ([0] * len(listing) for _ in range(3))
    for number, shard in enumerate(shards):
        if shard.part != part:
            continue
        path = folder / shard.name
        try:
            with tarfile.open(path, "r:") as tar:
                members = [member for member in tar if not member.name.endswith(f".{LABEL}")]
        except (OSError, tarfile.TarError) as error:
            raise ValueError(f"{shown(path)}: damaged ({error}); delete it and repeat") from error
        if len(members) != len(shard.indices):
            raise ValueError(f"{shown(path)}: damaged, images are missing; delete it and repeat")
        for index, member in zip(shard.indices, members, strict=True):
            size[index], place[index], offset[index] = member.size, number, member.offset_data
    names, labels = list(listing.files), listing.labels.tolist()
    return dict(zip(COLUMNS, (names, size, labels, place, offset), strict=True))
