"""The NAS-Bench-201 space (2001.00326): one small cell, repeated in three stages.

A cell has four nodes: the first is its input, the last its output, and each sums its edges from all
earlier ones. Every edge chooses among five operations, one of which is `none`. Between stages a
residual block, which is not searched, halves the map and doubles the channels.

One network class serves supernet, discretised and retrained network. Where we differ from the
released code: any number of cells (at least three) is divided among the stages, the shortcut of a
residual block rounds odd sizes up as its convolutions do, an ImageNet stem and an auxiliary head
are available, and `none` never runs, since its output is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from nasrun.genotype import NONE, Decision, Genotype
from nasrun.ops.conv import ReLUConvBN
from nasrun.ops.state import State
from nasrun.spaces.layout import Layout, Stem
from nasrun.spaces.notation import nasbench
from nasrun.spaces.notation.nasbench import EDGES, NODES
from nasrun.spaces.supernet import SupernetSpace
from nasrun.supernet.auxiliary import AuxiliaryHead
from nasrun.supernet.edge import check_operations
from nasrun.supernet.edges import CellEdges
from nasrun.supernet.mixture import Mixture
from nasrun.supernet.region import Maps, Probability, Region
from nasrun.supernet.stacked import StackedNetwork, States


@dataclass(frozen=True, kw_only=True)
class NasBench201(SupernetSpace):
    """A cell whose every edge chooses among `operations`.

    `channels`, `layers` (the cells of all stages) and `stem` are the search network's; `choices`
    narrows single decisions. `table` is a file with the true accuracies, for reports.
    """

    operations: tuple[str, ...]
    channels: int
    layers: int
    stem: Stem = "cifar"
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    table: str | None = field(default=None, compare=False)

    name = "nasbench201"
    limits = ()
    none_is_a_choice = True
    adds_undrawn = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", tuple(self.operations))
        names = [f"cell/{node}-{source}" for node, source in EDGES]
        check_operations(self.operations, self.choices, names)
        decisions = (Decision(n, tuple(self.choices.get(n, self.operations))) for n in names)
        object.__setattr__(self, "decisions", tuple(decisions))
        self.search_layout  # noqa: B018  a Layout checks the settings

    @property
    def search_layout(self) -> Layout:
        """The search network's layout; batch norms in its cells have no scale and shift."""
        return Layout(channels=self.channels, layers=self.layers, stem=self.stem, affine=False)

    @property
    def published_layout(self) -> Layout:
        return Layout(channels=16, layers=15)  # 2001.00326 sec. 2.1

    def network(
        self,
        genotype: Genotype | None = None,
        *,
        inputs: int,
        outputs: int,
        layout: Layout | None = None,
    ) -> StagedNetwork:
        candidates = self.open_choices(genotype)
        layout = layout or self.search_layout
        return StagedNetwork(candidates, self.rows, inputs=inputs, outputs=outputs, layout=layout)

    @property
    def owned(self) -> Mapping[str, tuple[str, ...]]:
        """Maps each decision to the candidates on its edge in every cell."""
        return {
            f"cell/{node}-{source}": tuple(
                f"cells.{index}.edges.{node}-{source}" for index in range(self.layers)
            )
            for node, source in EDGES
        }

    def render(self, genotype: Genotype) -> str:
        nodes = (
            "|".join(f"{genotype[f'cell/{node}-{source}']}~{source}" for source in range(node))
            for node in range(1, NODES)
        )
        return "+".join(f"|{edges}|" for edges in nodes)

    def parse(self, text: str) -> Genotype:
        edges = nasbench.read(text)
        chosen = {f"cell/{node}-{source}": choice for (node, source), choice in edges.items()}
        if missing := [name for name in self.rows if name not in chosen]:
            node, source = missing[0].removeprefix("cell/").split("-")
            raise ValueError(
                f"genotype has no edge {missing[0]}: give none~{source} in node {node} if the edge "
                "is absent"
            )
        return self.check(Genotype(self.name, {name: chosen[name] for name in self.rows}))

    def cells(self, genotype: Genotype) -> dict[str, list[tuple[str, str, str]]]:
        ends = {0: "in", NODES - 1: "out"}
        return {
            "cell": [
                (ends.get(source, str(source)), ends.get(node, str(node)), operation)
                for node, source in EDGES
                if (operation := genotype[f"cell/{node}-{source}"]) != NONE
            ]
        }


class StagedNetwork(StackedNetwork):
    """Three stages of cells, with a residual reduction before the second and third.

    `candidates` lists the operations of each decision.
    """

    def __init__(
        self,
        candidates: Mapping[str, Sequence[str]],
        rows: Mapping[str, int],
        *,
        inputs: int,
        outputs: int,
        layout: Layout,
    ) -> None:
        super().__init__()
        channels = layout.channels
        self.stem = _stem(layout.stem, inputs, channels)
        self.starts = layout.thirds  # of the later stages
        self.reductions = nn.ModuleList()
        self.cells = nn.ModuleList()
        for index in range(layout.depth):
            if index in self.starts:
                self.reductions.append(Reduction(channels, 2 * channels))
                channels *= 2
            self.cells.append(StagedCell(candidates, rows, channels, layout))
        self.auxiliary_at = self.starts[1]
        if layout.auxiliary:
            self.auxiliary = AuxiliaryHead(channels, outputs, imagenet=layout.stem == "imagenet")
        self.last = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        self.classifier = nn.Linear(channels, outputs)

    @property
    def blocks(self) -> Sequence[StagedCell]:
        return self.cells  # type: ignore[return-value]

    def enter(self, x: Tensor) -> States:
        return (State(self.stem(x)),)

    def read(self, number: int, states: States) -> Maps:
        x = states[-1].map
        if number in self.starts:
            x = self.reductions[self.starts.index(number)](x)
        return (x,)


class StagedCell(Region):
    """Nodes that sum their edges from all earlier ones; the output is the last node."""

    def __init__(
        self,
        candidates: Mapping[str, Sequence[str]],
        rows: Mapping[str, int],
        channels: int,
        layout: Layout,
    ) -> None:
        super().__init__()
        strides = dict.fromkeys(EDGES, 1)
        self.edges = CellEdges(strides, "cell", candidates, rows, channels, layout)
        self.columns = self.edges.columns

    def output(self, maps: Maps, mixture: Mixture | None, drop_path: Probability) -> Tensor:
        (x,) = maps
        states = [State(x, gathers=mixture is not None)]
        for node in range(1, NODES):
            states.append(self.edges.state(node, states, mixture, drop_path, x))
        return states[-1].map  # (B, C, H, W), as x


class Reduction(nn.Module):
    """ResNet's basic block with stride 2: two 3x3 convolutions plus a pooled 1x1 shortcut.

    It is not searched, so its batch norms have a learned scale and shift in a search, too.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_a = ReLUConvBN(inputs, outputs, affine=True, kernel=3, stride=2)
        self.conv_b = ReLUConvBN(outputs, outputs, affine=True, kernel=3)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True),
            nn.Conv2d(inputs, outputs, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C', ceil(H/2), ceil(W/2))
        return self.shortcut(x) + self.conv_b(self.conv_a(x))


def _stem(name: Stem, inputs: int, channels: int) -> nn.Sequential:
    """Return a 3x3 convolution with batch norm; for ImageNet, three of stride 2 as in DARTS."""
    if name == "imagenet":
        return nn.Sequential(
            *_conv_norm(inputs, channels // 2, stride=2),
            nn.ReLU(),
            *_conv_norm(channels // 2, channels, stride=2),
            nn.ReLU(),
            *_conv_norm(channels, channels, stride=2),
        )
    return nn.Sequential(*_conv_norm(inputs, channels, stride=2 if name == "cifar_half" else 1))


def _conv_norm(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs)
