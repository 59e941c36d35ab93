"""Which files of a folder are which part, and of which class.

Three layouts are read; labels of the test part are never used before the end:

- `train/<class>` with `test/<class>`: `test` is the test part; with a `val` folder too, that is the
  validation part as given;
- `train/<class>` with `val/<class>` only, as ImageNet and Tiny-ImageNet have it: `val` is the test
  part, and validation is held out of train;
- class folders only, at the top or under `train`: a test part is held out, file by file.

The parts may have other common names, in any case. A `test` folder without class folders has no
labels (ILSVRC2012, Kaggle) and is left out.

A link to a file is an image like the others, unless it leads to another image of the set. A link to
a folder is refused: it may lead out of the set, into another class, or back to where it is.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor

from nasrun.data.contents import Contents
from nasrun.data.decode import EXTENSIONS
from nasrun.data.holdout import Labelled, draws, held_out
from nasrun.shown import shown

TRAIN = ("train", "training")
VALIDATION = ("val", "valid", "validation")
TEST = ("test", "testing")
UNPRINTED = {"Cc", "Cs", "Zl", "Zp"}
"""Control characters, bytes that are no UTF-8, ends of lines: a class is named in every table."""
NAMED = 10  # so many files or classes are named at once
COMPARED = 64  # so many folders inside of a folder are compared with those inside of others


@dataclass(frozen=True)
class Listing:
    """The image files of one part: names relative to the root, sizes in bytes, labels (N,) int64.

    Names have `/` between folders, on every system.
    """

    root: Path
    files: tuple[str, ...]
    sizes: tuple[int, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.files)

    def at(self, index: Tensor) -> Listing:
        """These images only, in this order."""
        chosen = index.tolist()
        files, sizes = (tuple(each[i] for i in chosen) for each in (self.files, self.sizes))
        return Listing(self.root, files, sizes, self.labels[index])

    def __add__(self, other: Listing) -> Listing:
        labels = torch.cat([self.labels, other.labels])
        return Listing(self.root, self.files + other.files, self.sizes + other.sizes, labels)

    def paths(self) -> list[Path]:
        """Where the files lie."""
        return [self.root / name for name in self.files]


@dataclass(frozen=True)
class FolderLayout:
    """What the files of a root are for.

    training: all images that are not for the test. aside: (N,) bool, those of them that lie in a
    validation folder; None where there is no such part. within: the folder of the root that holds
    the class folders of training, empty for the root itself.
    """

    classes: tuple[str, ...]
    training: Listing
    test: Listing
    aside: Tensor | None
    within: str

    def labelled(self, split_seed: int) -> Labelled:
        """The training images as they are divided: by the name of every file."""
        names = [name.removeprefix(self.within) for name in self.training.files]
        own = draws(names, f"validation {split_seed}")
        return Labelled(self.training.labels, self.classes, self.aside, own)

    def contents(self) -> Contents:
        """The names and sizes of all images."""
        files = self.training + self.test
        return Contents(dict(zip(files.files, files.sizes, strict=True)))


def checked_fraction(test: float | None) -> float | None:
    """The fraction to hold out for the test, or ValueError."""
    if test is not None and not 0 < test < 1:
        raise ValueError(f"dataset.test={test}: use a fraction between 0 and 1, or null")
    return test


def place(root: str) -> Path:
    """The folder that a root names, as a path from the top."""
    return Path(os.path.abspath(Path(root).expanduser()))


def read_layout(root: str, test: float | None) -> FolderLayout:
    """List the images of `root`; hold a fraction of them out where no folder holds the test part.

    Raises ValueError where a folder or a class is missing, or the classes of two parts differ.
    """
    try:
        return _layout(place(root), test)
    except _Wrong as error:
        raise ValueError(f"dataset.root={shown(root)}: {error}") from error


class _Wrong(ValueError):
    """What is wrong with a root, without its name."""


@dataclass(frozen=True)
class _Findings:
    """What a walk meets besides images: files that cannot be images, and links with their ends."""

    wrong: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)


def _layout(folder: Path, test: float | None) -> FolderLayout:
    if not folder.is_dir():
        raise _Wrong(
            "there is no such folder; name one with train/<class>/*.jpg and test/<class>/*.jpg, "
            "or with <class>/*.jpg"
        )
    top = _folders(folder)
    train, validation, held = (_named(top, names) for names in (TRAIN, VALIDATION, TEST))
    if train is None and (validation or held):
        raise _Wrong(
            f"{validation or held} is there, but no train folder beside it; put the training "
            "images into train/<class>/"
        )
    if held is not None and not _folders(folder / held):
        held = None
    if held is None:
        held, validation = validation, None
    part = folder if train is None else folder / train
    classes = _folders(part)
    if len(classes) < 2:
        raise _Wrong(
            f"{len(classes)} class folders in {shown(part)}; make two or more, each with the "
            "images of one class"
        )
    if train is not None and held is None:
        _refuse_unnamed_part(folder, classes, [name for name in top if name != train])
    findings = _Findings()
    training = _listing(folder, train, classes, findings)
    if train is None:
        _refuse_parts_as_classes(training)
    within = "" if train is None else f"{train}/"
    if held is None:
        names = [name.removeprefix(within) for name in training.files]
        fraction = 0.2 if test is None else test
        out = held_out(Labelled(training.labels, classes, None, draws(names, "test")), fraction)
        kept, tested = training.at((~out).nonzero()[:, 0]), training.at(out.nonzero()[:, 0])
        layout = FolderLayout(classes, kept, tested, None, within)
    elif test is not None:
        raise ValueError(f"dataset.test={test}: {held} is the test part already; use null")
    else:
        tested = _listing(folder, held, classes, findings)
        aside = None
        if validation is not None:
            given = _listing(folder, validation, classes, findings)
            aside = torch.arange(len(training) + len(given)) >= len(training)
            training = training + given
        layout = FolderLayout(classes, training, tested, aside, within)
    _refuse_twice(layout, findings.links)
    return layout


def _named(folders: Sequence[str], names: Sequence[str]) -> str | None:
    """The folder that has one of the names, in any case."""
    found = [name for name in folders if name.casefold() in names]
    if len(found) > 1:
        raise _Wrong(f"both {found[0]} and {found[1]} are there; keep one of them")
    return found[0] if found else None


def _folders(folder: Path) -> tuple[str, ...]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if os.path.isdir(entry.path)]
    return tuple(sorted(name for name in names if not name.startswith(".")))


def _listing(
    root: Path, part: str | None, classes: tuple[str, ...], findings: _Findings
) -> Listing:
    """The images of one part, class by class, each sorted by name."""
    place = root if part is None else root / part
    _refuse_links([place] if part else [])
    found = _folders(place)
    if not found:
        raise _Wrong(
            f"{part} has no class folders; sort the images into {part}/<class>/, as in train (for "
            "ILSVRC2012's val, the script valprep.sh of soumith/imagenetloader.torch does it)"
        )
    if set(found) != set(classes):
        lacks, extra = sorted(set(classes) - set(found)), sorted(set(found) - set(classes))
        differences = [f"lacks {_some(lacks)}"] * bool(lacks) + [f"has {_some(extra)}"] * bool(
            extra
        )
        raise _Wrong(
            f"against train, {part} {' and '.join(differences)}; make the same class folders in "
            "every part"
        )
    if strange := [name for name in classes if UNPRINTED & set(map(unicodedata.category, name))]:
        raise _Wrong(
            f"the class folder {shown(strange[0])} has a name that cannot be printed; rename it"
        )
    _refuse_links([place / name for name in classes])
    files: list[str] = []
    sizes: list[int] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = _images(place / name, findings)
        if not images and not findings.wrong:
            raise _Wrong(
                f"the class folder {shown(place / name)} has no images; put images with one of the "
                f"endings {' '.join(sorted(EXTENSIONS))} into it, or remove it"
            )
        files += ["/".join(filter(None, (part, name, inner))) for inner, _ in images]
        sizes += [size for _, size in images]
        labels += [label] * len(images)
    if findings.wrong:
        raise _Wrong(_some(findings.wrong, "; "))
    return Listing(root, tuple(files), tuple(sizes), torch.tensor(labels))


def image_names(folder: Path) -> list[str]:
    """The images below a folder, at any depth, as names relative to it; ValueError as for a set."""
    findings = _Findings()
    names = [name for name, _ in _images(folder, findings)]
    if findings.wrong:
        raise ValueError(_some(findings.wrong, "; "))
    return names


def _images(folder: Path, findings: _Findings) -> list[tuple[str, int]]:
    """Names and sizes of the images below a folder, sorted; hidden files are no images."""
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
        yield from (entry for entry in entries if not entry.name.startswith("."))


def _examined(name: str, entry: os.DirEntry[str]) -> tuple[int, str | None]:
    """The size of a file, and why it cannot be an image, `None` if it may be one."""
    try:
        name.encode()
        status = entry.stat()
    except UnicodeEncodeError:
        return 0, "has a name that is not UTF-8, rename it"
    except OSError as error:
        return 0, f"cannot be read ({error.strerror}), remove or replace it"
    if not stat.S_ISREG(status.st_mode):
        return 0, "is a pipe, a socket or a device, remove it"
    return status.st_size, None


def _refuse_links(folders: Sequence[Path]) -> None:
    """A folder of the set lies in the set."""
    if linked := [folder for folder in folders if folder.is_symlink()]:
        raise _Wrong(_some([_linked(folder) for folder in linked], "; "))


def _linked(folder: Path) -> str:
    target = os.path.realpath(folder)
    return (
        f"{shown(folder)} is a link to the folder {shown(target)}; make it a folder with links to "
        f"the files, as `cp -rs` does"
    )


def _refuse_twice(layout: FolderLayout, links: Sequence[tuple[str, str]]) -> None:
    """An image has one name: under two it could be trained on and tested, or have two classes."""
    if not links:
        return
    root = layout.training.root
    real = os.path.realpath(root)
    names = (*layout.training.files, *layout.test.files)
    linked = {link for link, _ in links}
    paths = ((f"{root}/{name}", f"{real}/{name}") for name in names)
    seen = {target: path for path, target in paths if path not in linked}
    for link, target in links:
        if (other := seen.setdefault(target, link)) != link:
            raise _Wrong(f"{shown(link)} and {shown(other)} are the same file; remove one of them")


def _refuse_parts_as_classes(training: Listing) -> None:
    """Folders at the top that share the names of folders inside of them are parts, not classes."""
    inside: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for folder in {name.rpartition("/")[0] for name in training.files}:
        top, *inner = folder.split("/")
        for depth, name in enumerate(inner):
            inside[top]["/".join(inner[:depth])].add(name.casefold())
    first: dict[tuple[str, str], str] = {}
    for top in sorted(inside):
        for names in inside[top].values():
            for pair in combinations(sorted(names)[:COMPARED], 2):
                if (other := first.setdefault(pair, top)) != top:
                    raise _Wrong(
                        f"the folders {shown(other)} and {shown(top)} both have {_some(pair)} in "
                        "them; name the parts of the set train, val and test, or put its classes "
                        "into train/"
                    )


def _refuse_unnamed_part(folder: Path, classes: Sequence[str], others: Sequence[str]) -> None:
    """A folder beside train that has its classes is a part whose name is not known."""
    known = {name.casefold() for name in classes}
    for other in others:
        shared = [name for name in _folders(folder / other) if name.casefold() in known]
        if len(shared) > 1:
            raise _Wrong(
                f"{shown(other)} has {_some(shared)} in it as train has; name it test or val, or "
                "move it away"
            )


def _some(names: Sequence[str], between: str = ", ") -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return between.join(map(shown, names[:NAMED])) + more
