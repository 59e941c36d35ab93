"""The layered layout of a cell: the places of its nodes, labels and edges, from left to right.

The method is that of Sugiyama, Tagawa and Toda (1981), with edge labels treated as nodes as in
Gansner et al., "A Technique for Drawing Directed Graphs" (1993). Nodes stand in columns by their
longest path, each edge label has its own place in a column between, and an edge that passes a
column keeps a lane free there. So nothing overlaps and no edge runs through a box.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, combinations, pairwise
from statistics import fmean

from nasrun.pictures.graph import Arc, Graph

# Inches, but for the font sizes (points).
FONT, LABEL_FONT = 10.0, 8.5
NODE_HEIGHT, LABEL_HEIGHT, LANE_HEIGHT = 0.34, 0.23, 0.04
ROW_GAP, PORT_STEP, LEAD = 0.12, 0.085, 0.1
CURVE_WIDTH, CURVE_STEEPNESS = 0.18, 0.2

XY = tuple[float, float]
"""A point (x, y), in inches; y grows downwards."""
SWEEPS = 20
"""The passes over all ranks, more than the largest cells need."""


@dataclass(frozen=True)
class Box:
    """A rectangle around its centre, in inches; y grows downwards."""

    x: float
    y: float
    width: float
    height: float

    def moved(self, x: float, y: float) -> Box:
        """Return the same box, further to the right and down."""
        return Box(self.x + x, self.y + y, self.width, self.height)


@dataclass(frozen=True)
class Route:
    """An edge: its label, and the points that it passes horizontally, from its start to its end.

    It is straight between points 0 and 1, 2 and 3, ..., and curved between 1 and 2, 3 and 4, ...
    """

    edge: Arc
    points: tuple[XY, ...]
    label: Box | None

    def pieces(self) -> Iterator[tuple[XY, XY, bool]]:
        """Yield each piece: start, end, and whether it is curved; straight ones of no length not.

        Curves begin and end horizontally.
        """
        for number, (start, end) in enumerate(pairwise(self.points)):
            curved = number % 2 == 1
            if curved or end[0] > start[0]:
                yield start, end, curved


@dataclass(frozen=True)
class Drawing:
    """The places of the nodes and edges of one cell, from (0, 0) to (width, height)."""

    nodes: dict[str, Box]
    routes: tuple[Route, ...]
    width: float
    height: float


def layout(graph: Graph) -> Drawing:
    """Place the nodes and labels of a graph and route its edges around them."""
    stops = {
        name: _Stop(2 * column, *_node_size(graph, name)) for name, column in graph.columns.items()
    }
    chains = [_chain(edge, stops) for edge in graph.edges]
    ranks = _ranks([*stops.values(), *(stop for chain in chains for stop in chain[1:-1])])
    _order(ranks)
    _set_y(ranks, chains)
    _set_x(ranks)
    return Drawing(
        nodes={name: stop.box for name, stop in stops.items()},
        routes=tuple(map(_route, graph.edges, chains)),
        width=max(stop.x + stop.width / 2 for stop in stops.values()),
        height=max(stop.y + stop.height / 2 for rank in ranks for stop in rank),
    )


@dataclass(eq=False)
class _Stop:
    """A node (in even ranks), an edge's label (in odd ranks), or an edge's lane (in either)."""

    rank: int
    width: float
    height: float
    before: list[_Stop] = field(default_factory=list)
    after: list[_Stop] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0
    reach: float = 0.0
    """The distance from x, to both sides, over which an edge is straight."""

    @property
    def box(self) -> Box:
        return Box(self.x, self.y, self.width, self.height)

    @property
    def is_lane(self) -> bool:
        return self.width == 0


def _node_size(graph: Graph, name: str) -> tuple[float, float]:
    arrows = sum(target == name for _, target, _ in graph.edges)
    width = max(NODE_HEIGHT, text_width(re.sub("[_{}]", "", name), FONT) + 0.14)
    return width, max(NODE_HEIGHT, PORT_STEP * (arrows + 0.8))


def text_width(text: str, size: float) -> float:
    """Return the width in inches, estimated: an SVG may be shown in any sans-serif font."""
    return 0.61 * size / 72 * len(text)


def _chain(edge: Arc, stops: Mapping[str, _Stop]) -> list[_Stop]:
    """Return the linked stops of an edge: source, lanes, the label next to the target, target."""
    source, target, operation = edge
    lanes = [
        _Stop(rank, 0, LANE_HEIGHT) for rank in range(stops[source].rank + 1, stops[target].rank)
    ]
    if operation:
        lanes[-1].width = text_width(operation, LABEL_FONT) + 0.12
        lanes[-1].height = LABEL_HEIGHT
    chain = [stops[source], *lanes, stops[target]]
    for left, right in pairwise(chain):
        left.after.append(right)
        right.before.append(left)
    return chain


def _ranks(stops: list[_Stop]) -> list[list[_Stop]]:
    ranks: list[list[_Stop]] = [[] for _ in range(1 + max(stop.rank for stop in stops))]
    for stop in stops:
        ranks[stop.rank].append(stop)
    return ranks


def _order(ranks: list[list[_Stop]]) -> None:
    """Sort each rank for few crossings: by barycentres from the left and the right, then by swaps.

    Meanwhile the y of a stop is its position in its rank.
    """
    for rank in ranks:
        _number(rank)
    best, fewest = [list(rank) for rank in ranks], _crossings(ranks)
    for sweep in range(SWEEPS):
        rightwards = sweep % 2 == 0
        for rank in ranks if rightwards else ranks[::-1]:
            rank.sort(key=lambda stop: _mean_y(stop, stop.before if rightwards else stop.after))
            _number(rank)
        while sum(_swap_neighbours(rank) for rank in ranks):
            pass
        crossings = _crossings(ranks)
        if crossings < fewest:
            best, fewest = [list(rank) for rank in ranks], crossings
    ranks[:] = best


def _number(rank: list[_Stop]) -> None:
    for position, stop in enumerate(rank):
        stop.y = position


def _mean_y(stop: _Stop, others: list[_Stop]) -> float:
    return fmean(other.y for other in others) if others else stop.y


def _swap_neighbours(rank: list[_Stop]) -> bool:
    """Swap adjacent stops where this reduces the crossings; return whether any was swapped."""
    swapped = False
    for i in range(len(rank) - 1):
        if _crossings_of(rank[i + 1], rank[i]) < _crossings_of(rank[i], rank[i + 1]):
            rank[i], rank[i + 1] = rank[i + 1], rank[i]
            swapped = True
    _number(rank)
    return swapped


def _crossings(ranks: list[list[_Stop]]) -> int:
    """Return the number of crossings, each counted once on either side of a rank."""
    return sum(_crossings_of(*pair) for rank in ranks for pair in combinations(rank, 2))


def _crossings_of(upper: _Stop, lower: _Stop) -> int:
    """Return the number of crossings of the edges of two stops if one is above the other."""
    return sum(
        one.y > other.y
        for ones, others in ((upper.before, lower.before), (upper.after, lower.after))
        for one in ones
        for other in others
    )


def _set_y(ranks: list[list[_Stop]], chains: list[list[_Stop]]) -> None:
    """Make edges short, then straight between their ends, as far as the orders of ranks permit."""
    for rank in ranks:
        _stack(rank, [0.0] * len(rank))
    for sweep in range(SWEEPS):
        for rank in ranks if sweep % 2 == 0 else ranks[::-1]:
            _stack(rank, [_mean_y(stop, stop.before + stop.after) for stop in rank])
    room = _Room(ranks)
    nodes = [stop for rank in ranks[::2] for stop in rank if not stop.is_lane]
    for _ in range(SWEEPS):
        for chain in chains:
            room.move(chain[1:-1], (chain[0].y + chain[-1].y) / 2)
        for stop in nodes:
            room.move([stop], _mean_y(stop, stop.before + stop.after))
    top = min(stop.y - stop.height / 2 for rank in ranks for stop in rank)
    for rank in ranks:
        for stop in rank:
            stop.y -= top


class _Room:
    """The free room above and below each stop in its rank, in which stops move."""

    def __init__(self, ranks: list[list[_Stop]]) -> None:
        self.above = {lower: upper for rank in ranks for upper, lower in pairwise(rank)}
        self.below = {upper: lower for lower, upper in self.above.items()}

    def move(self, stops: Sequence[_Stop], y: float) -> None:
        """Bring all stops to one height as near to y as possible; leave them if none is free."""
        highest = max(
            (self.above[it].y + _distance(self.above[it], it) for it in stops if it in self.above),
            default=-math.inf,
        )
        lowest = min(
            (self.below[it].y - _distance(it, self.below[it]) for it in stops if it in self.below),
            default=math.inf,
        )
        if highest <= lowest:
            for stop in stops:
                stop.y = min(max(y, highest), lowest)


def _distance(upper: _Stop, lower: _Stop) -> float:
    """Return the least distance between the centres of two stops."""
    return (upper.height + lower.height) / 2 + ROW_GAP


def _stack(rank: list[_Stop], wanted: Sequence[float]) -> None:
    """Place the stops of a rank as near to `wanted` as possible (least squares), without overlap.

    With the least depth of each stop below the first one subtracted, this is isotonic regression,
    which pooling adjacent violators solves.
    """
    depths = [0.0, *accumulate(_distance(a, b) for a, b in pairwise(rank))]
    blocks: list[list[float]] = []
    for depth, y in zip(depths, wanted, strict=False):  # an empty rank has no y
        blocks.append([y - depth])
        while len(blocks) > 1 and fmean(blocks[-2]) > fmean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    places = [fmean(block) for block in blocks for _ in block]
    for stop, depth, place in zip(rank, depths, places, strict=False):
        stop.y = depth + place


def _set_x(ranks: list[list[_Stop]]) -> None:
    """Set the ranks side by side, with more room between two where the curves are steeper."""
    left = -LEAD
    for number, rank in enumerate(ranks):
        reach = max((stop.width for stop in rank), default=0.0) / 2
        if number % 2 == 0:  # arrow heads need a straight piece before a node
            reach += LEAD
        for stop in rank:
            stop.x, stop.reach = left + reach, reach
        rises = [abs(stop.y - other.y) for stop in rank for other in stop.after]
        left += 2 * reach + CURVE_WIDTH + CURVE_STEEPNESS * max(rises, default=0.0)


def _route(edge: Arc, chain: list[_Stop]) -> Route:
    source, *lanes, target = chain
    start, end = _port(source, source.after, lanes[0]), _port(target, target.before, lanes[-1])
    points = [(source.x + source.width / 2, start), (source.x + source.reach, start)]
    for lane in lanes:
        if lane.reach == 0:  # only lanes in this rank: no bend is needed
            continue
        points += [(lane.x - lane.reach, lane.y), (lane.x + lane.reach, lane.y)]
    points += [(target.x - target.reach, end), (target.x - target.width / 2, end)]
    return Route(edge, tuple(points), None if lanes[-1].is_lane else lanes[-1].box)


def _port(node: _Stop, lanes: list[_Stop], lane: _Stop) -> float:
    """Return the height at which an edge meets a node; edges are spread in the order of lanes."""
    step = min(PORT_STEP, 0.7 * node.height / len(lanes))
    position = sorted(lanes, key=lambda stop: stop.y).index(lane)
    return node.y + step * (position - (len(lanes) - 1) / 2)
