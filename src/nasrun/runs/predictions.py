"""Classifies image files with a trained network, with the same preprocessing as the test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from nasrun.data.decode import EXTENSIONS, Unreadable, load_image
from nasrun.data.listing import image_names

if TYPE_CHECKING:
    from PIL.Image import Image

    from nasrun.runs.network import TrainedNetwork

BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """The most likely classes of a file with their probabilities, the likeliest first."""

    path: Path
    classes: tuple[tuple[str, float], ...]


def image_files(names: Sequence[str]) -> list[Path]:
    """Return the named files, and all images below the named folders, each once."""
    found: dict[Path, None] = {}
    for name in names:
        path = Path(name).expanduser()
        if path.is_dir():
            below = [path / inner for inner in image_names(path)]
            if not below:
                endings = " ".join(sorted(EXTENSIONS))
                raise ValueError(
                    f"{name}: has no images; name a folder with files that end in {endings}"
                )
            found |= dict.fromkeys(below)
        elif path.exists() and not path.is_file():
            raise ValueError(f"{name}: is a pipe or a device; give image files or their folders")
        elif path.exists():
            found[path] = None
        else:
            raise ValueError(f"{name}: there is no such file or folder; name another")
    return list(found)


def predict(network: TrainedNetwork, paths: Iterable[Path], top: int) -> list[Prediction]:
    """Return the `top` classes of every file; ValueError names all files that are no images."""
    found: list[Prediction] = []
    broken: list[Unreadable] = []
    for files, images in _batches(paths, network.channels, broken):
        with torch.no_grad():
            shares, labels = network(images).softmax(1).topk(top)
        for path, row, numbers in zip(files, labels.tolist(), shares.tolist(), strict=True):
            names = (network.classes[label] for label in row)
            found.append(Prediction(path, tuple(zip(names, numbers, strict=True))))
    if broken:
        named = "; ".join(each.described for each in broken)
        raise ValueError(f"cannot be read as images, leave them out: {named}")
    return found


def _batches(
    paths: Iterable[Path], channels: int, broken: list[Unreadable]
) -> Iterator[tuple[list[Path], list[Image]]]:
    """Yield files and their images in batches; append broken files to `broken`."""
    files: list[Path] = []
    images: list[Image] = []
    for path in paths:
        try:
            images.append(load_image(path, channels))
        except Unreadable as error:
            broken.append(error)
            continue
        files.append(path)
        if len(files) == BATCH:
            yield files, images
            files, images = [], []
    if files:
        yield files, images
