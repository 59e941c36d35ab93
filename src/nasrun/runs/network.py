"""A trained network with its preprocessing, for use outside of nasrun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasrun.files import digest_of, write_whole
from nasrun.genotype import Genotype
from nasrun.runs.formats import Format
from nasrun.runs.preprocessing import Images, Preprocessing
from nasrun.runs.stage_folder import WEIGHTS, StageFolder
from nasrun.spaces.base import ClassifierSpace
from nasrun.spaces.layout import Layout

TOLERATED = 1e-3
"""The largest difference of outputs that an exported network may have."""


class TrainedNetwork(nn.Module):
    """Maps images to logits: crops, scales and normalises as in the test, and runs the network.

    It takes one image or several, of any size: a tensor (B, C, H, W) or (C, H, W), an array (B, H,
    W, C) or (H, W, C), each of uint8 in 0..255 or of floats in 0..1, a PIL image, or a list of
    these; it returns (B, classes) logits. `classes` names the outputs, `result` is the stage's
    `result.json`; `kept` is the side of the central square that is used, as a fraction of the
    shorter side.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, genotype: Genotype, result: dict[str, Any]) -> None:
        super().__init__()
        data = result["data"]
        self.network = network
        self.genotype = genotype
        self.result = result
        self.classes: tuple[str, ...] = tuple(data["classes"])
        self.channels: int = data["channels"]
        self.size: int = data["size"]
        self.kept: float = data.get("kept", 1.0)  # missing in older results
        self.register_buffer("mean", torch.tensor(data["mean"]).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(data["std"]).view(-1, 1, 1))

    @classmethod
    def restore(
        cls, folder: StageFolder, space: ClassifierSpace, genotype: Genotype, layout: Layout | None
    ) -> TrainedNetwork:
        """Return the network that a stage saved in its folder; `None` is the search's layout."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        result = folder.result
        network = space.network(
            genotype,
            inputs=result["data"]["channels"],
            outputs=len(result["data"]["classes"]),
            layout=layout,
        )
        path = folder.path / WEIGHTS
        written = result.get("digests", {}).get(WEIGHTS)
        if written is not None and path.is_file() and digest_of(path) != written:
            raise ValueError(
                f"{path}: damaged, it is not what was written; delete {folder.path} and type "
                f"`nasrun {folder.kind}` to write it again"
            )
        try:
            network.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path}: not this network's weights ({reason})") from error
        return cls(network, genotype, result).eval()

    @property
    def preprocessing(self) -> Preprocessing:
        """The part of an image that the network sees."""
        return Preprocessing(self.channels, self.size, self.kept)

    def forward(self, images: Images) -> Tensor:
        return self.logits(self.preprocessing.read(images, like=self.mean))

    def logits(self, seen: Tensor) -> Tensor:
        """Return the logits of (B, C, size, size) floats in 0..1."""
        logits: Tensor = self.network((seen - self.mean) / self.std)[0]
        return logits

    def export(self, path: Path, form: Format) -> float:
        """Write a file with a dynamic batch size, and return the largest difference of outputs.

        The file takes square float images in 0..1, of the side that keeps the trained size after
        the crop; its metadata has the classes and the preprocessing, which the graph contains.
        Raises ValueError if the format lacks its extra, for a network whose outputs are random, and
        if outputs differ; then the file is not written.
        """
        if "noise" in self.genotype.values():
            raise ValueError(
                f"{path}: the network has noise operations, so its outputs are random; export "
                "another one"
            )
        generator = torch.Generator().manual_seed(0)
        side = round(self.size / self.kept)
        images = torch.rand((3, self.channels, side, side), generator=generator)
        content, computed = form(_OfTensors(self).eval(), images, self._metadata(side))
        with torch.no_grad():
            difference = float((self(images) - computed(images)).abs().max())
        if not difference <= TOLERATED:
            raise ValueError(
                f"{path}: outputs of the exported network differ by {difference:.2g}; it is not "
                "written, use the trained weights instead"
            )
        write_whole(path, lambda file: file.write(content))
        return difference

    def _metadata(self, side: int) -> dict[str, str]:
        """Return texts that describe how to use the exported file."""
        facts = {
            "classes": list(self.classes),
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
            "size": self.size,
            "crop": self.kept,
            "channels": "grey" if self.channels == 1 else "RGB",
            "input": f"(batch, {self.channels}, {side}, {side}) floats in 0..1; the central crop, "
            "scaling and normalisation are in the graph",
        }
        return {key: x if isinstance(x, str) else json.dumps(x) for key, x in facts.items()}


class _OfTensors(nn.Module):
    """The trained network on whole float (B, C, H, W) images, without checks of their values."""

    def __init__(self, trained: TrainedNetwork) -> None:
        super().__init__()
        self.trained = trained

    def forward(self, images: Tensor) -> Tensor:
        return self.trained.logits(self.trained.preprocessing.square(images))
