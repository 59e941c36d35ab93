"""Converts arrays, tensors, PIL images and lists of them to the input of a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy
import torch
from torch import Tensor

from nasrun.data.decode import in_channels, square

if TYPE_CHECKING:
    from PIL.Image import Image

Images: TypeAlias = "Tensor | numpy.ndarray[Any, Any] | Image | Sequence[Images]"
SLACK = 1e-3
"""Floats may exceed 0..1 by this much, as they do after resampling."""


@dataclass(frozen=True)
class Preprocessing:
    """The central square of an image, `kept` of its shorter side, scaled to `size` pixels."""

    channels: int
    size: int
    kept: float

    def read(self, images: Images, like: Tensor) -> Tensor:
        """Return (B, C, size, size) floats in 0..1, of the type and on the device of `like`.

        A tensor is (B, C, H, W) or (C, H, W), an array (B, H, W, C) or (H, W, C), both uint8 or
        floats in 0..1; grey images may be (H, W). A PIL image is processed exactly as the test
        processes its file. ValueError for anything else.
        """
        parts = self._parts(images, like)
        if not sum(len(part) for part in parts):
            raise ValueError("images: an empty batch; give one image or more")
        return torch.cat(parts)

    def square(self, images: Tensor) -> Tensor:
        """Return the central square of float (B, C, H, W) images of any size."""
        if self.kept == 1 and images.shape[2:] == (self.size, self.size):
            return images
        return central_square(images, self.size, self.kept)

    def _parts(self, images: Images, like: Tensor) -> list[Tensor]:
        """Return the converted images, or batches of images of one size."""
        from PIL.Image import Image

        if isinstance(images, Image):
            pixels = square(in_channels(images, self.channels), self.size, self.kept)
            return [_floats(pixels[None].to(like.device), like)]
        if isinstance(images, Tensor):
            return [self.square(_floats(self._batch(images).to(like.device), like))]
        if isinstance(images, numpy.ndarray):
            return self._parts(self._channels_first(images), like)
        if isinstance(images, Sequence) and not isinstance(images, str | bytes):
            return [part for image in images for part in self._parts(image, like)]
        raise ValueError(f"images: {type(images).__name__} is not read; use {self._forms}")

    def _batch(self, images: Tensor) -> Tensor:
        """Return one image or several as (B, C, H, W)."""
        batch = images
        if images.dim() == 2 and self.channels == 1:
            batch = images[None, None]
        elif images.dim() == 3:
            batch = images[None]
        if batch.dim() != 4:
            raise ValueError(f"images: shape {tuple(images.shape)} is not read; use {self._forms}")
        if batch.shape[1] != self.channels:
            raise ValueError(
                f"images have {batch.shape[1]} channels, the network takes {self.channels}: shape "
                f"{tuple(images.shape)} is not read; use {self._forms}"
            )
        if not batch.shape[2] or not batch.shape[3]:
            raise ValueError(f"images: shape {tuple(images.shape)} has no pixels")
        return batch

    def _channels_first(self, images: numpy.ndarray[Any, Any]) -> Tensor:
        if images.ndim > 2 and images.shape[-1] != self.channels:
            raise ValueError(
                f"images: an array of shape {images.shape} is not read, its channels come last; "
                f"use {self._forms}"
            )
        if images.dtype != numpy.uint8 and images.dtype.kind != "f":
            raise ValueError(f"images: {images.dtype} is not read; use {self._forms}")
        if not images.dtype.isnative or images.dtype.itemsize > 8:  # which torch does not take
            images = images.astype(numpy.float64)
        tensor = torch.from_numpy(numpy.ascontiguousarray(images))
        return tensor.movedim(-1, -3) if images.ndim > 2 else tensor

    @property
    def _forms(self) -> str:
        """Accepted inputs, for messages."""
        c = self.channels
        return (
            f"a tensor (B, {c}, H, W) or ({c}, H, W), an array (B, H, W, {c}) or (H, W, {c}), each "
            "of uint8 or of floats in 0..1, a PIL image, or a list of these"
        )


def _floats(images: Tensor, like: Tensor) -> Tensor:
    """Return images in 0..1; ValueError for other ranges and types."""
    if images.dtype == torch.uint8:
        return images.to(like.dtype) / 255
    if not images.is_floating_point():
        raise ValueError(f"images: {images.dtype} is not read; use uint8, or floats in 0..1")
    if images.numel():
        low, high = (float(bound) for bound in images.detach().aminmax())
        if not (low >= -SLACK and high <= 1 + SLACK):
            raise ValueError(
                f"images: floats from {low:.4g} to {high:.4g} are not read; use floats in 0..1, or "
                "uint8 for 0..255 (the network scales and normalises them itself)"
            )
    return images.to(like.dtype)


def central_square(images: Tensor, size: int, kept: float) -> Tensor:
    """Return the central square of float (B, C, H, W) images, scaled to `size` pixels.

    Its side is `kept` of the shorter side. Bilinear and antialiased as `data.decode.square`,
    without rounding; returns (B, C, size, size).
    """
    height, width = images.shape[2:]
    side = min(height, width) * kept
    rows, columns = (_weights(length, side, size).to(images) for length in (height, width))
    return rows @ images @ columns.T


def _weights(length: int, side: float, size: int) -> Tensor:
    """Return the weights of all pixels in the scaled square: (size, length), rows sum to 1."""
    scale = side / size
    centres = (length - side) / 2 + (torch.arange(size) + 0.5) * scale
    distances = torch.arange(length) + 0.5 - centres.unsqueeze(1)
    weights = (1 - distances.abs() / max(scale, 1.0)).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)
