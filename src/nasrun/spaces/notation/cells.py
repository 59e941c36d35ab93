"""Cells as nasrun writes them: nodes separated by "|", an edge as operation@source, "-" for none.

    normal sep_conv_3x3@0 skip_connect@1 | - | skip_connect@0 concat 2 4; reduce ...

The numbers are DARTS's (1806.09055): 0 and 1 are the inputs, the first node is 2. `concat` lists
the nodes that a cell joins, unless it joins all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nasrun.spaces.notation.literals import uncommented

CELLS = ("normal", "reduce")
INPUTS = 2
MOST = 30
"""Largest number of nodes per cell; published cells have four or five."""
FORM = "normal op@0 op@1 | op@0 op@2 | ...; reduce ..."


@dataclass(frozen=True)
class Cells:
    """Parsed cells: number of nodes, operations by (node, source), and joined nodes if not all.

    Raises ValueError for an edge that does not come from an earlier node, and for joined nodes that
    do not exist.
    """

    nodes: int
    edges: Mapping[str, Mapping[tuple[int, int], str]]
    concat: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= MOST:
            raise ValueError(f"genotype has {self.nodes} nodes per cell; give 1 to {MOST}")
        last = self.nodes + INPUTS - 1
        for cell, edges in self.edges.items():
            for node, source in edges:
                if not INPUTS <= node <= last:
                    raise ValueError(
                        f"genotype has the edge {cell}/{node}-{source}: give a node from {INPUTS} "
                        f"to {last}"
                    )
                if not 0 <= source < node:
                    raise ValueError(
                        f"genotype has the edge {cell}/{node}-{source}: give a source from 0 to "
                        f"{node - 1}"
                    )
        for cell, joined in self.concat.items():
            if not joined or len(set(joined)) < len(joined):
                raise ValueError(f"{cell}_concat={list(joined)}: give one node or more, each once")
            if min(joined) < INPUTS or max(joined) > last:
                raise ValueError(
                    f"{cell}_concat={list(joined)}: the cell has the nodes {INPUTS} to {last}; "
                    "give some of them"
                )

    @property
    def partly_joined(self) -> dict[str, tuple[int, ...]]:
        """Joined nodes of the cells that do not join all."""
        return {cell: nodes for cell, nodes in self.concat.items() if len(nodes) < self.nodes}

    @property
    def choices(self) -> dict[str, str]:
        """Operations by decision, without dropped edges."""
        return {
            f"{cell}/{node}-{source}": operation
            for cell, edges in self.edges.items()
            for (node, source), operation in edges.items()
        }


def written(text: str) -> bool:
    """Return whether a text begins like this notation."""
    return _bare(text).split(" ", 1)[0] in CELLS


def read(text: str) -> Cells:
    """Return the cells of a text in this notation; ValueError says what is wrong with it.

    A cell written as "-" has as many nodes as the other, and no edges.
    """
    edges: dict[str, dict[tuple[int, int], str]] = {}
    counts, concat = {}, {}
    for part in _bare(text).split(";"):
        cell, _, body = part.strip().partition(" ")
        if cell not in CELLS or cell in edges:
            raise ValueError(f"genotype {text[:40]!r}: expected '{FORM}', each cell once")
        body, clause, joined = f"{body} ".partition(" concat ")
        drawn = body.split("|")
        if body.strip() != "-":
            counts[cell] = len(drawn)
        edges[cell] = {}
        for node, kept in enumerate(drawn, INPUTS):
            for edge in kept.split():
                if edge == "-":
                    continue
                operation, at, source = edge.partition("@")
                if not at or not _is_number(source):
                    raise ValueError(f"genotype edge {edge!r}: expected operation@source")
                if (node, int(source)) in edges[cell]:
                    raise ValueError(
                        f"genotype has the edge {cell}/{node}-{source} twice; give one operation "
                        "per edge"
                    )
                edges[cell][node, int(source)] = operation
        if clause:
            if not all(map(_is_number, joined.split())):
                raise ValueError(f"genotype has 'concat {joined.strip()}': expected node numbers")
            concat[cell] = tuple(int(word) for word in joined.split())
    if len(edges) < len(CELLS):
        raise ValueError(f"genotype {text[:40]!r}: expected one normal and one reduce cell")
    if len(set(counts.values())) > 1:
        told = " and ".join(f"a {cell} cell of {counts[cell]}" for cell in CELLS)
        raise ValueError(f"genotype has {told} nodes; give both cells equally many")
    return Cells(max(counts.values(), default=1), edges, concat)


def _bare(text: str) -> str:
    """Return the text on one line, without comments and surrounding quotes."""
    return " ".join(uncommented(text).split()).strip("'\"")


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 4


def write(cells: Cells) -> str:
    """Return the cells in this notation, on one line."""
    return "; ".join(f"{cell} {_written(cells, cell)}" for cell in CELLS)


def _written(cells: Cells, cell: str) -> str:
    nodes = []
    for node in range(INPUTS, INPUTS + cells.nodes):
        edges = sorted(
            (s, operation) for (n, s), operation in cells.edges[cell].items() if n == node
        )
        nodes.append(" ".join(f"{operation}@{source}" for source, operation in edges) or "-")
    joined = cells.partly_joined.get(cell, ())
    return " | ".join(nodes) + "".join([" concat", *(f" {node}" for node in joined)] * bool(joined))
