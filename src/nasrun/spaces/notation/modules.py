"""NAS-Bench-101's modules in the form of its files: labels, then the rows of the matrix.

    input conv3x3-bn-relu maxpool3x3 output 0110/0010/0001/0000

Row i has a 1 in column j if an edge leads from vertex i to vertex j. Labels may also be separated
by commas, as in the files; the matrix may be one word without `/`, or Python's lists.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from nasrun.spaces.module_graph import ModuleGraph

INPUT, OUTPUT = "input", "output"
VERTICES = 7
"""Largest number of vertices, input and output included."""
START = re.compile(r"[\s\[('\"]*input\b['\",\s].*\boutput\b", re.DOTALL)


def written(text: str) -> bool:
    """Return whether a text begins like this notation."""
    return START.match(text) is not None


def write(graph: ModuleGraph) -> str:
    """Return a graph in this notation, on one line."""
    size = range(graph.last + 1)
    rows = ("".join(str(int((i, j) in graph.edges)) for j in size) for i in size)
    return f"{' '.join((INPUT, *graph.operations, OUTPUT))} {'/'.join(rows)}"


def read(text: str) -> ModuleGraph:
    """Return the graph in a text; ValueError says what is wrong with it."""
    labels, _, matrix = text.partition(OUTPUT)
    words = [*re.findall(r"[\w-]+", labels), OUTPUT]
    bits = [int(bit) for bit in re.sub(r"[^0-9]", "", matrix)]
    size = len(words)
    if words[0] != INPUT or not 2 <= size <= VERTICES:
        raise ValueError(
            f"genotype {text[:40]!r}: give the labels from input to output, at most {VERTICES}"
        )
    if len(bits) != size * size or set(bits) - {0, 1}:
        raise ValueError(
            f"genotype has {size} vertices and a matrix of {len(bits)} digits; give {size} rows of "
            f"{size} zeros and ones"
        )
    return ModuleGraph(tuple(words[1:-1]), _edges(bits, size))


def _edges(bits: Sequence[int], size: int) -> frozenset[tuple[int, int]]:
    found = frozenset(divmod(place, size) for place, bit in enumerate(bits) if bit)
    for source, target in sorted(found):
        if source >= target:
            raise ValueError(
                f"genotype has an edge from vertex {source} to {target}; give only edges to later "
                "vertices"
            )
    return found
