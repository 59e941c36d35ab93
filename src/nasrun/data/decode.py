"""Opens and decodes image files: any mode becomes grey or RGB with 8 bits per channel.

Only the first frame of an animation, or the first of several pages, is read. Transparency is
ignored: the stored colours are used. A photograph is turned upright as its EXIF says.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from typing import IO, TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor

from nasrun.shown import shown, some

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray
    from PIL.Image import Image
Size = tuple[int, int]
"""Width and height."""
Rectangle = tuple[int, int, int, int]
"""Left, top, right and bottom."""
EXTENSIONS = {
    *(".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
}
FORMATS = ("BMP", "DIB", "GIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read, whatever the file's suffix; none of them needs another program."""
GREY = {"1", "L", "LA", "La", "I", "F"}  # and the 16-bit modes, "I;16..."
WHITE = {"F": 1.0, "I": 65535.0}
"""The largest value of modes that do not imply it; Pillow reads 16 bits as `I`."""
SLACK = 1e-3  # floats may exceed the range by this much, as they do after resampling
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""Orientations of EXIF, and what turns them upright; those of 5 and more swap width and height."""
NAMED = 20  # largest number of broken files named in an error


class ImageFile(Protocol):
    """A file with an image in it: a path, or a member of a shard; `str` names it."""

    def open(self, mode: Literal["rb"], /) -> IO[bytes]: ...

    def read_bytes(self) -> bytes: ...

    def stat(self) -> os.stat_result: ...


@contextmanager
def open_image(file: ImageFile) -> Iterator[Image]:
    """Open an image and read its header; Unreadable if it is not an image, or proves broken."""
    with _refused(file), file.open("rb") as stream, _opened(stream) as image:
        yield image


@contextmanager
def _refused(file: ImageFile) -> Iterator[None]:
    try:
        yield
    except Unreadable:
        raise
    except Exception as error:  # Pillow raises many types on damaged files
        raise Unreadable(file, _reason(error)) from error


def _opened(stream: IO[bytes]) -> Image:
    from PIL import Image

    Image.init()
    return Image.open(stream, formats=[name for name in FORMATS if name in Image.OPEN])


def load_image(file: ImageFile, channels: int) -> Image:
    """Decode an image as grey or RGB, from any mode; Unreadable if it is broken."""
    with open_image(file) as image:
        return in_channels(image, channels)


def load_box(
    file: ImageFile, box: Callable[[Size], Rectangle], scale: Callable[[Size], int]
) -> NDArray[uint8]:
    """Return a part of an image as RGB pixels (height, width, 3); Unreadable if it is broken.

    box: maps width and height to left, top, right and bottom. scale: maps them to 1, 2, 4 or 8; a
    JPEG is decoded at this fraction of its size, as its inverse cosine transform can, other files
    at their size.
    """
    import numpy

    with _refused(file):
        encoded = file.read_bytes()
        with _opened(BytesIO(encoded)) as image:
            least = scale(upright_size(image))
            pixels = _jpeg(image, encoded, least)
            if pixels is None:
                image.draft(None, (image.width // least, image.height // least))
                whole = in_channels(image, 3)
                return numpy.array(whole.crop(box(whole.size)))
            left, top, right, bottom = box((pixels.shape[1], pixels.shape[0]))
            return pixels[top:bottom, left:right]


def _jpeg(header: Image, encoded: bytes, scale: int) -> NDArray[uint8] | None:
    """Decode with simplejpeg, more quickly than with Pillow, to the same pixels.

    `None` if it cannot: it is not installed, the file is damaged or turned, or its colours are
    unusual.
    """
    decode = _quick()
    if decode is None or header.format != "JPEG" or header.mode not in ("L", "RGB"):
        return None
    if _orientation(header) in TURNS:
        return None
    width, height = (math.ceil(side / scale) for side in header.size)
    try:
        return decode(encoded, "RGB", min_height=height, min_width=width)
    except ValueError:
        return None  # so that Pillow alone decides what is broken, and says why


@cache  # a failed import takes a fifth of the time of an image
def _quick() -> Callable[..., NDArray[uint8]] | None:
    try:
        from simplejpeg import decode_jpeg
    except ImportError:
        return None
    return decode_jpeg


def in_channels(image: Image, channels: int) -> Image:
    """Return an image of any mode as grey or RGB, 8 bits per channel.

    Raises ValueError if values exceed the range of their mode: 0 .. 1 for floats, 16 bits for
    integers.
    """
    image = _upright(image)
    if image.mode in WHITE or image.mode.startswith("I;16"):
        image = _eight_bits(image)
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB, Pillow warns
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def upright_size(image: Image) -> Size:
    """Return the width and height that an image has when it is turned as its EXIF says."""
    return image.size[::-1] if _orientation(image) >= 5 else image.size


def _orientation(image: Image) -> int:
    """Return the orientation in the EXIF if it is a known one, else 1 for upright."""
    from PIL.ExifTags import Base

    try:
        orientation = image.getexif().get(Base.Orientation)
    except Exception:  # noqa: BLE001  whatever Pillow raises, a damaged note is no damaged picture
        return 1
    return orientation if orientation in TURNS else 1


def _upright(image: Image) -> Image:
    """Turn an image as its EXIF says; Pillow does that for TIFF alone."""
    from PIL.Image import Transpose

    image.load()
    turn = TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(Transpose[turn])


def is_grey(image: Image) -> bool:
    """Return whether the image's mode has no colour."""
    return image.mode in GREY or image.mode.startswith("I;16")


def _eight_bits(image: Image) -> Image:
    """Scale values from 0 to the mode's white to 0 .. 255, rounded."""
    import numpy
    from PIL import Image as pillow

    values = numpy.asarray(image).astype(numpy.float64)
    white = WHITE.get(image.mode, WHITE["I"])
    low, high = float(values.min()), float(values.max())
    slack = SLACK if image.mode == "F" else 0
    if not (-slack <= low and high <= white + slack):  # a NaN is in no range
        raise ValueError(
            f"mode {image.mode}, values from {low:.6g} to {high:.6g}; scale them to 0..{white:g}"
        )
    scaled = (values * (255 / white)).clip(0, 255).round().astype(numpy.uint8)
    return pillow.fromarray(scaled)


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # its text only repeats the path
        return "none of the formats BMP, GIF, JPEG, PNG, PPM, TIFF, WebP"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


class Unreadable(ValueError):
    """A file that is not an image, or a broken one; it can be sent between processes."""

    def __init__(self, file: ImageFile, reason: str) -> None:
        super().__init__(file, reason)
        self.file, self.reason = file, reason

    def __str__(self) -> str:
        return f"dataset.root: cannot read the image {self.described}: remove or replace it"

    @property
    def described(self) -> str:
        """The file and the reason, on one line."""
        return f"{shown(self.file)} ({shown(self.reason)})"


class Broken(ValueError):
    """All unreadable files among those that were checked; the first ones are named."""

    def __init__(self, files: Sequence[Unreadable], looked_at: int) -> None:
        super().__init__(files, looked_at)
        self.files, self.looked_at = tuple(files), looked_at

    def __str__(self) -> str:
        if len(self.files) == 1:
            return str(self.files[0])
        named = some([each.described for each in self.files], NAMED)
        return (
            f"dataset.root: cannot read {len(self.files)} of {self.looked_at} images, remove or "
            f"replace them: {named}"
        )


def square(image: Image, size: int, kept: float = 1.0) -> Tensor:
    """Return (C, size, size) uint8: scale the shorter side and crop the centre, in one step.

    kept: the crop's side as a fraction of the shorter side.
    """
    import numpy
    from PIL.Image import Resampling

    side = min(image.size) * kept
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    pixels = numpy.array(image.resize((size, size), Resampling.BILINEAR, box=box))
    return torch.from_numpy(pixels).view(size, size, -1).permute(2, 0, 1)
