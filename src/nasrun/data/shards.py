"""A folder of images packed into tar files: its index, and images read from their shards.

A shard is an ordinary tar file in WebDataset's form, `000123.jpg` beside `000123.cls`. The index
has every image's name in the folder, its label, and the place of its bytes, so that images are read
in any order: a packed folder is divided, shuffled and identified exactly as the folder was.
WebDataset's own reader only reads shards from their beginning, so it could do neither.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import torch

from nasrun.data.listing import Listing, Wrong
from nasrun.shown import shown

INDEX = "index.json.gz"
"""File of a packed folder; it is written last, so with it the packing is complete."""
COLUMNS = ("names", "sizes", "labels", "shards", "offsets")


@dataclass(frozen=True)
class Packed:
    """An image within a shard, `size` bytes from `offset` on; it is read as a path is."""

    shard: Path
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.shard}, {self.size} bytes from {self.offset}"

    def open(self, mode: Literal["rb"] = "rb") -> IO[bytes]:
        return io.BufferedReader(_Window(self))

    def read_bytes(self) -> bytes:
        with self.shard.open(mode="rb", buffering=0) as file:
            file.seek(self.offset)
            return file.read(self.size)

    def stat(self) -> os.stat_result:
        return self.shard.stat()


class _Window(io.RawIOBase):
    """A part of a file, for reading."""

    def __init__(self, member: Packed) -> None:
        self._member, self._position = member, 0
        self._file = member.shard.open(mode="rb", buffering=0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = (0, self._position, self._member.size)[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._member.offset + self._position)
        view = memoryview(buffer)[: max(0, self._member.size - self._position)]
        count = self._file.readinto(view) or 0
        self._position += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


@dataclass(frozen=True)
class Shards:
    """The images of a packed folder by their names: `shards / name` is one, as with a folder.

    places: shard, offset and size of every image.
    """

    folder: Path
    files: Sequence[str]
    places: Mapping[str, tuple[int, int, int]]

    @property
    def name(self) -> str:
        return self.folder.name

    def resolve(self) -> Path:
        return self.folder.resolve()

    def __truediv__(self, name: str) -> Packed:
        shard, offset, size = self.places[name]
        return Packed(self.folder / self.files[shard], offset, size)


@dataclass(frozen=True)
class Index:
    """The content of an index.

    classes: names. within: the folder in front of a class in the names of training images, empty
    for none. parts: per part of the folder ("training", and "validation" and "test" if they have
    folders of their own) the columns names, sizes, labels, shards and offsets. held: the name of
    the test part's folder, `None` without one. shards: the tar files and their sizes.
    """

    classes: tuple[str, ...]
    within: str
    held: str | None
    parts: Mapping[str, Mapping[str, Sequence[Any]]]
    shards: Mapping[str, int]

    def to_bytes(self) -> bytes:
        return gzip.compress(json.dumps(vars(self)).encode(), mtime=0)

    @classmethod
    def read(cls, folder: Path) -> Index:
        """Read the index of a packed folder; Wrong if it, or a shard, is missing or damaged."""
        try:
            content = json.loads(gzip.decompress((folder / INDEX).read_bytes()))
            index = cls(**{**content, "classes": tuple(content["classes"])})
            for columns in index.parts.values():
                rows = zip(*(columns[name] for name in COLUMNS), strict=True)
                sound = all(0 <= label < len(index.classes) for _, _, label, _, _ in rows)
                if not sound or not all(
                    0 <= shard < len(index.shards) for shard in columns["shards"]
                ):
                    raise ValueError("numbers out of range")
        except (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError) as error:
            raise Wrong(
                f"{shown(folder / INDEX)} is damaged ({type(error).__name__}); pack the images "
                "again"
            ) from error
        for name, size in index.shards.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != size:
                raise Wrong(
                    f"the shard {shown(name)} is missing or does not have its {size} bytes; "
                    "copy it again"
                )
        return index

    def listings(self, folder: Path) -> dict[str, Listing]:
        """Return the images of each part."""
        places: dict[str, tuple[int, int, int]] = {}
        for columns in self.parts.values():
            rows = zip(*(columns[name] for name in COLUMNS), strict=True)
            places |= {name: (shard, offset, size) for name, size, _, shard, offset in rows}
        root = Shards(folder, tuple(self.shards), places)
        return {
            part: Listing(
                root, tuple(found["names"]), tuple(found["sizes"]), torch.tensor(found["labels"])
            )
            for part, found in self.parts.items()
        }
