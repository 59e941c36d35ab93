"""The networks of NAS-Bench-101 (1902.09635): three stacks of equal modules.

A pool halves the map and the channels double between stacks. Where we differ from the released
code: any number of modules (at least three) is divided among the stacks, other stems and an
auxiliary head are available, and convolutions are initialised as torch does it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.networks import ImageClassifier
from nasrun.ops.shared import OfImages
from nasrun.spaces.layout import Layout, Stem
from nasrun.spaces.module_graph import ModuleGraph
from nasrun.supernet.auxiliary import AuxiliaryHead
from nasrun.supernet.region import dropped, drops

STRIDES: Mapping[Stem, tuple[int, ...]] = {
    "cifar": (1,),
    "cifar_half": (2,),
    "imagenet": (2, 2, 2),
}
"""Strides of the stem's convolutions."""


class ModuleNetwork(ImageClassifier):
    """A stem, stacks of equal modules, the mean of the last map, a classifier.

    `graph` is pruned, `None` without a path. Drop path drops what vertices compute.
    """

    def __init__(
        self, graph: ModuleGraph | None, *, inputs: int, outputs: int, layout: Layout
    ) -> None:
        super().__init__()
        self.drop_path = 0.0
        self.auxiliary: AuxiliaryHead | None = None
        channels = layout.channels
        strides = STRIDES[layout.stem]
        widths = [inputs, *[channels] * len(strides)]
        self.stem = nn.Sequential(
            *(
                ConvNormReLU(before, channels, 3, stride)
                for before, stride in zip(widths, strides, strict=False)
            )
        )
        self.starts = layout.thirds  # of the later stacks
        self.cells = nn.ModuleList()
        for index in range(layout.depth):
            before = channels
            channels *= 2 if index in self.starts else 1
            self.cells.append(VertexModule(graph, before, channels))
        if layout.auxiliary:
            self.auxiliary = AuxiliaryHead(channels, outputs, imagenet=layout.stem == "imagenet")
        self.classifier = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        drop_path = self.drop_path if self.training else 0.0
        x = self.stem(x)
        side = []
        for index, cell in enumerate(self.cells):
            if index in self.starts:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            x = cell(x, drop_path)
            if self.training and self.auxiliary is not None and index == self.starts[1]:
                side.append(self.auxiliary(x))
        return (self.classifier(x.mean((2, 3))), *side)


class VertexModule(OfImages):
    """Vertices compute on the sum of what enters them; the output joins, and adds the input.

    What leaves the input is projected by a 1x1 convolution; a vertex reads the first channels of a
    wider one.
    """

    def __init__(self, graph: ModuleGraph | None, inputs: int, outputs: int) -> None:
        super().__init__()
        self.graph, self.outputs = graph, outputs
        self.projections, self.operations = nn.ModuleDict(), nn.ModuleDict()
        if graph is None:
            return
        self.widths = graph.widths(inputs, outputs)
        for vertex in graph.targets(0):
            self.projections[str(vertex)] = ConvNormReLU(inputs, self.widths[vertex], 1)
        for vertex, operation in zip(graph.inner, graph.operations, strict=True):
            self.operations[str(vertex)] = _operation(operation, self.widths[vertex])

    def forward(self, x: Tensor, drop_path: float) -> Tensor:
        graph = self.graph
        if graph is None:
            return x.new_zeros(x.shape[0], self.outputs, *x.shape[2:])
        found = {0: x}
        for vertex in graph.inner:
            width = self.widths[vertex]
            entering = [found[s][:, :width] for s in graph.sources(vertex) if s]
            y = self.operations[str(vertex)](self._with_input(entering, x, vertex))
            found[vertex] = dropped(y, drop_path, self.world) if drops(drop_path) else y
        joined = [found[source] for source in graph.sources(graph.last) if source]
        return self._with_input([torch.cat(joined, dim=1)] if joined else [], x, graph.last)

    def _with_input(self, entering: list[Tensor], x: Tensor, vertex: int) -> Tensor:
        """Return the sum of what enters a vertex, with the projected input if that does."""
        if str(vertex) in self.projections:
            entering = [*entering, self.projections[str(vertex)](x)]
        total = entering[0]
        for other in entering[1:]:
            total = total + other
        return total


class ConvNormReLU(nn.Sequential):
    """A convolution, batch norm with the released code's momentum, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs, momentum=0.003),
            nn.ReLU(),
        )


def _operation(name: str, channels: int) -> nn.Module:
    if name == "maxpool3x3":
        return nn.MaxPool2d(3, stride=1, padding=1)
    return ConvNormReLU(channels, channels, 3 if name == "conv3x3-bn-relu" else 1)
