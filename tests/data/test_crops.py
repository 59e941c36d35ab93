"""Crops of image files: as torchvision's, and decoded no finer than needed."""

import math

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional

from nasrun.data.crops import Crop, _scale, load_crop
from nasrun.data.decode import Unreadable, load_box

WHOLE = Crop(height=9.0, width=9.0, row=0.0, column=0.0, mirrored=0.0)


@pytest.fixture
def photograph(tmp_path):
    """Write a smooth picture as a file, and return its path."""

    def written(name="photograph.jpg", size=(333, 250), **options):
        rows, columns = numpy.mgrid[0 : size[1], 0 : size[0]]
        waves = [numpy.sin(rows / 40 + 2 * c) + numpy.cos(columns / 30 - c) for c in range(3)]
        pixels = numpy.stack(waves, axis=2) * 60 + 128
        path = tmp_path / name
        Image.fromarray(pixels.astype(numpy.uint8)).save(path, **options)
        return path

    return written


def whole(size):
    return (0, 0, *size)


fractions = st.floats(0, 1)
sides = st.integers(1, 3000)


@given(sides, sides, st.floats(0.1, 1.2), st.floats(0.1, 1.2), fractions, fractions, sides)
def test_a_crop_lies_in_the_picture_and_has_enough_pixels_at_its_scale(
    width, height, tall, wide, row, column, size
):
    crop = Crop(tall, wide, row, column, 0.0)
    left, top, right, bottom = box = crop.box((width, height))
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    scale = _scale(box, size)
    reduced = crop.box((math.ceil(width / scale), math.ceil(height / scale)))
    assert scale == 1 or min(reduced[2] - reduced[0], reduced[3] - reduced[1]) >= size
    if scale < 8:  # the next scale has too few
        assert min(right - left, bottom - top) < 2 * scale * size


def test_a_crop_is_torchvisions_resized_crop_of_the_same_box(photograph):
    path, crop = photograph("photograph.png"), Crop(0.5, 0.7, 0.3, 0.9, mirrored=0.0)
    left, top, right, bottom = crop.box((333, 250))
    image = functional.pil_to_tensor(Image.open(path))
    expected = functional.resized_crop(
        image, top, left, bottom - top, right - left, [64, 64], antialias=True
    )
    assert torch.equal(load_crop(path, crop, 64), expected)
    assert torch.equal(load_crop(path, crop._replace(mirrored=1.0), 64), expected.flip(2))


def test_a_jpeg_is_decoded_at_a_scale_and_other_files_whole(photograph):
    jpeg, png = photograph(), photograph("photograph.png")
    turned = photograph("turned.jpg", exif=b"Exif\0\0" + note(6))
    asked = []

    def scale(size):
        asked.append(size)
        return 2

    assert load_box(jpeg, whole, scale).shape == (125, 167, 3)
    assert load_box(png, whole, scale).shape == (250, 333, 3)
    assert load_box(turned, whole, scale).shape == (167, 125, 3)
    assert asked == [(333, 250), (333, 250), (250, 333)]


def note(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif.tobytes().removeprefix(b"Exif\0\0")


def test_a_reduced_crop_shows_the_same_as_a_whole_one(photograph):
    jpeg, png = photograph(), photograph("photograph.png")
    for crop in (WHOLE, Crop(0.7, 0.8, 0.9, 0.2, 0.0)):
        reduced, whole = load_crop(jpeg, crop, 60).int(), load_crop(png, crop, 60).int()
        assert (reduced - whole).abs().float().mean() < 3


def test_simplejpeg_gives_pillows_pixels(photograph, monkeypatch):
    """Results do not depend on whether it is installed."""
    pytest.importorskip("simplejpeg")
    paths = [
        photograph("colour.jpg", quality=80),
        photograph("progressive.jpg", progressive=True, subsampling=1),
    ]
    Image.open(paths[0]).convert("L").save(paths[0].with_name("grey.jpg"))
    paths.append(paths[0].with_name("grey.jpg"))
    for path in paths:
        for scale in (1, 2, 4, 8):
            mine = load_box(path, whole, lambda size, scale=scale: scale)
            with monkeypatch.context() as without:
                without.setattr("nasrun.data.decode._quick", lambda: None)
                assert numpy.array_equal(mine, load_box(path, whole, lambda size, s=scale: s))


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_jpegs_of_other_modes_become_rgb(photograph, mode):
    path = photograph()
    Image.open(path).convert(mode).save(path)
    assert load_crop(path, WHOLE, 32).shape == (3, 32, 32)


def test_a_damaged_file_is_named(photograph, tmp_path):
    path = photograph()
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(Unreadable, match="truncated"):
        load_crop(path, WHOLE, 32)
    with pytest.raises(Unreadable, match=r"nowhere.jpg \(No such file"):
        load_crop(tmp_path / "nowhere.jpg", WHOLE, 32)
