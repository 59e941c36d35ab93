"""Every test has a cache folder of its own and the same random numbers."""

import tarfile
import zlib
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

ARCHIVES = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NASRUN_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    return tmp_path / "cache"


@pytest.fixture
def unpack(tmp_path):
    """Unpack the members of an archive that a predicate wants; skip where it is missing."""

    def unpacked(archive, wanted, most):
        path = ARCHIVES / archive
        if not path.is_file():
            pytest.skip(f"the real data are not here: {path}")
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # before 3.11.4
        with tarfile.open(path) as opened:
            left = most
            for member in opened:
                if member.isfile() and wanted(member.name):
                    opened.extract(member, tmp_path / "real", **safely)
                    left -= 1
                if left == 0:
                    break
        return tmp_path / "real"

    return unpacked


@pytest.fixture
def paint(tmp_path):
    """Write a picture of one colour, or of noise, below the folder `set`."""

    def painted(name, colour=None, size=(12, 12), mode="RGB"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if colour is None:
            noise = numpy.random.default_rng(zlib.crc32(name.encode())).integers(
                0, 256, (*size[::-1], 3)
            )
            image = Image.fromarray(noise.astype(numpy.uint8)).convert(mode)
        else:
            image = Image.new(mode, size, colour)
        image.save(path)
        return path

    return painted


@pytest.fixture
def fill(paint, tmp_path):
    """Fill `part/<class>/` folders with noise; returns the root."""

    def filled(**counts):
        for part, count in counts.items():
            for name in ("ant", "bee"):
                for number in range(count):
                    paint(f"{part}/{name}/{number:03}.png")
        return tmp_path / "set"

    return filled
