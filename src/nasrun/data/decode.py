"""Image files, opened and decoded: pictures of any mode become grey or RGB, 8 bits per channel.

Of an animation the first frame counts, of several pages the first one. Transparency is left away:
the colours that are stored count.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nasrun.shown import shown, some

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = {
    *(".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
}
FORMATS = ("BMP", "DIB", "GIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""What a file may hold, whatever its name ends in: no format that another program decodes."""
GREY = {"1", "L", "LA", "La", "I", "F"}  # and the 16-bit modes, "I;16..."
WHITE = {"F": 1.0, "I": 65535.0}
"""The brightest value of the modes that do not say it themselves; Pillow reads 16 bits as `I`."""
SLACK = 1e-3  # by so much floats may leave the range, as they do after they are resampled
NAMED = 20  # so many broken files are named at once


def open_image(path: Path) -> Image:
    """The image at `path`, its header read; Unreadable if it is none."""
    from PIL import Image

    Image.init()
    try:
        return Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])
    except Exception as error:  # Pillow raises many types on damaged files
        raise Unreadable(path, _reason(error)) from error


def load_image(path: Path, channels: int) -> Image:
    """The decoded image at `path`, grey or RGB whatever its mode; Unreadable if it is broken."""
    with open_image(path) as image:
        try:
            return in_channels(image, channels)
        except Exception as error:  # as above
            raise Unreadable(path, _reason(error)) from error


def in_channels(image: Image, channels: int) -> Image:
    """The image in grey or in RGB, 8 bits per channel, whatever its mode.

    ValueError where numbers leave the range of their mode: floats 0 .. 1, whole numbers 16 bits.
    """
    if image.mode in WHITE or image.mode.startswith("I;16"):
        image = _eight_bits(image)
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB, Pillow warns
    return image.convert("L" if channels == 1 else "RGB")


def is_grey(image: Image) -> bool:
    """Whether the image's mode has no colour."""
    return image.mode in GREY or image.mode.startswith("I;16")


def _eight_bits(image: Image) -> Image:
    """Numbers from 0 to the mode's white as 0 .. 255, rounded."""
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

    if isinstance(error, UnidentifiedImageError):  # its text is the path again
        return "none of the formats BMP, GIF, JPEG, PNG, PPM, TIFF, WebP"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


class Unreadable(ValueError):
    """A file that is no image, or a broken one; it can travel between processes."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"dataset.root: cannot read the image {self.described}: remove or replace it"

    @property
    def described(self) -> str:
        """The file and the reason, in one line."""
        return f"{shown(self.path)} ({shown(self.reason)})"


class Broken(ValueError):
    """All files among those looked at that cannot be read; the first of them are named."""

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
    """(C, size, size) uint8: the shorter side scaled, then a centre crop, in one step.

    kept: the crop's side as a fraction of the shorter side.
    """
    side = min(image.size) * kept
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return scaled(image, (left, top, left + side, top + side), size)


def scaled(image: Image, box: tuple[float, float, float, float], size: int) -> Tensor:
    """(C, size, size) uint8: the box (left, top, right, bottom; pixels), bilinear, antialiased."""
    import numpy
    from PIL.Image import Resampling

    pixels = numpy.array(image.resize((size, size), Resampling.BILINEAR, box=box))
    return torch.from_numpy(pixels).view(size, size, -1).permute(2, 0, 1)
