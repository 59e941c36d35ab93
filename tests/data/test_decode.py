"""Single image files: modes, formats, and what is broken."""

import pickle
import struct
import warnings
import zlib

import numpy
import pytest
import torch
from PIL import Image, ImageOps

from nasrun.data.decode import Broken, Unreadable, load_image, square

LOSSLESS = {
    "jpg": {"quality": 100},
    "webp": {"lossless": True},
    "tif": {"compression": "tiff_deflate"},
}


@pytest.mark.parametrize(
    ("mode", "colour", "ending"),
    [
        ("L", 200, "png"),
        ("RGB", (200, 200, 200), "jpg"),
        ("RGBA", (200, 200, 200, 128), "png"),
        ("RGBA", (200, 200, 200, 128), "tif"),
        ("P", 200, "png"),
        ("LA", (200, 255), "png"),
        ("LA", (200, 3), "png"),
        ("CMYK", (0, 0, 0, 55), "jpg"),
        ("CMYK", (0, 0, 0, 55), "tif"),
        ("YCbCr", (200, 128, 128), "jpg"),
        ("I;16", 200 * 257, "png"),
        ("I;16", 200 * 257, "tif"),
        ("I", 200 * 257, "pgm"),
        ("I", 200 * 257, "tif"),
        ("F", 200 / 255, "tif"),
        ("1", 1, "png"),
    ],
)
def test_images_of_every_mode_are_read(paint, mode, colour, ending):
    path = paint(f"one.{ending}", colour="#c8c8c8" if mode == "P" else colour, mode=mode)
    expected = 255 if mode == "1" else 200
    allowed = 2 if ending == "jpg" else 0
    for channels in (1, 3):
        pixels = square(load_image(path, channels), 12)
        assert pixels.shape == (channels, 12, 12)
        assert (pixels.int() - expected).abs().max() <= allowed


def test_floats_and_16_bits_are_rounded_to_the_nearest_of_256_values(tmp_path):
    numbers = numpy.linspace(0, 1, 4096).reshape(64, 64)
    expected = numpy.floor(numbers * 255 + 0.5)
    for kind, white, ending in (("float32", 1, "tif"), ("uint16", 65535, "png")):
        values = (numbers * white).astype(kind)
        Image.fromarray(values).save(tmp_path / f"one.{ending}")
        mine = numpy.asarray(load_image(tmp_path / f"one.{ending}", 1)).astype(float)
        assert numpy.abs(mine - values / white * 255).max() <= 0.5 + 1e-4
        assert (mine != expected).mean() < 0.01  # the cut to 16 bits moves a few halves


@pytest.mark.parametrize(
    ("low", "high", "kind", "told"),
    [
        (0, 255, "float32", "mode F, values from 0 to 255; scale them to 0..1"),
        (-1, 1, "float32", "mode F, values from -1 to 1; scale them to 0..1"),
        (0, float("nan"), "float32", "mode F, values from nan to nan; scale them to 0..1"),
        (0, 100_000, "int32", "mode I, values from 0 to 100000; scale them to 0..65535"),
        (-5, 100, "int32", "mode I, values from -5 to 100; scale them to 0..65535"),
    ],
)
def test_numbers_out_of_the_range_of_their_mode_are_refused(tmp_path, low, high, kind, told):
    values = numpy.zeros((4, 4), dtype=kind)
    values[0], values[1] = low, high
    Image.fromarray(values).save(tmp_path / "one.tif")
    for channels in (1, 3):
        with pytest.raises(Unreadable) as refused:
            load_image(tmp_path / "one.tif", channels)
        assert refused.value.reason == told


def test_transparency_is_left_away_and_nobody_is_warned(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30] + [200, 100, 50] * 255)
    image.save(tmp_path / "one.png", transparency=b"\x00\x80")
    image.save(tmp_path / "one.gif", transparency=0)
    Image.new("RGBA", (4, 4), (200, 100, 50, 0)).save(tmp_path / "two.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("one.png", "one.gif", "two.png"):
            assert load_image(tmp_path / name, 3).getpixel((1, 1)) == (200, 100, 50)
            assert load_image(tmp_path / name, 1).getpixel((1, 1)) == 124  # ITU-R 601's luma


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif"])
def test_the_first_picture_of_several_counts(tmp_path, ending):
    frames = [Image.new("RGB", (4, 4), (grey,) * 3) for grey in (200, 10, 90)]
    frames[0].save(
        tmp_path / f"one.{ending}",
        save_all=True,
        append_images=frames[1:],
        **({"lossless": True} if ending == "webp" else {}),
    )
    assert load_image(tmp_path / f"one.{ending}", 1).getcolors() == [(16, 200)]


def test_a_phones_jpeg_of_several_pictures_is_read(tmp_path):
    frames = [Image.new("RGB", (8, 8), (grey,) * 3) for grey in (200, 10)]
    frames[0].save(tmp_path / "one.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert load_image(tmp_path / "one.jpg", 1).getcolors() == [(64, 200)]


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_a_photograph_stands_upright_as_a_viewer_shows_it(tmp_path, ending):
    corners = numpy.zeros((16, 24), numpy.uint8)
    corners[:8, :8], corners[:8, 16:], corners[8:, :8] = 240, 160, 80
    for orientation in range(1, 9):
        notes = Image.Exif()
        notes[274] = orientation
        path = tmp_path / f"{orientation}.{ending}"
        Image.fromarray(corners).save(path, exif=notes, **LOSSLESS.get(ending, {}))
        with Image.open(path) as image:
            expected = numpy.asarray(ImageOps.exif_transpose(image).convert("L"), int)
        found = numpy.asarray(load_image(path, 1), int)
        assert (
            found.shape == expected.shape == ((24, 16) if orientation in (5, 6, 7, 8) else (16, 24))
        )
        assert abs(found - expected).max() == 0


def test_a_damaged_note_of_a_camera_is_no_damaged_image(tmp_path):
    for notes in (b"Exif\0\0II*\0", b"Exif\0\0nonsense", b"Exif\0\0MM\0*\xff\xff\xff\xff"):
        Image.new("L", (8, 8), 200).save(tmp_path / "one.jpg", exif=notes)
        assert load_image(tmp_path / "one.jpg", 1).getcolors() == [(64, 200)]


def test_a_file_is_what_it_holds_not_what_its_name_says(tmp_path):
    Image.new("L", (4, 4), 200).save(tmp_path / "one.jpg", format="PNG")
    assert load_image(tmp_path / "one.jpg", 1).getcolors() == [(16, 200)]


def test_postscript_is_handed_to_nobody(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("Ghostscript"))
    Image.new("RGB", (4, 4)).save(tmp_path / "one.jpg", format="EPS")
    with pytest.raises(Unreadable, match=r"one.jpg \(none of the formats BMP, GIF"):
        load_image(tmp_path / "one.jpg", 3)


def chunk(kind, content):
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def bomb(path):
    """A PNG of one pixel whose text takes 64 MB unpacked."""
    Image.new("L", (1, 1)).save(path)
    data = path.read_bytes()
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b" " * 2**26))
    path.write_bytes(data[:33] + text + data[33:])


def test_whatever_is_wrong_with_a_file_names_it(tmp_path):
    Image.effect_noise((40, 40), 50).save(tmp_path / "good.png")
    good = (tmp_path / "good.png").read_bytes()
    Image.new("RGB", (9, 9)).save(tmp_path / "rle.gif")
    bomb(tmp_path / "bomb.png")
    for name, content in {
        "empty.png": b"",
        "text.png": b"no image",
        "cut.png": good[:500],
        "flipped.png": good[:200] + bytes([good[200] ^ 255]) + good[201:],
        "cut.gif": (tmp_path / "rle.gif").read_bytes()[:-20],
        "huge.ppm": b"P6 99999999 99999999 255\n",
        "wrong.ppm": b"P6 x y 255\n",
        "bomb.png": (tmp_path / "bomb.png").read_bytes(),
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(
            Unreadable, match=r"cannot read the image .*: remove or replace it"
        ) as e:
            load_image(path, 3)
        assert str(path) in str(e.value)
        assert e.value.reason
        again = pickle.loads(pickle.dumps(e.value))
        assert (str(again), again.file) == (str(e.value), path)


def test_a_file_that_is_not_there_is_told_in_few_words(tmp_path):
    with pytest.raises(Unreadable, match=r"gone.png \(No such file or directory\)"):
        load_image(tmp_path / "gone.png", 3)


def test_many_broken_files_are_counted_and_the_first_are_named(tmp_path):
    files = [Unreadable(tmp_path / f"{number}.png", "torn") for number in range(25)]
    text = str(pickle.loads(pickle.dumps(Broken(files, 80))))
    assert "cannot read 25 of 80 images, remove or replace them: " in text
    assert text.count("(torn)") == 20
    assert text.endswith("19.png (torn) and 5 more")
    assert str(Broken(files[:1], 80)) == str(files[0])


def test_the_shorter_side_is_scaled_and_the_centre_kept():
    wide = numpy.zeros((20, 40, 3), dtype=numpy.uint8)
    wide[:, 6:34] = 250  # the filter reaches a little out of the centre
    assert square(Image.fromarray(wide), 10).unique().tolist() == [250]
    assert square(Image.fromarray(wide.transpose(1, 0, 2).copy()), 10).unique().tolist() == [250]


def test_an_image_of_the_asked_size_keeps_its_bytes(paint):
    path = paint("one.png")
    original = torch.from_numpy(numpy.array(Image.open(path))).permute(2, 0, 1)
    assert torch.equal(square(load_image(path, 3), 12), original)
