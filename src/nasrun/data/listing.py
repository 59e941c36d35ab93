"""The image files of a folder: names, sizes and labels, and the files that cannot be images.

A link to a file is an image like the others. A link to a folder is refused: it may lead out of the
set, into another class, or back to where it is.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from nasrun.data.decode import EXTENSIONS, ImageFile
from nasrun.shown import shown, some

UNPRINTED = {"Cc", "Cs", "Zl", "Zp"}
"""Categories of characters that a class name, which tables show, may not have: control characters,
bytes that are not UTF-8, and ends of lines."""

SYSTEM = ("@eaDir", "__MACOSX")
"""Folders that a Synology station and archives of macOS add: they count as hidden."""


class Root(Protocol):
    """What the files of a set lie in, and are found in by their names: a folder, or shards."""

    @property
    def name(self) -> str: ...

    def resolve(self) -> Path: ...

    def __truediv__(self, name: str, /) -> ImageFile: ...


@dataclass(frozen=True)
class Listing:
    """The image files of one part: names relative to the root, sizes in bytes, labels (N,) int64.

    Names have `/` between folders, on every system.
    """

    root: Root
    files: tuple[str, ...]
    sizes: tuple[int, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.files)

    def at(self, index: Tensor) -> Listing:
        """Return the images with these indices, in this order."""
        chosen = index.tolist()
        files, sizes = (tuple(each[i] for i in chosen) for each in (self.files, self.sizes))
        return Listing(self.root, files, sizes, self.labels[index])

    def __add__(self, other: Listing) -> Listing:
        labels = torch.cat([self.labels, other.labels])
        return Listing(self.root, self.files + other.files, self.sizes + other.sizes, labels)

    def file(self, index: int) -> ImageFile:
        """Return the file with this index."""
        return self.root / self.files[index]


class Wrong(ValueError):
    """A fault of a root; the message does not name the root."""


@dataclass(frozen=True)
class Findings:
    """Files that cannot be images, with the reason, and links to files, with their targets."""

    wrong: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)


def folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders inside a folder, sorted, without hidden ones."""
    return tuple(sorted(entry.name for entry in _entries(folder) if os.path.isdir(entry.path)))


def list_part(
    root: Path, part: str | None, classes: tuple[str, ...], findings: Findings
) -> Listing:
    """Return the images of one part, class by class, sorted by name within a class."""
    place = root if part is None else root / part
    _refuse_links([place] if part else [])
    found = folders(place)
    if not found:
        raise Wrong(
            f"{part} has no class folders; sort the images into {part}/<class>/, as in train (for "
            "ILSVRC2012's val, the script valprep.sh of soumith/imagenetloader.torch does it)"
        )
    if set(found) != set(classes):
        lacks, extra = sorted(set(classes) - set(found)), sorted(set(found) - set(classes))
        differences = [f"lacks {some(lacks)}"] if lacks else []
        differences += [f"has {some(extra)}"] if extra else []
        raise Wrong(
            f"against train, {part} {' and '.join(differences)}; make the same class folders in "
            "every part"
        )
    if strange := [name for name in classes if UNPRINTED & set(map(unicodedata.category, name))]:
        raise Wrong(
            f"the class folder {shown(strange[0])} has a name that cannot be printed; rename it"
        )
    _refuse_links([place / name for name in classes])
    files: list[str] = []
    sizes: list[int] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = _images(place / name, findings)
        if not images and not findings.wrong:
            raise Wrong(
                f"the class folder {shown(place / name)} has no images; put images with one of the "
                f"endings {' '.join(sorted(EXTENSIONS))} into it, or remove it"
            )
        files += ["/".join(filter(None, (part, name, inner))) for inner, _ in images]
        sizes += [size for _, size in images]
        labels += [label] * len(images)
    if findings.wrong:
        raise Wrong(some(findings.wrong, between="; "))
    return Listing(root, tuple(files), tuple(sizes), torch.tensor(labels))


def image_names(folder: Path) -> list[str]:
    """Return the names of the images below a folder, relative to it; ValueError as for a set."""
    findings = Findings()
    names = [name for name, _ in _images(folder, findings)]
    if findings.wrong:
        raise ValueError(some(findings.wrong, between="; "))
    return names


def _images(folder: Path, findings: Findings) -> list[tuple[str, int]]:
    """Return the names and sizes of the images below a folder, sorted; hidden files are ignored."""
    found: list[tuple[str, int]] = []
    inside = [""]
    while inside:
        prefix = inside.pop()
        for entry in _entries(folder / prefix):
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                inside.append(f"{name}/")
            elif os.path.isdir(entry.path):
                findings.wrong.append(_linked(Path(entry.path)))
            elif os.path.splitext(name)[1].lower() in EXTENSIONS:
                size, fault = _examined(name, entry)
                if fault is not None:
                    findings.wrong.append(f"{shown(entry.path)} {fault}")
                    continue
                found.append((name, size))
                if entry.is_symlink():
                    findings.links.append((entry.path, os.path.realpath(entry.path)))
    return sorted(found)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.name not in SYSTEM:
                yield entry


def _examined(name: str, entry: os.DirEntry[str]) -> tuple[int, str | None]:
    """Return the size of a file, and why it cannot be an image, `None` if it may be one."""
    try:
        name.encode()
        status = entry.stat()
    except UnicodeEncodeError:
        return 0, "has a name that is not UTF-8; rename it"
    except OSError as error:
        return 0, f"cannot be read ({error.strerror}), remove or replace it"
    if not stat.S_ISREG(status.st_mode):
        return 0, "is a pipe, a socket or a device, remove it"
    return status.st_size, None


def _refuse_links(folders: Sequence[Path]) -> None:
    """Refuse folders that are links."""
    if linked := [folder for folder in folders if folder.is_symlink()]:
        raise Wrong(some([_linked(folder) for folder in linked], between="; "))


def _linked(folder: Path) -> str:
    target = os.path.realpath(folder)
    return (
        f"{shown(folder)} is a link to the folder {shown(target)}; make it a folder with links to "
        'the files, as `cp -rs "$PWD/FOLDER" PLACE` does'
    )
