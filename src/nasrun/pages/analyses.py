"""The results of `nasrun analyze` in a run, on a page: its tables, and its pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path

from nasrun.analysis.kept import FORMER, KEPT
from nasrun.analysis.results import ROOM
from nasrun.display import Exhibit
from nasrun.files import read_json
from nasrun.runs.run import Run

PARTS = ("search", "cells", "ranks", "variants", "convergence", "landscape")
"""Parts whose records have tables."""
ROOM_FOR_PICTURES = 1_600_000
"""Most characters of all pictures of a page."""


@dataclass(frozen=True)
class Picture:
    """A picture, inside the page."""

    name: str
    data: str
    width: int
    height: int


@dataclass(frozen=True)
class Analysis:
    """One part in one run; `notes` tell what is missing."""

    part: str
    run: str
    source: str
    sentences: tuple[str, ...]
    tables: tuple[Exhibit, ...]
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...]


def analyses(runs: Mapping[Run, str]) -> Iterator[Analysis]:
    """Yield the parts that lie in runs, each run with its name on the page."""
    room = ROOM_FOR_PICTURES
    for run, name in runs.items():
        folders = (path for path in (run.path / ROOM).glob("*") if path.is_dir())
        for folder in sorted(folders, key=_order):
            found = _analysis(folder, name, room)
            room -= sum(len(picture.data) for picture in found.pictures)
            yield found


def _order(folder: Path) -> tuple[int, str]:
    known = folder.name in PARTS
    return PARTS.index(folder.name) if known else len(PARTS), folder.name


def _analysis(folder: Path, run: str, room: int) -> Analysis:
    source = f"{ROOM}/{folder.name}/{folder.name}.json"
    record = folder / f"{folder.name}.json"
    told: tuple[Exhibit | str, ...] = ()
    notes: list[str] = []
    if folder.name not in PARTS:
        notes.append("This page knows no tables of this part.")
    elif record.exists():
        try:
            part = import_module(f"nasrun.analysis.{folder.name}")
            told = tuple(part.told(read_json(record)))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            notes.append(f"{source} is damaged or of another version ({reason}).")
    elif any((folder / name).exists() for name in (KEPT, FORMER)):
        notes.append("This analysis is not finished; the same command continues.")
    else:
        notes.append(f"{source} is missing.")
    pictures = []
    for path in sorted(folder.glob("*.png")):
        try:
            picture = _picture(path)
        except Exception as error:  # noqa: BLE001  Pillow raises whatever a damaged file leads to
            notes.append(f"{path.name} is no picture that can be read ({type(error).__name__}).")
            continue
        if len(picture.data) > room:
            notes.append(f"{path.name} is left out, to keep this page small; it lies in the run.")
            continue
        room -= len(picture.data)
        pictures.append(picture)
    sentences = tuple(each for each in told if isinstance(each, str))
    tables = tuple(each for each in told if isinstance(each, Exhibit))
    return Analysis(folder.name, run, source, sentences, tables, tuple(pictures), tuple(notes))


def _picture(path: Path) -> Picture:
    """Read a picture and write it anew, with few colours: half its size, and nothing else in it."""
    from PIL import Image

    with Image.open(path, formats=("PNG",)) as image:
        few = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    file = BytesIO()
    few.save(file, "png", optimize=True)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return Picture(path.stem, data, *few.size)
