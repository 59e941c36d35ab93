"""Random resized crops of image files (Inception, 1409.4842): none is decoded finer than it needs.

The crop is drawn before its file is opened. The header gives the picture's size, so the crop's size
in pixels is known before decoding, and a JPEG is decoded at 1/2, 1/4 or 1/8 of its size (by its
inverse cosine transform, as libjpeg does) as long as the crop still has as many pixels as the
output. As in torchvision, a crop has whole pixels and is scaled bilinearly, with antialiasing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nasrun.data.decode import ImageFile, Rectangle, Size, load_box

SCALES = (8, 4, 2)
"""How many times smaller than stored a JPEG can be decoded."""


class Crop(NamedTuple):
    """A crop of a picture of any size.

    height, width: relative to the side of the square of the picture's area; a side that exceeds the
    picture is shortened. row, column: fractions of the remaining room. mirrored: 1 if left and
    right change places, else 0.
    """

    height: float
    width: float
    row: float
    column: float
    mirrored: float

    def box(self, size: Size) -> Rectangle:
        """Return left, top, right and bottom in a picture of this width and height, in pixels."""
        side = (size[0] * size[1]) ** 0.5  # RandomResizedCrop's ratio is in pixels
        width, height = (
            min(max(round(length * side), 1), most)
            for length, most in zip((self.width, self.height), size, strict=True)
        )
        left, top = round(self.column * (size[0] - width)), round(self.row * (size[1] - height))
        return left, top, left + width, top + height


def load_crop(file: ImageFile, crop: Crop, size: int) -> Tensor:
    """Return the crop of an image file as (3, size, size) uint8; Unreadable if it is broken."""
    pixels = load_box(file, crop.box, lambda whole: _scale(crop.box(whole), size))
    picture = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)
    scaled = F.interpolate(picture, (size, size), mode="bilinear", antialias=True)[0]
    return scaled.flip(2) if crop.mirrored else scaled


def _scale(box: Rectangle, size: int) -> int:
    """Return how many times smaller a picture can be whose box has `size` pixels per side left."""
    left, top, right, bottom = box
    spare = min(right - left, bottom - top) // size
    return next((scale for scale in SCALES if scale <= spare), 1)
