"""The generator: AdversarialNAS's cells on growing maps, plus projections of a latent vector."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.genotype import Genotype
from nasrun.spaces.gan_operation import PreActivation, chosen_in, summed

UPSAMPLINGS = ("nearest", "bilinear", "conv_transpose")
LINEARS = tuple(
    f"{part}_{width}" for part in ("whole", "own") for width in ("bottom", "half", "full")
)
DROPOUTS = ("0", "0.1", "0.2")
SKIP_MODES = ("nearest", "bilinear", "nearest")
"""Interpolation with which each cell resizes the skips of earlier cells: fixed (released code)."""
CELL = ("up0", "up1", "c0", "c1", "c2", "c3", "c4")
CELL_EDGES = ("x n0", "x n1", "n0 n2", "n1 n2", "n0 n3", "n1 n3", "n2 n3")


class Generator(nn.ModuleDict):
    """Cells on growing maps; each reads the previous one and a projection of the latent vector."""

    def __init__(
        self,
        genotype: Genotype,
        images: int,
        *,
        num_cells: int,
        channels: int,
        bottom: int,
        latent: int,
        projections: int,
    ) -> None:
        super().__init__()
        self.parts, self.num_cells = projections, num_cells
        for cell in range(1, num_cells + 1):
            if cell <= projections:
                self[f"projection{cell}"] = Projection(
                    chosen_in(genotype, f"generator/projection{cell}"),
                    channels=channels,
                    bottom=bottom,
                    target=bottom * 2 ** (cell - 1),
                    latent=latent,
                    parts=projections,
                )
            chosen = chosen_in(genotype, f"generator/cell{cell}")
            self[f"cell{cell}"] = GeneratorCell(channels, cell, chosen)
        self["head"] = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, images, 3, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:  # (B, latent) -> (B, C, H, W)
        own = z.chunk(self.parts, dim=1)
        x, skips = self["projection1"](z, own[0]), list[Tensor]()
        for cell in range(1, self.num_cells + 1):
            if 1 < cell <= self.parts:
                projected = self[f"projection{cell}"](z, own[cell - 1])
                x = x if projected is None else x + projected
            x, skip = self[f"cell{cell}"](x, skips)
            skips.append(skip)
        return self["head"](x).tanh()


class Projection(nn.Module):
    """Maps the latent vector, or a cell's own part of it, linearly to a feature map."""

    def __init__(
        self,
        chosen: Mapping[str, str],
        *,
        channels: int,
        bottom: int,
        target: int,
        latent: int,
        parts: int,
    ) -> None:
        super().__init__()
        part, width = chosen.get("linear", "own_full").split("_")
        self.whole = part == "whole"
        self.side = {"bottom": bottom, "half": target // 2, "full": target}[width]
        self.target, self.channels = target, channels
        self.enabled = chosen.get("enabled", "on") == "on"
        self.mode = chosen.get("resize", "nearest")
        self.dropout = float(chosen.get("dropout", "0"))
        seen = latent if self.whole else latent // parts
        self.linear = nn.Linear(seen, channels * self.side**2)

    def forward(self, z: Tensor, own: Tensor) -> Tensor | None:
        if not self.enabled:
            return None
        x = self.linear(z if self.whole else own).view(-1, self.channels, self.side, self.side)
        if self.side != self.target:
            x = F.interpolate(x, size=self.target, mode=self.mode)
        return F.dropout(x, self.dropout, self.training)


class GeneratorCell(nn.ModuleDict):
    """Two upsamplings and five operations between four nodes; no norm inside.

    If no operation enters a node, the sum of the nodes before it takes its place.
    """

    def __init__(self, channels: int, cell: int, chosen: Mapping[str, str]) -> None:
        super().__init__()
        for key in CELL:
            if key.startswith("up"):
                self[key] = _upsampling(chosen[key], channels)
            else:
                self[key] = PreActivation(chosen[key], channels, channels)
        self["skips"] = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(cell - 1))
        self.mode = SKIP_MODES[cell - 1]

    def forward(self, x: Tensor, skips: list[Tensor]) -> tuple[Tensor, Tensor]:
        n0, n1 = self["up0"](x), self["up1"](x)
        own = summed(self["c0"](n0), self["c1"](n1))
        skip = n0 + n1 if own is None else own
        n2 = skip
        for position, earlier in enumerate(skips):
            resized = F.interpolate(earlier, size=n2.shape[-2:], mode=self.mode)
            n2 = n2 + self["skips"][position](resized)  # type: ignore[index]
        n3 = summed(self["c2"](n0), self["c3"](n1), self["c4"](n2))
        return n2 if n3 is None else n3, skip


class ConvTranspose(nn.Module):
    """ReLU, a depthwise 3x3 transposed convolution of stride 2, a pointwise one; no bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.ConvTranspose2d(
            channels, channels, 3, 2, padding=1, output_padding=1, groups=channels, bias=False
        )
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(torch.relu(x)))


class Resize(nn.Module):
    """Interpolation to twice the size, ReLU, a pointwise convolution."""

    def __init__(self, channels: int, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(torch.relu(F.interpolate(x, scale_factor=2, mode=self.mode)))


def _upsampling(name: str, channels: int) -> nn.Module:
    return ConvTranspose(channels) if name == "conv_transpose" else Resize(channels, name)
