"""A trained network with its preprocessing: what a user takes away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.genotype import Genotype
from nasrun.run import StageFolder
from nasrun.spaces.base import Layout, SearchSpace


class Predictor(nn.Module):
    """Images to logits: resizes, normalises, and runs the trained network.

    Takes (B, C, H, W) images, uint8 in 0..255 or floats in 0..1, of any size, and returns
    (B, classes) logits. `classes` names the outputs, `result` is the stage's `result.json`.
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
        self.register_buffer("mean", torch.tensor(data["mean"]).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(data["std"]).view(-1, 1, 1))

    @classmethod
    def restore(
        cls, folder: StageFolder, space: SearchSpace, genotype: Genotype, layout: Layout
    ) -> Predictor:
        """The network that a retraining or transfer left in its folder."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        result = folder.result
        network = space.network(
            genotype,
            inputs=result["data"]["channels"],
            outputs=len(result["data"]["classes"]),
            layout=layout,
        )
        path = folder.path / "weights.safetensors"
        try:
            network.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path}: not this network's weights ({reason})") from error
        return cls(network, genotype, result).eval()

    def forward(self, images: Tensor) -> Tensor:
        x = images.float() / 255 if images.dtype == torch.uint8 else images
        if x.shape[1] != self.channels:
            raise ValueError(
                f"images have {x.shape[1]} channels, the network takes {self.channels}"
            )
        if x.shape[2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        logits: Tensor = self.network((x - self.mean) / self.std)[0]
        return logits

    def export(self, path: Path) -> float:
        """Write ONNX with a dynamic batch; returns the largest difference of its outputs to ours.

        The file takes float images in 0..1 of the trained size. ValueError without the extra.
        """
        try:
            import onnxruntime
            import onnxscript  # noqa: F401  torch's exporter needs it
        except ImportError as error:
            raise ValueError(
                "format=onnx: needs the extra, type `pip install 'nasrun[onnx]'`"
            ) from error
        generator = torch.Generator().manual_seed(0)
        shape = (3, self.channels, self.size, self.size)
        images = torch.rand(shape, generator=generator)
        torch.onnx.export(
            self,
            (images,),
            path,
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        other = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        with torch.no_grad():
            return float((self(images) - other).abs().max())
