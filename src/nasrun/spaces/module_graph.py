"""The graph of a NAS-Bench-101 module: what is live in it, its name, its widths (1902.09635).

Vertex 0 is the input, the last one the output, and each between them has an operation. As in the
released code, vertices on no path from input to output are pruned, and graphs that differ only in
the order of their vertices have one digest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
"""In the order of the released code, by which digests label vertices."""


@dataclass(frozen=True)
class ModuleGraph:
    """The operations of the inner vertices in order, and edges (source, target), source first."""

    operations: tuple[str, ...]
    edges: frozenset[tuple[int, int]]

    @property
    def last(self) -> int:
        """The output's vertex."""
        return len(self.operations) + 1

    @property
    def inner(self) -> range:
        """The vertices with an operation."""
        return range(1, self.last)

    def sources(self, vertex: int) -> list[int]:
        """Return the vertices whose edges enter this one, in order."""
        return sorted(source for source, target in self.edges if target == vertex)

    def targets(self, vertex: int) -> list[int]:
        """Return the vertices that this one's edges enter, in order."""
        return sorted(target for source, target in self.edges if source == vertex)

    def pruned(self) -> ModuleGraph | None:
        """Return the graph of the vertices on paths from input to output; `None` without a path."""
        ahead, behind = {0}, {self.last}
        for vertex in range(self.last + 1):  # an edge leads to a later vertex
            if vertex in ahead:
                ahead.update(self.targets(vertex))
        for vertex in range(self.last, -1, -1):
            if vertex in behind:
                behind.update(self.sources(vertex))
        if self.last not in ahead:
            return None
        live = sorted(ahead & behind)
        place = {vertex: number for number, vertex in enumerate(live)}
        return ModuleGraph(
            tuple(self.operations[vertex - 1] for vertex in live[1:-1]),
            frozenset((place[s], place[t]) for s, t in self.edges if s in place and t in place),
        )

    def digest(self) -> str:
        """Return the released code's hash of a pruned graph: MD5 of its vertices' hashes.

        A vertex begins with its numbers of edges and its label, and takes in its neighbours' hashes
        as often as there are vertices.
        """
        vertices = range(self.last + 1)
        labels = [-1, *map(OPERATIONS.index, self.operations), -2]
        before = [self.sources(vertex) for vertex in vertices]
        after = [self.targets(vertex) for vertex in vertices]
        hashes = [_md5(str((len(after[v]), len(before[v]), labels[v]))) for v in vertices]
        for _ in vertices:
            entering = ["".join(sorted(hashes[s] for s in before[v])) for v in vertices]
            leaving = ["".join(sorted(hashes[t] for t in after[v])) for v in vertices]
            hashes = [_md5(f"{entering[v]}|{leaving[v]}|{hashes[v]}") for v in vertices]
        return _md5(str(sorted(hashes)))

    def widths(self, inputs: int, outputs: int) -> list[int]:
        """Return the channels of every vertex of a pruned graph.

        The vertices that enter the output share its channels evenly, the first ones have the rest;
        every other vertex has as many as the widest that it enters.
        """
        found = [inputs, *[0] * len(self.operations), outputs]
        joined = [source for source in self.sources(self.last) if source]
        for number, vertex in enumerate(joined):
            found[vertex] = outputs // len(joined) + (number < outputs % len(joined))
        for vertex in reversed(self.inner):
            if vertex not in joined:
                found[vertex] = max(found[target] for target in self.targets(vertex))
        return found


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
