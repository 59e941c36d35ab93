"""Figures of architectures: cells as graphs that run from left to right.

The layout is the layered one of Sugiyama, Tagawa and Toda (1981), with edge labels treated as nodes
as in Gansner et al., "A Technique for Drawing Directed Graphs" (1993): nodes stand in columns by
their longest path, every edge label has a place of its own in a column between, and an edge that
passes a column keeps a lane free there. So nothing can overlap and no edge runs through a box.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

from nasrun.plots import INK, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Edge = tuple[str, str, str]
"""From, to, operation; an empty operation is an edge without a label."""

CELL_INPUTS = ("c_{k-2}", "c_{k-1}")
OUTPUT = "c_{k}"
FAMILIES = (
    ("separable convolution", "sep_conv", "#0072B2"),
    ("dilated convolution", "dil_conv", "#D55E00"),
    ("pooling", "pool", "#009E73"),
    ("skip connection", "skip|identity", "#B0559B"),
    ("other", "", "#7A6A00"),
)
"""Name, pattern that an operation of the family contains, colour-blind-safe colour."""
CONCATENATION = "#A0A0A0"

# Inches, but for the font sizes (points).
FONT, LABEL_FONT = 10.0, 8.5
NODE_HEIGHT, LABEL_HEIGHT, LANE_HEIGHT = 0.34, 0.23, 0.04
ROW_GAP, PORT_STEP = 0.13, 0.085
MARGIN, PANEL_GAP, TITLE_HEIGHT, LEGEND_HEIGHT = 0.2, 0.5, 0.36, 0.4
LONGEST_CHAIN = 6


def draw_cells(
    cells: Mapping[str, Sequence[Edge]], stem: Path, title: str = ""
) -> list[Path]:
    """Draw every cell type of an architecture side by side, as `<stem>.svg` and `<stem>.png`.

    `cells` maps a cell type to its edges. Nodes named by integers, all from 0 to the largest, are
    intermediate: they are concatenated to the output. Returns both paths.
    """
    from matplotlib import rc_context

    figure = _figure(cells, title)
    paths = [stem.with_name(stem.name + suffix) for suffix in (".svg", ".png")]
    # Only rc parameters can keep SVG text as text and its ids the same in every run.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "nasrun"}):
        save(figure, paths[0], metadata={"Date": None})
    save(figure, paths[1], dpi=200)
    return paths


@dataclass(frozen=True)
class Box:
    """A rectangle by its centre; inches, y grows downwards."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two have an area in common."""
        return (
            2 * abs(self.x - other.x) < self.width + other.width
            and 2 * abs(self.y - other.y) < self.height + other.height
        )


@dataclass(frozen=True)
class Route:
    """An edge: the points that it meets horizontally, from its start to its end, and its label.

    Between points 0 and 1, 2 and 3, ... it is curved, between 1 and 2, 3 and 4, ... straight.
    """

    edge: Edge
    points: tuple[tuple[float, float], ...]
    label: Box | None


@dataclass(frozen=True)
class Layout:
    """Where everything of one cell stands, from (0, 0) to (width, height)."""

    nodes: dict[str, Box]
    routes: tuple[Route, ...]
    width: float
    height: float


@dataclass(frozen=True)
class Graph:
    """A cell: its inputs, the nodes between, and all edges, those to the output included."""

    inputs: tuple[str, ...]
    nodes: tuple[str, ...]
    edges: tuple[Edge, ...]

    @classmethod
    def of(cls, edges: Sequence[Edge]) -> Graph:
        """The graph of a cell's edges; names that no edge leads to are inputs, integers never."""
        targets = {target for _, target, _ in edges}
        names = list(dict.fromkeys(name for source, target, _ in edges for name in (source, target)))
        numbers = [int(name) for name in names if name.isdecimal()]
        inputs = [name for name in names if name not in targets and not name.isdecimal()]
        named = [name for name in names if name in targets and not name.isdecimal()]
        if not named and set(inputs) <= set(CELL_INPUTS):
            inputs = list(CELL_INPUTS)
        nodes = [str(number) for number in range(max(numbers, default=-1) + 1)]
        concatenation = [(node, OUTPUT, "") for node in nodes]
        last = [OUTPUT] if not named else []
        return cls(tuple(inputs), (*nodes, *named, *last), (*edges, *concatenation))

    @property
    def columns(self) -> dict[str, int]:
        """The length of the longest path to every node; CycleError if there is a cycle."""
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
        """The nodes that nothing leads to: they are zero."""
        return set(self.nodes) - {target for _, target, _ in self.edges}

    def rows(self) -> Iterator[Graph]:
        """The graph itself, or a long chain cut into shorter ones that share their ends."""
        for first in range(0, len(self.edges), LONGEST_CHAIN) if self._is_chain else ():
            part = self.edges[first : first + LONGEST_CHAIN]
            yield Graph((part[0][0],), tuple(target for _, target, _ in part), part)
        if not self._is_chain:
            yield self

    @property
    def _is_chain(self) -> bool:
        ends = [target for _, target, _ in self.edges[:-1]]
        return bool(self.edges) and ends == [source for source, _, _ in self.edges[1:]]


def layout(graph: Graph) -> Layout:
    """Place the nodes and labels of a graph and route its edges around them."""
    stops = {name: _Stop(2 * column, *_node_size(graph, name))
             for name, column in graph.columns.items()}
    chains = [_chain(edge, stops) for edge in graph.edges]
    ranks = _ranks([*stops.values(), *(stop for chain in chains for stop in chain[1:-1])])
    _order(ranks)
    _spread(ranks)
    width = _set_x(ranks)
    routes = tuple(map(_route, graph.edges, chains))
    nodes = {name: stop.box for name, stop in stops.items()}
    height = max(stop.y + stop.height / 2 for rank in ranks for stop in rank)
    return Layout(nodes, routes, width, height)


@dataclass(eq=False)
class _Stop:
    """What takes room in a rank: a node (even ranks), an edge's label (odd), or an edge's lane."""

    rank: int
    width: float
    height: float
    labelled: bool = False
    before: list[_Stop] = field(default_factory=list)
    after: list[_Stop] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0
    rank_width: float = 0.0

    @property
    def box(self) -> Box:
        return Box(self.x, self.y, self.width, self.height)

    @property
    def neighbours(self) -> list[_Stop]:
        return self.before + self.after

    @property
    def is_lane(self) -> bool:
        return self.width == 0.0


def _node_size(graph: Graph, name: str) -> tuple[float, float]:
    arrows = sum(target == name for _, target, _ in graph.edges)
    width = max(NODE_HEIGHT, _text_width(re.sub("[_{}]", "", name), FONT) + 0.14)
    return width, max(NODE_HEIGHT, PORT_STEP * (arrows + 0.6))


def _text_width(text: str, size: float) -> float:
    """An estimate that suits most sans-serif fonts: an SVG is shown in whichever there is."""
    return 0.61 * size / 72 * len(text)


def _chain(edge: Edge, stops: Mapping[str, _Stop]) -> list[_Stop]:
    """The stops of an edge, linked: source, lanes, target, and the label right before the target."""
    source, target, operation = edge
    chain = [stops[source]]
    for rank in range(stops[source].rank + 1, stops[target].rank):
        if operation and rank == stops[target].rank - 1:
            width = _text_width(operation, LABEL_FONT) + 0.12
            chain.append(_Stop(rank, width, LABEL_HEIGHT, labelled=True))
        else:
            chain.append(_Stop(rank, 0.0, LANE_HEIGHT))
    chain.append(stops[target])
    for left, right in zip(chain, chain[1:], strict=False):
        left.after.append(right)
        right.before.append(left)
    return chain


def _ranks(stops: list[_Stop]) -> list[list[_Stop]]:
    ranks: list[list[_Stop]] = [[] for _ in range(1 + max(stop.rank for stop in stops))]
    for stop in stops:
        ranks[stop.rank].append(stop)
    return ranks


def _order(ranks: list[list[_Stop]]) -> None:
    """Sort every rank for few crossings: barycentres forwards and backwards, then swaps."""
    best = [list(rank) for rank in ranks]
    for sweep in range(8):
        sides = ("before", "after")[sweep % 2]
        for rank in ranks if sides == "before" else ranks[::-1]:
            _sort_by_barycentre(rank, ranks, sides)
        _swap_neighbours(ranks)
        if _crossings(ranks) < _crossings(best):
            best = [list(rank) for rank in ranks]
    ranks[:] = best


def _sort_by_barycentre(rank: list[_Stop], ranks: list[list[_Stop]], side: str) -> None:
    def barycentre(stop: _Stop) -> float:
        others = getattr(stop, side)
        if not others:
            return rank_positions[stop]
        return sum(ranks[other.rank].index(other) for other in others) / len(others)

    rank_positions = {stop: float(position) for position, stop in enumerate(rank)}
    rank.sort(key={stop: barycentre(stop) for stop in rank}.__getitem__)
