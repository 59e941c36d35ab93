"""The edges between the nodes of a cell, which each sum the edges that lead to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from nasrun.ops.state import State
from nasrun.spaces.layout import Layout
from nasrun.supernet.edge import Edge, joined
from nasrun.supernet.mixture import Mixture
from nasrun.supernet.partial import bypassed
from nasrun.supernet.region import Probability, running


class CellEdges(nn.ModuleDict):
    """The edges of a cell by their ends: `3-1` leads from node 1 to node 3.

    strides: of each edge, (node, source). kind: that of the cell, so `normal/3-1` is a decision,
    with its choices in `candidates` and its place in `rows`. `columns` are those of the candidates
    that run, by row.
    """

    def __init__(
        self,
        strides: Mapping[tuple[int, int], int],
        kind: str,
        candidates: Mapping[str, Sequence[str]],
        rows: Mapping[str, int],
        channels: int,
        layout: Layout,
    ) -> None:
        super().__init__()
        self.columns: dict[int, tuple[int, ...]] = {}
        self.entering: dict[int, list[int]] = {}  # the rows of the edges into each node
        for (node, source), stride in strides.items():
            ends = f"{node}-{source}"
            choices, row = candidates[f"{kind}/{ends}"], rows[f"{kind}/{ends}"]
            self.columns[row] = running(choices)
            self.entering.setdefault(node, []).append(row)
            edge = Edge(choices, row, channels // layout.partial, stride, layout)
            self[ends] = bypassed(edge, stride, layout)

    def state(
        self,
        node: int,
        states: Sequence[State],
        mixture: Mixture | None,
        drop_path: Probability,
        nothing: Tensor,
    ) -> State:
        """Return a node's state from those of all earlier nodes; see `joined`."""
        edges = [self[f"{node}-{source}"] for source in range(node)]
        return joined(edges, states, mixture, self.entering[node], drop_path, nothing)
