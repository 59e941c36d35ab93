"""The layout of a folder of images: the part and the class of each file.

Three layouts are read; labels of the test part are never used before the end:

- `train/<class>` with `test/<class>`: `test` is the test part; a `val` folder beside them is the
  validation part;
- `train/<class>` with `val/<class>` only, as in ImageNet and Tiny-ImageNet: `val` is the test part,
  and validation is held out of train;
- class folders only, at the top or under `train`: a test part is held out, file by file.

The parts may have other common names, in any case. A `test` folder without class folders has no
labels (ILSVRC2012, Kaggle, and Tiny-ImageNet, whose images lie in `test/images`) and is ignored.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor

from nasrun.data.contents import Contents
from nasrun.data.holdout import Labelled, draws, held_out
from nasrun.data.listing import Findings, Listing, Wrong, folders, list_part
from nasrun.data.shards import INDEX, Index
from nasrun.shown import shown, some

TRAIN = ("train", "training")
VALIDATION = ("val", "valid", "validation")
TEST = ("test", "testing")
OTHERS = ("dev", "eval", "evaluation", "holdout")
"""Names of a part of which nobody knows whether it is for validation or for the test."""
COMPARED = 64  # folders inside a folder are compared with those inside others, at most this many


@dataclass(frozen=True)
class FolderLayout:
    """The parts of a root.

    training: all images but those of the test. aside: (N,) bool, true for those in a validation
    folder; `None` without such a folder. within: the folder of the root that holds the class
    folders of training, empty for the root itself. held: the name of the test part's folder, `None`
    if the test images are held out from the others.
    """

    classes: tuple[str, ...]
    training: Listing
    test: Listing
    aside: Tensor | None
    within: str
    held: str | None

    def labelled(self, split_seed: int) -> Labelled:
        """Return the training images, to be divided by the names of their files."""
        names = [name.removeprefix(self.within) for name in self.training.files]
        own = draws(names, f"validation {split_seed}")
        return Labelled(self.training.labels, self.classes, self.aside, own)

    def contents(self) -> Contents:
        """Return the names and sizes of all images."""
        files = self.training + self.test
        return Contents(dict(zip(files.files, files.sizes, strict=True)))


def refuse_fraction(test: float | None) -> None:
    """Raise ValueError for a number that is no fraction to hold out for the test."""
    if test is not None and not 0 < test < 1:
        raise ValueError(f"dataset.test={test}: use a fraction between 0 and 1, or null")


def place(root: str) -> Path:
    """Return the absolute path of the folder that a root names."""
    return Path(os.path.abspath(Path(root).expanduser()))


def divided(folder: Path) -> bool:
    """Return whether a folder is packed, or has a train folder."""
    return (folder / INDEX).is_file() or any((folder / name).is_dir() for name in TRAIN)


def read_layout(root: str, test: float | None) -> FolderLayout:
    """List the images of `root`; hold a fraction of them out if no folder holds the test part.

    Raises ValueError if a folder or a class is missing, or if the classes of two parts differ.
    """
    try:
        return _layout(place(root), test)
    except Wrong as error:
        raise ValueError(f"dataset.root={shown(root)}: {error}") from error


@dataclass(frozen=True)
class Division:
    """The images of a root as its folders divide them; `validation` and `test` may have no folder.

    within: as in `FolderLayout`. held: the name of the test part's folder.
    """

    classes: tuple[str, ...]
    training: Listing
    validation: Listing | None
    test: Listing | None
    within: str
    held: str | None


def read_parts(root: str) -> Division:
    """List the images of `root` as its folders divide them; ValueError as in `read_layout`."""
    try:
        return _either(place(root))
    except Wrong as error:
        raise ValueError(f"{shown(root)}: {error}") from error


def _layout(folder: Path, test: float | None) -> FolderLayout:
    parts = _either(folder)
    classes, training, within = parts.classes, parts.training, parts.within
    if parts.test is None:
        names = [name.removeprefix(within) for name in training.files]
        fraction = 0.2 if test is None else test
        out = held_out(Labelled(training.labels, classes, None, draws(names, "test")), fraction)
        kept, tested = training.at((~out).nonzero()[:, 0]), training.at(out.nonzero()[:, 0])
        return FolderLayout(classes, kept, tested, None, within, None)
    if test is not None:
        raise ValueError(f"dataset.test={test}: {parts.held} is the test part already; use null")
    aside = None
    if parts.validation is not None:
        aside = torch.arange(len(training) + len(parts.validation)) >= len(training)
        training = training + parts.validation
    return FolderLayout(classes, training, parts.test, aside, within, parts.held)


def _either(folder: Path) -> Division:
    return _packed(folder) if (folder / INDEX).is_file() else _parts(folder)


def _packed(folder: Path) -> Division:
    index = Index.read(folder)
    found = index.listings(folder)
    others = found.get("validation"), found.get("test")
    return Division(index.classes, found["training"], *others, index.within, index.held)


def _parts(folder: Path) -> Division:
    if not folder.is_dir():
        raise Wrong(
            "there is no such folder; name one with train/<class>/*.jpg and test/<class>/*.jpg, "
            "or with <class>/*.jpg"
        )
    top = folders(folder)
    train, validation, held = (_named(top, names) for names in (TRAIN, VALIDATION, TEST))
    if train is None and (validation or held):
        raise Wrong(
            f"{validation or held} is there, but no train folder beside it; put the training "
            "images into train/<class>/"
        )
    if train is not None and held is not None and _unlabelled(folder / held, folder / train):
        held = None
    if held is None:
        held, validation = validation, None
    part = folder if train is None else folder / train
    classes = folders(part)
    if len(classes) < 2:
        raise Wrong(f"{len(classes)} class folders in {shown(part)}; {_advice(folder, train)}")
    if train is not None and (held is None or held.casefold() in VALIDATION):
        _refuse_unnamed_part(folder, classes, [name for name in top if name not in (train, held)])
    findings = Findings()
    training = list_part(folder, train, classes, findings)
    if train is None:
        _refuse_parts_as_classes(training)
        _refuse_parts_in_names(classes)
    tested = None if held is None else list_part(folder, held, classes, findings)
    given = None if validation is None else list_part(folder, validation, classes, findings)
    parts = Division(classes, training, given, tested, "" if train is None else f"{train}/", held)
    _refuse_twice(folder, parts, findings.links)
    return parts


def _unlabelled(part: Path, train: Path) -> bool:
    """Return whether a part has no class folders, or only `images`, which is none."""
    inside = {name.casefold() for name in folders(part)} - {"images"}
    return not inside and "images" not in folders(train)


def _named(folders: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the folder with one of these names, in any case."""
    found = [name for name in folders if name.casefold() in names]
    if len(found) > 1:
        raise Wrong(f"both {found[0]} and {found[1]} are there; keep one of them")
    return found[0] if found else None


def _advice(folder: Path, train: str | None) -> str:
    """Return the advice for a folder with fewer than two classes."""
    top = folders(folder)
    if train is None and len(top) == 1 and len(folders(folder / top[0])) > 1:
        return f"give dataset.root={shown(folder / top[0])}"
    advice = "make two or more, each with the images of one class"
    if train is not None and len(top) > 1 and not folders(folder / train):
        advice += f" (if {train} is a class, put all classes into train/, train/{train}/ too)"
    return advice


def _refuse_twice(root: Path, parts: Division, links: Sequence[tuple[str, str]]) -> None:
    """Refuse an image with two names: it could be in two parts, or have two classes."""
    if not links:
        return
    real = os.path.realpath(root)
    listings = (parts.training, parts.validation, parts.test)
    names = [name for listing in listings if listing is not None for name in listing.files]
    linked = {link for link, _ in links}
    paths = ((f"{root}/{name}", f"{real}/{name}") for name in names)
    seen = {target: path for path, target in paths if path not in linked}
    for link, target in links:
        if (other := seen.setdefault(target, link)) != link:
            raise Wrong(f"{shown(link)} and {shown(other)} are the same file; remove one of them")


def _refuse_parts_as_classes(training: Listing) -> None:
    """Refuse folders at the top with the same folders inside them: these are parts, not classes."""
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
                    raise Wrong(
                        f"the folders {shown(other)} and {shown(top)} both have {some(pair)} in "
                        "them; name the parts of the set train, val and test, or put its classes "
                        "into train/"
                    )


def _refuse_parts_in_names(classes: Sequence[str]) -> None:
    """Refuse names of two parts of one class: `trainA` and `testA`, `ant_train` and `ant_val`."""
    first: dict[str, tuple[Sequence[str], str]] = {}
    for name in classes:
        for part, rest in _parts_in(name):
            other, twin = first.setdefault(rest, (part, name))
            if other != part:
                raise Wrong(
                    f"the folders {shown(twin)} and {shown(name)} are named as two parts of one "
                    "class; make train/CLASS/ and test/CLASS/ of them"
                )


def _parts_in(name: str) -> Iterator[tuple[Sequence[str], str]]:
    """Yield the parts that a name begins or ends with as a separate word, each with the rest."""
    folded = name.casefold()
    for part in (TRAIN, VALIDATION, TEST, OTHERS):
        for word in part:
            behind, before = name[len(word) :], name[: -len(word)]
            if folded.startswith(word) and not behind[:1].islower():
                yield part, f"-{behind}"
            if folded.endswith(word) and not (
                before[-1:].isalpha() and name[len(before)].islower()
            ):
                yield part, f"{before}-"


def _refuse_unnamed_part(folder: Path, classes: Sequence[str], others: Sequence[str]) -> None:
    """Refuse a folder beside train with the same classes: it is a part with an unknown name."""
    known = {name.casefold() for name in classes}
    for other in others:
        shared = [name for name in folders(folder / other) if name.casefold() in known]
        if len(shared) > 1:
            raise Wrong(
                f"{shown(other)} has {some(shared)} in it as train has; name it test or val, or "
                "move it away"
            )
