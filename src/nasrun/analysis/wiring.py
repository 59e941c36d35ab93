"""The wiring of a cell: its width and depth (Shu, Wang, Cai, 1909.09569).

The width is in units of c, the channels of a node. An edge is a decision named `cell/node-source`;
states that are not nodes are inputs. Where we go beyond the paper, whose cells join all their
nodes: edges on no path from an input to the output do not count, and in a cell that joins nothing
(NAS-Bench-201) the last node is the output.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import combinations, product
from typing import NamedTuple

from nasrun.genotype import NONE, Decision, Genotype
from nasrun.spaces.base import Space
from nasrun.spaces.decision import DecisionSpace

EDGE = re.compile(r"(?P<cell>[^/]+)/(?P<node>\d+)-(?P<source>\d+)")
MOST = 100_000
"""Largest number of wirings that are enumerated, which takes a few seconds (ours)."""


class Shape(NamedTuple):
    """The width of a cell in c, and its depth: the number of connections on its longest path."""

    width: Fraction
    depth: int


@dataclass(frozen=True)
class Wiring:
    """The states that each node reads, one per edge, and the states that the output joins."""

    sources: Mapping[int, Sequence[int]]
    joined: tuple[int, ...]

    @classmethod
    def of(cls, space: DecisionSpace, genotype: Genotype, cell: str) -> Wiring:
        """Return the wiring of one cell type of a genotype."""
        kept = [name for name in edges_of(space, cell) if genotype[name] != NONE]
        return cls.among(space, cell, kept, genotype.concat.get(cell))

    @classmethod
    def among(
        cls,
        space: DecisionSpace,
        cell: str,
        kept: Iterable[str],
        joined: tuple[int, ...] | None = None,
    ) -> Wiring:
        """Return the wiring of a cell that keeps these edges."""
        sources: dict[int, list[int]] = {node: [] for node, _ in edges_of(space, cell).values()}
        for name in kept:
            node, source = edges_of(space, cell)[name]
            sources[node].append(source)
        joined = joined or tuple(space.joined.get(cell, ()))
        return cls(sources, joined or tuple(sources.pop(max(sources))))

    @cached_property
    def shape(self) -> Shape:
        """Width and depth."""
        return Shape(self.width, self.depth)

    @property
    def width(self) -> Fraction:
        """Sum over nodes of the share of edges that come from the cell's inputs."""
        shares = [
            Fraction(sum(source not in self.sources for source in live), len(live))
            for node, live in self._live.items()
            if node in self._read
        ]
        return sum(shares, Fraction())

    @property
    def depth(self) -> int:
        """Number of connections on the longest path from an input to the output, or 0."""
        longest: dict[int, int] = {}
        for node, live in self._live.items():
            longest[node] = 1 + max(longest.get(source, 0) for source in live)
        ends = [longest.get(state, 0) for state in self.joined if self._carries(state)]
        return 1 + max(ends) if ends else 0

    @cached_property
    def _live(self) -> dict[int, list[int]]:
        """Edges with a connection to an input, per node that has such edges, in order."""
        live: dict[int, list[int]] = {}
        for node in sorted(self.sources):
            carrying = [s for s in self.sources[node] if s not in self.sources or s in live]
            if carrying:
                live[node] = carrying
        return live

    @cached_property
    def _read(self) -> set[int]:
        """States that the output depends on."""
        read = set(self.joined)
        for node in sorted(self._live, reverse=True):
            if node in read:
                read.update(self._live[node])
        return read

    def _carries(self, state: int) -> bool:
        return state not in self.sources or state in self._live


def cells_of(space: Space) -> tuple[str, ...]:
    """Return the cell types of a space; ValueError if it has no cells with edges."""
    decisions = space.decisions if isinstance(space, DecisionSpace) else ()
    if not decisions or not all(EDGE.fullmatch(decision.name) for decision in decisions):
        raise ValueError(f"space={space.name}: has no cells with edges; use darts or nasbench201")
    assert isinstance(space, DecisionSpace)
    return space.groups


def edges_of(space: DecisionSpace, cell: str) -> dict[str, tuple[int, int]]:
    """Return the decisions of a cell type, each with its node and its source."""
    matches = (EDGE.fullmatch(name) for name in space.names)
    return {
        match[0]: (int(match["node"]), int(match["source"]))
        for match in matches
        if match is not None and match["cell"] == cell
    }


def count_wirings(space: DecisionSpace, cell: str) -> int:
    """Return the number of possible wirings of a cell type: 180 in DARTS's space."""
    return math.prod(map(len, _options(space, cell)))


def wirings(space: DecisionSpace, cell: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield every set of edges that a cell of this type can keep, and its number of cells.

    These cells differ in their operations. A cell keeps as many edges as the limits say.
    """
    for chosen in product(*_options(space, cell)):
        kept = tuple(name for names, _ in chosen for name in names)
        yield kept, math.prod(weight for _, weight in chosen)


def shapes(space: DecisionSpace, cell: str) -> Counter[Shape]:
    """Return the exact number of cells of a type by shape."""
    found: Counter[Shape] = Counter()
    for kept, weight in wirings(space, cell):
        found[Wiring.among(space, cell, kept).shape] += weight
    return found


def _options(space: DecisionSpace, cell: str) -> list[list[tuple[tuple[str, ...], int]]]:
    """Return the possible kept edges, with their numbers of operations, per limit or free edge."""
    decisions = {decision.name: decision for decision in space.decisions}
    counts = {limit.decisions: limit.count for limit in space.limits}
    found = []
    for tied in space.tied:
        if decisions[tied[0]].group != cell:
            continue
        ways = {name: _operations(space, decisions[name]) for name in tied}
        if tied in counts:
            sets = list(combinations(tied, counts[tied]))
        else:
            (name,) = tied
            absent = [()] if NONE in space.candidates(decisions[name]) else []
            sets = [*absent, *([(name,)] if ways[name] else [])]
        found.append([(kept, math.prod(ways[name] for name in kept)) for kept in sets])
    return found


def _operations(space: DecisionSpace, decision: Decision) -> int:
    return sum(choice != NONE for choice in space.candidates(decision))
