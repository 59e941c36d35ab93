"""A cell as a graph: its inputs, its nodes, and its edges with their operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

Arc = tuple[str, str, str]
"""An edge as (source, target, operation); without an operation it has no label."""

CELL_INPUTS = ("c_{k-2}", "c_{k-1}")
OUTPUT = "c_{k}"
FLOW = ("in", "out")
"""Input and output of a cell whose last node is its output, without a concatenation."""
LONGEST_CHAIN = 6
"""The most edges in one row; a longer chain continues in the next row."""


@dataclass(frozen=True)
class Graph:
    """A cell: its inputs, the nodes between, and all edges, those to the output included."""

    inputs: tuple[str, ...]
    nodes: tuple[str, ...]
    edges: tuple[Arc, ...]

    @classmethod
    def of(cls, edges: Sequence[Arc]) -> Graph:
        """Return the graph of these edges; names, not numbers, are inputs if no edge leads to them.

        In a cell with `in` or `out`, these are the input and the output. If edges lead to the
        output, it joins their sources, otherwise all numbered nodes.
        """
        targets = {target for _, target, _ in edges}
        names = list(dict.fromkeys(name for edge in edges for name in edge[:2]))
        if not set(FLOW).isdisjoint(names):
            between = [name for name in names if name not in FLOW]
            return cls(FLOW[:1], (*sorted(between), FLOW[1]), tuple(edges))
        numbers = [int(name) for name in names if name.isdecimal()]
        inputs = [name for name in names if name not in targets and not name.isdecimal()]
        named = [name for name in names if name in targets - {OUTPUT} and not name.isdecimal()]
        if not named and set(inputs) <= set(CELL_INPUTS):
            inputs = list(CELL_INPUTS)
        if OUTPUT in targets:  # a node without edges does not occur
            nodes, concatenation = [str(number) for number in sorted(numbers)], []
        else:
            nodes = [str(number) for number in range(max(numbers, default=-1) + 1)]
            concatenation = [(node, OUTPUT, "") for node in nodes]
        last = [OUTPUT] if nodes or not named else []
        return cls(tuple(inputs), (*nodes, *named, *last), (*edges, *concatenation))

    @property
    def columns(self) -> dict[str, int]:
        """Return the length of the longest path to each node; CycleError if there is a cycle."""
        before: dict[str, set[str]] = {node: set() for node in self.nodes}
        for source, target, _ in self.edges:
            before[target].add(source)
        columns = dict.fromkeys(self.inputs, 0)
        for name in TopologicalSorter(before).static_order():
            if name not in columns:
                columns[name] = 1 + max((columns[source] for source in before[name]), default=0)
        return columns

    @property
    def dead(self) -> set[str]:
        """Return the nodes to which no edge leads: their value is zero."""
        return set(self.nodes) - {target for _, target, _ in self.edges}

    def rows(self) -> list[Graph]:
        """Return the graph itself, or a long chain as shorter chains that share their ends."""
        if len(self.edges) <= LONGEST_CHAIN or not self._is_chain:
            return [self]
        starts = range(0, len(self.edges), LONGEST_CHAIN)
        parts = [self.edges[start : start + LONGEST_CHAIN] for start in starts]
        return [Graph((part[0][0],), tuple(edge[1] for edge in part), part) for part in parts]

    @property
    def _is_chain(self) -> bool:
        ends = [target for _, target, _ in self.edges[:-1]]
        return ends == [source for source, _, _ in self.edges[1:]]
