"""The layers that DrQ-v2's encoder, actor and critic choose among, and stacks of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Stack(nn.ModuleDict):
    """Four layers, each followed by its activation."""

    def __init__(self, first: nn.Module, layers: list[nn.Module], activations: list[str]) -> None:
        super().__init__()
        self.activations = activations
        for place, layer in enumerate([first, *layers]):
            self[f"layer{place}"] = layer

    def forward(self, x: Tensor) -> Tensor:
        for layer, activation in zip(self.values(), self.activations, strict=True):
            x = activate(activation, layer(x))
        return x


class DenseLayer(nn.Module):
    """The identity, a linear layer, or a residual block: LayerNorm, linear, ReLU, linear.

    `residual_05` has half as many hidden units, `residual_2` twice as many.
    """

    def __init__(self, name: str, width: int) -> None:
        super().__init__()
        self.name = name
        if name == "linear":
            self.inner: nn.Module = nn.Linear(width, width)
        elif name.startswith("residual"):
            within = {"residual_05": width // 2, "residual_2": 2 * width}[name]
            self.inner = nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, within), nn.ReLU(), nn.Linear(within, width)
            )
        else:
            self.inner = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x) if self.name.startswith("residual") else self.inner(x)


class ConvLayer(nn.Module):
    """The identity, a convolution, a residual block of two, or a separable convolution."""

    def __init__(self, name: str, channels: int, activation: str) -> None:
        super().__init__()
        self.name, self.activation = name, activation
        if name == "id":
            return
        kind, size = name.split("_")
        kernel = int(size)
        self.conv0 = nn.Conv2d(
            channels, channels, kernel, padding="same", groups=channels if kind == "sep" else 1
        )
        if kind != "conv":
            second = kernel if kind == "residual" else 1
            self.conv1 = nn.Conv2d(channels, channels, second, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        if self.name == "id":
            return x
        y = self.conv0(x)
        if self.name.startswith("residual"):
            return self.conv1(activate(self.activation, y)) + x
        return self.conv1(y) if self.name.startswith("sep") else y


def activate(name: str, x: Tensor) -> Tensor:
    """Apply the activation function `name`."""
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "id": lambda y: y,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "swish": F.silu,
    }
    return functions[name](x)
