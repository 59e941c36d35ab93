"""The DARTS cell space (1806.09055): two cell types, each a small graph repeated over the depth.

One network class serves supernet, subspace, discretised network and retrained network. They differ
in the number of candidates per edge and in the `Layout`. `none` never runs: its output is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nasrun.genotype import NONE, AtMost, Decision, Genotype
from nasrun.ops.conv import FactorizedReduce, ReLUConvBN
from nasrun.ops.state import State
from nasrun.spaces.layout import Layout, Stem
from nasrun.spaces.notation import cells, tuples
from nasrun.spaces.notation.cells import CELLS, INPUTS, Cells
from nasrun.spaces.stems import stem
from nasrun.spaces.supernet import SupernetSpace
from nasrun.supernet.auxiliary import AuxiliaryHead
from nasrun.supernet.edge import check_operations
from nasrun.supernet.edges import CellEdges
from nasrun.supernet.mixture import Mixture
from nasrun.supernet.region import Maps, Probability, Region
from nasrun.supernet.stacked import StackedNetwork, States


def edges_of(nodes: int) -> list[tuple[int, int]]:
    """Return the edges (node, source) of a cell, node-major; sources 0 and 1 are its inputs."""
    return [(node, source) for node in range(INPUTS, INPUTS + nodes) for source in range(node)]


def nodes_of(count: int) -> tuple[int, ...]:
    """Return the numbers of the first `count` intermediate nodes."""
    return tuple(range(INPUTS, INPUTS + count))


def _edge_names(nodes: int) -> list[str]:
    return [f"{cell}/{node}-{source}" for cell in CELLS for node, source in edges_of(nodes)]


@dataclass(frozen=True, kw_only=True)
class DartsSpace(SupernetSpace):
    """Cells of `nodes` intermediate nodes; each edge chooses one of `operations`.

    A derived cell keeps `kept_edges` edges per node. `channels`, `layers` and `stem` are those of
    the search network; `choices` restricts single decisions.
    """

    operations: tuple[str, ...]
    nodes: int
    kept_edges: int
    channels: int
    layers: int
    stem: Stem = "cifar"
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    name = "darts"
    sized_by = "nodes"

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", tuple(self.operations))
        if self.nodes < 1 or self.kept_edges < 1:
            raise ValueError(
                f"nodes={self.nodes} kept_edges={self.kept_edges}: use 1 or more for both"
            )
        if self.nodes > cells.MOST:  # no genotype of more can be written
            raise ValueError(f"nodes={self.nodes}: too many; use at most {cells.MOST}")
        check_operations(self.operations, self.choices, _edge_names(self.nodes))
        object.__setattr__(self, "decisions", tuple(self._decisions()))
        object.__setattr__(self, "limits", tuple(self._limits()))
        object.__setattr__(self, "joined", dict.fromkeys(CELLS, nodes_of(self.nodes)))
        self.search_layout  # noqa: B018  its checks are this space's too

    def _decisions(self) -> list[Decision]:
        return [
            Decision(name, tuple(self.choices.get(name, self.operations)))
            for name in _edge_names(self.nodes)
        ]

    def _limits(self) -> list[AtMost]:
        return [
            AtMost(tuple(f"{cell}/{node}-{source}" for source in range(node)), self.kept_edges)
            for cell in CELLS
            for node in nodes_of(self.nodes)
            if node > self.kept_edges
        ]

    @property
    def search_layout(self) -> Layout:
        """The layout of the search network: batch norms without affine, one after each pool."""
        return Layout(
            channels=self.channels,
            layers=self.layers,
            stem=self.stem,
            affine=False,
            pool_norm=True,
        )

    @property
    def published_layout(self) -> Layout:
        return Layout(channels=36, layers=20)  # on CIFAR-10, DARTS sec. 3.1

    def network(
        self,
        genotype: Genotype | None = None,
        *,
        inputs: int,
        outputs: int,
        layout: Layout | None = None,
    ) -> CellNetwork:
        candidates = self.open_choices(genotype)
        return CellNetwork(
            candidates,
            self.rows,
            nodes=self.nodes,
            joined={**self.joined, **(genotype.concat if genotype is not None else {})},
            inputs=inputs,
            outputs=outputs,
            layout=layout or self.search_layout,
        )

    @property
    def owned(self) -> Mapping[str, tuple[str, ...]]:
        """The modules of a decision: the candidates on its edge in each cell of its type."""
        reductions = self.search_layout.thirds
        kinds = [CELLS[index in reductions] for index in range(self.layers)]
        return {
            f"{cell}/{node}-{source}": tuple(
                f"cells.{index}.edges.{node}-{source}"
                for index, kind in enumerate(kinds)
                if kind == cell
            )
            for cell in CELLS
            for node, source in edges_of(self.nodes)
        }

    def render(self, genotype: Genotype) -> str:
        edges: dict[str, dict[tuple[int, int], str]] = {
            cell: {
                (node, source): choice
                for node, source in edges_of(self.nodes)
                if (choice := genotype[f"{cell}/{node}-{source}"]) != NONE
            }
            for cell in CELLS
        }
        return cells.write(Cells(self.nodes, edges, genotype.concat))

    def parse(self, text: str) -> Genotype:
        own = cells.written(text) or not tuples.START.search(text)
        found = cells.read(text) if own else tuples.read(text, self.kept_edges)
        names = _edge_names(found.nodes)
        chosen = {name: found.choices.get(name, NONE) for name in names}
        return self.check(Genotype(self.name, chosen, found.partly_joined))

    def cells(self, genotype: Genotype) -> dict[str, list[tuple[str, str, str]]]:
        states = {0: "c_{k-2}", 1: "c_{k-1}"}
        return {
            cell: [
                *(
                    (states.get(source, str(source - INPUTS)), str(node - INPUTS), operation)
                    for node, source in edges_of(self.nodes)
                    if (operation := genotype[f"{cell}/{node}-{source}"]) != NONE
                ),
                *((str(node - INPUTS), "c_{k}", "") for node in genotype.concat.get(cell, ())),
            ]
            for cell in CELLS
        }


class CellNetwork(StackedNetwork):
    """A stack of cells, two of them reductions; `candidates` lists the operations per decision.

    The output of a cell is the concatenation of its `joined` nodes.
    """

    def __init__(
        self,
        candidates: Mapping[str, Sequence[str]],
        rows: Mapping[str, int],
        *,
        nodes: int,
        joined: Mapping[str, tuple[int, ...]],
        inputs: int,
        outputs: int,
        layout: Layout,
    ) -> None:
        super().__init__()
        self.stem = stem(layout.stem, inputs, layout.channels)
        prev_prev, prev = self.stem.widths
        reduction_prev = self.stem.halves_last
        channels = layout.channels
        self.cells = nn.ModuleList()
        for index in range(layout.depth):
            reduction = index in layout.thirds
            channels *= 2 if reduction else 1
            kind = CELLS[reduction]
            cell = Cell(
                kind,
                candidates,
                rows,
                nodes=nodes,
                joined=joined[kind],
                widths=(prev_prev, prev, channels),
                reduction=reduction,
                reduction_prev=reduction_prev,
                layout=layout,
            )
            self.cells.append(cell)
            prev_prev, prev = prev, channels * len(joined[kind])
            reduction_prev = reduction
            if index == layout.thirds[1]:
                auxiliary_width = prev
        self.auxiliary_at = layout.thirds[1]
        if layout.auxiliary:
            self.auxiliary = AuxiliaryHead(
                auxiliary_width, outputs, imagenet=layout.stem == "imagenet"
            )
        self.last = nn.Identity()
        self.classifier = nn.Linear(prev, outputs)

    @property
    def blocks(self) -> Sequence[Cell]:
        return self.cells  # type: ignore[return-value]

    def enter(self, x: Tensor) -> States:
        first, second = self.stem(x)
        s0 = State(first)
        return s0, s0 if second is first else State(second)

    def read(self, number: int, states: States) -> Maps:
        cell, (s0, s1) = self.blocks[number], states
        return cell.preprocess0.term(s0).map(), cell.preprocess1.term(s1).map()


class Cell(Region):
    """Nodes that each sum their edges; the output concatenates `joined` nodes, usually all."""

    def __init__(
        self,
        kind: str,
        candidates: Mapping[str, Sequence[str]],
        rows: Mapping[str, int],
        *,
        nodes: int,
        joined: tuple[int, ...],
        widths: tuple[int, int, int],
        reduction: bool,
        reduction_prev: bool,
        layout: Layout,
    ) -> None:
        super().__init__()
        prev_prev, prev, channels = widths
        first = FactorizedReduce if reduction_prev else ReLUConvBN
        self.preprocess0 = first(prev_prev, channels, layout.affine)
        self.preprocess1 = ReLUConvBN(prev, channels, layout.affine)
        self.nodes, self.joined = nodes, joined
        self.stride = 2 if reduction else 1
        strides = {ends: self.stride if ends[1] < INPUTS else 1 for ends in edges_of(nodes)}
        self.edges = CellEdges(strides, kind, candidates, rows, channels, layout)
        self.columns = self.edges.columns

    def output(self, maps: Maps, mixture: Mixture | None, drop_path: Probability) -> Tensor:
        states = [State(map, gathers=mixture is not None) for map in maps]
        # a node without edges is the zero state (SNAS's argmax rule)
        nothing = maps[0][:, :, :: self.stride, :: self.stride]
        for node in nodes_of(self.nodes):
            states.append(self.edges.state(node, states, mixture, drop_path, nothing))
        return torch.cat(
            [states[node].map for node in self.joined], dim=1
        )  # (B, joined * C, H / stride, W / stride)
