"""Pixels as bytes: whether a machine holds them, their mean and deviation, and another size."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from nasrun.machine import installed_bytes

RESIZED_AT_ONCE = 256  # images held as floats at the same time
COPIES = 3  # of all pixels at the peak: stored, divided, and concatenated


def refuse_too_large(images: int, channels: int, size: int) -> None:
    """Raise ValueError if the machine's memory cannot hold this many square images."""
    needed = COPIES * images * channels * size**2
    there = installed_bytes()
    if needed > there:
        most = math.isqrt(there // (COPIES * images * channels))
        raise ValueError(
            f"dataset.size={size}: {images} images of {size} x {size} pixels take "
            f"{needed / 2**30:,.0f} GiB, and the machine has {there / 2**30:.0f}; use {most} or "
            "less"
        )


def measured(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the exact mean and standard deviation of each channel, with pixels in 0 .. 1.

    images: (N, C, H, W) uint8. A constant channel gets the deviation 1, as 0 cannot be divided by.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in images.unbind(1):
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean.append(float(share @ values))
        variance = float(share @ (values - mean[-1]) ** 2)
        std.append(math.sqrt(variance) if variance > 1e-12 else 1.0)
    return tuple(mean), tuple(std)


def resized(images: Tensor, size: int | None) -> Tensor:
    """Square uint8 images (N, C, H, H), bilinearly resized to `size` pixels unless it is `None`."""
    if size is None or size == images.shape[-1]:
        return images
    return torch.cat([_resized(some, size) for some in images.split(RESIZED_AT_ONCE)])


def _resized(images: Tensor, size: int) -> Tensor:
    scaled = F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    return scaled.round_().clamp_(0, 255).to(torch.uint8)
