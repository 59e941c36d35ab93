"""Augmentation of whole batches, on the device of the images.

Padded crop, flip and colour jitter as in DARTS (1806.09055), cutout by DeVries and Taylor
(1708.04552). Lengths are fractions of the image side, so that one recipe fits every set.

Knowingly different from torchvision's per-image code: the colours change by one matrix per image
(`colour.py`), and a resized crop that exceeds the image is made narrower instead of being drawn
again.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from nasrun.data.colour import jitter
from nasrun.data.policies import ImagePolicy
from nasrun.machine import sent
from nasrun.world import ALONE, Slice

if TYPE_CHECKING:
    from nasrun.data.facts import Facts

RATIO = (3 / 4, 4 / 3)  # width / height of a resized crop: Inception (1409.4842)
TOGETHER = 4  # pixels in a row of the product with colour matrices; three numbers alone are slow


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes of training images, with lengths as fractions of the image side.

    padding: zeros around the image before a crop of the original size; 0.125 is 4 of 32 pixels.
    flip: mirror images with probability 1/2, in sets where a mirrored image keeps its label.
    cutout: side of the erased square, whose centre is anywhere in the image; 0.5 is 16 of 32.
    resized_crop: range of the area of a crop that is scaled to the full size; it replaces the
        padded crop.
    jitter: strength of the change of brightness, contrast and saturation; half of it for hue.
    policy: changes each image after its crop, if there is one.
    """

    padding: float = 0.125
    flip: bool = True
    cutout: float = 0.0
    resized_crop: tuple[float, float] | None = None
    jitter: float = 0.0
    policy: ImagePolicy | None = None

    def __post_init__(self) -> None:
        for key in ("padding", "cutout", "jitter"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"augment.{key}={getattr(self, key)}: use a fraction from 0 to 1")
        if self.resized_crop is not None:
            area = tuple(self.resized_crop)
            if len(area) != 2 or not 0 < area[0] <= area[1] <= 1:
                raise ValueError(
                    f"augment.resized_crop={list(area)}: use two fractions of the image's "
                    "area, the smaller one first, for example [0.08, 1.0]"
                )
            object.__setattr__(self, "resized_crop", area)  # a YAML list arrives as a list

    def __call__(
        self,
        images: Tensor,
        facts: "Facts",
        part: Slice | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Change every image by its own random numbers, then normalise.

        images: (B, C, H, W) uint8. Returns float32 of the same shape, channels_last.
        part: the slice of a batch that the images are; the numbers of the others are drawn, too.

        All random numbers come from the generator, or from torch's global one, on the CPU, so they
        are the same on any device.
        """
        part = ALONE.slice(len(images)) if part is None else part
        draws = torch.rand(part.whole, 11, generator=generator)
        draws = sent(draws[part.range], images.device)
        mirror, row, column, area, ratio, hole_row, hole_column, *colours = draws.unbind(1)
        flip = self.flip and facts.flip
        mirrored = mirror < (0.5 if flip else 0.0)
        if self.resized_crop is not None:
            sides = crop_sides(area, ratio, self.resized_crop)
            images = _resized(images, *sides, row, column, mirrored)
        else:
            if flip:
                images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
            images = _shifted(images, round(self.padding * facts.size), row, column)
        if self.policy is not None:
            seeds = torch.randint(2**62, (part.whole,), generator=generator)[part.range].tolist()
            whole = images.round().to(torch.uint8) if images.is_floating_point() else images
            images = torch.stack([self.policy(*each) for each in zip(whole, seeds, strict=True)])
        if self.jitter > 0:
            images = _coloured(images, facts, self.jitter, *colours)
        else:
            images = normalise(images, facts)
        if self.cutout > 0:
            side = round(self.cutout * facts.size)
            images.masked_fill_(_hole(images, side, hole_row, hole_column), 0.0)
        return images


def normalise(images: Tensor, facts: "Facts") -> Tensor:
    """Return (pixel / 255 - mean) / std per channel.

    images: (B, C, H, W), pixels 0 to 255. Returns float32 of the same shape, channels_last.
    """
    count, channels, height, width = images.shape
    mean, std = (numbers.repeat(width) for numbers in _per_channel(facts, images.device))
    # row by row (B, H, W * C): broadcasting over three channels alone is ten times slower
    rows = images.permute(0, 2, 3, 1).flatten(2).to(torch.float32, copy=True)
    rows.sub_(255 * mean).div_(255 * std)
    return rows.view(count, height, width, channels).permute(0, 3, 1, 2)


def _per_channel(facts: "Facts", device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and deviation (C,) on the device."""
    mean, std = (torch.tensor(numbers) for numbers in (facts.mean, facts.std))
    return sent(mean, device), sent(std, device)


def crop_sides(area: Tensor, ratio: Tensor, areas: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Return height and width of crops with random area and ratio, relative to a unit square.

    A side may be larger than 1; the caller has to clamp it.

    area, ratio: (B,) uniform numbers in [0, 1); the logarithm of the ratio is uniform.
    """
    area = areas[0] + (areas[1] - areas[0]) * area
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    ratio = torch.exp(low + (high - low) * ratio)
    return (area / ratio).sqrt(), (area * ratio).sqrt()


def _shifted(images: Tensor, padding: int, row: Tensor, column: Tensor) -> Tensor:
    """Return crops of the original size from the zero-padded images."""
    if padding == 0:
        return images
    height, width = images.shape[2:]
    # every crop is a view of the padded image; indexing copies one of them for each image
    crops = F.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    batch = torch.arange(len(images), device=images.device)
    return crops[batch, :, _below(2 * padding + 1, row), _below(2 * padding + 1, column)]


def _resized(
    images: Tensor, height: Tensor, width: Tensor, row: Tensor, column: Tensor, mirrored: Tensor
) -> Tensor:
    """Return crops of the given sides (fractions), scaled bilinearly to the full image."""
    height, width = height.clamp(max=1), width.clamp(max=1)
    # affine_grid's image reaches from -1 to 1, so a crop of width w has its centre in +-(1 - w)
    centre_x, centre_y = (2 * column - 1) * (1 - width), (2 * row - 1) * (1 - height)
    zero = torch.zeros_like(width)
    x = torch.stack((torch.where(mirrored, -width, width), zero, centre_x), dim=1)
    y = torch.stack((zero, height, centre_y), dim=1)
    grid = F.affine_grid(torch.stack((x, y), dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(
        images.to(torch.float32), grid, "bilinear", padding_mode="border", align_corners=False
    )


def _coloured(images: Tensor, facts: "Facts", strength: float, *draws: Tensor) -> Tensor:
    """Return normalised images, channels_last, after a random change of their colours."""
    count, channels, height, width = images.shape
    mean, std = _per_channel(facts, images.device)
    rows = images.permute(0, 2, 3, 1).flatten(2).to(torch.float32)  # (B, H, W * C), 0 to 255
    means = rows.mean(dim=1).view(count, width, channels).mean(dim=1)
    matrix, offset = jitter(means, strength, *draws)
    # normalised in the same product: (M pixel + t) / (255 std) - mean / std
    matrix, offset = matrix / (255 * std).unsqueeze(1), offset / (255 * std) - mean / std
    few = math.gcd(height * width, TOGETHER)
    apart = sent(torch.eye(few), images.device)
    blocks = torch.einsum("pq,bij->bqjpi", apart, matrix).reshape(count, few * channels, -1)
    pixels = rows.view(count, -1, few * channels)
    changed = torch.baddbmm(offset.repeat(1, few).unsqueeze(1), pixels, blocks).view_as(rows)
    changed.clamp_((-mean / std).repeat(width), ((1 - mean) / std).repeat(width))
    return changed.view(count, height, width, channels).permute(0, 3, 1, 2)


def _hole(images: Tensor, side: int, row: Tensor, column: Tensor) -> Tensor:
    """Return (B, 1, H, W) bool: a square around a random pixel, clipped at the image's borders."""
    height, width = images.shape[2:]
    from_top = torch.arange(height, device=images.device) - _below(height, row).view(-1, 1, 1)
    from_left = torch.arange(width, device=images.device) - _below(width, column).view(-1, 1, 1)
    start, end = -(side // 2), side - side // 2
    rows = (from_top >= start) & (from_top < end)  # (B, 1, H)
    columns = (from_left >= start) & (from_left < end)  # (B, 1, W)
    return rows.unsqueeze(3) & columns.unsqueeze(2)


def _below(end: int, draw: Tensor) -> Tensor:
    """Return uniform integers 0 .. `end` - 1 from uniform numbers in [0, 1)."""
    return (draw * end).long().clamp_(max=end - 1)  # a draw next to 1 may round up to `end`
