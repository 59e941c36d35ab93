"""A trained network with its preprocessing: what a user takes away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasrun.genotype import Genotype
from nasrun.runs.run import StageFolder
from nasrun.spaces.base import Layout, SearchSpace


class Predictor(nn.Module):
    """Images to logits: crops, scales and normalises as the test did, and runs the network.

    Takes (B, C, H, W) images, uint8 in 0..255 or floats in 0..1, whole and of any size, and returns
    (B, classes) logits. `classes` names the outputs, `result` is the stage's `result.json`; `kept`
    is the side of the central square that is seen, as a fraction of the shorter side.
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
        self.kept: float = data.get("kept", 1.0)  # older results have none
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
        if self.kept < 1 or x.shape[2:] != (self.size, self.size):
            x = central_square(x, self.size, self.kept)
        logits: Tensor = self.network((x - self.mean) / self.std)[0]
        return logits

    def export(self, path: Path) -> float:
        """Write ONNX with a dynamic batch; returns the largest difference of its outputs to ours.

        The file takes square float images in 0..1, of the side that keeps the trained size after
        the crop. ValueError without the extra.
        """
        try:
            import onnxruntime
            import onnxscript  # noqa: F401  torch's exporter needs it
        except ImportError as error:
            raise ValueError(
                "format=onnx: needs the extra, type `pip install 'nasrun[onnx]'`"
            ) from error
        generator = torch.Generator().manual_seed(0)
        side = round(self.size / self.kept)
        images = torch.rand((3, self.channels, side, side), generator=generator)
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


def central_square(images: Tensor, size: int, kept: float) -> Tensor:
    """The square of `kept` of the shorter side amid float (B, C, H, W) images, at `size` pixels.

    Bilinear and antialiased as `data.folder.square`, without rounding; returns (B, C, size, size).
    """
    height, width = images.shape[2:]
    side = min(height, width) * kept
    rows, columns = (_weights(length, side, size).to(images) for length in (height, width))
    return rows @ images @ columns.T


def _weights(length: int, side: float, size: int) -> Tensor:
    """What every pixel gives to those of the scaled square: (size, length), rows sum to 1."""
    scale = side / size
    centres = (length - side) / 2 + (torch.arange(size) + 0.5) * scale
    distances = torch.arange(length) + 0.5 - centres.unsqueeze(1)
    weights = (1 - distances.abs() / max(scale, 1.0)).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)
