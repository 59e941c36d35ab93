"""Cells as DARTS and its successors write them: a list of (operation, source) per cell.

    Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6),
             reduce=[...], reduce_concat=range(2, 6))

This is the form of DARTS's genotypes.py (1806.09055). Variants that are read, too: pt.darts has a
list per node; GDAS and AutoDL have a weight as third part, and AutoDL prints a dict; SNAS logs all
edges; FairDARTS (1911.12126) has (operation, node, source). FairDARTS's network joins only nodes
with an edge into them, and leaves out edges from other nodes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from nasrun.spaces.notation import nni
from nasrun.spaces.notation.cells import CELLS, INPUTS, Cells
from nasrun.spaces.notation.literals import NotRead, WrittenCall, only

START = re.compile(r"Genotype\s*\(|\{\s*['\"](?:normal|reduce)|\A\s*[\[{(]")
FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
FORM = "Genotype(normal=[('skip_connect', 0), ...], normal_concat=[2, ...], reduce=[...], ...)"

Edges = dict[tuple[int, int], str]


def read(text: str, per_node: int) -> Cells:
    """Return the cells of a text with one genotype; a flat list has `per_node` edges per node.

    ValueError says what is wrong with it.
    """
    try:
        value = only(text, START)
        if isinstance(value, dict) and nni.written(value):
            return nni.read(value)
        parts = _parts(value)
        cells = {cell: _cell(cell, parts, per_node) for cell in CELLS}
        if cells["normal"].nodes != cells["reduce"].nodes:
            counts = " and ".join(f"{cell} has {cells[cell].nodes} nodes" for cell in CELLS)
            raise ValueError(f"{counts}; give both cells equally many")
        return Cells(
            cells["normal"].nodes,
            {cell: cells[cell].edges[cell] for cell in CELLS},
            {cell: nodes for cell in CELLS for nodes in cells[cell].concat.values()},
        )
    except NotRead as error:
        raise ValueError(f"genotype: {error}; expected {FORM}") from error
    except ValueError as error:
        raise ValueError(f"genotype: {error}") from error


def _parts(value: Any) -> dict[str, Any]:
    """Return the fields by name, from a list, a dict or a call."""
    if isinstance(value, list | tuple):
        value = WrittenCall("Genotype", tuple(value))
    if isinstance(value, dict):
        value = WrittenCall("Genotype", words=value)
    if not isinstance(value, WrittenCall) or len(value.arguments) > len(FIELDS):
        raise NotRead("these are not two cells")
    given = FIELDS[: len(value.arguments)]
    if twice := [name for name in given if name in value.words]:
        raise ValueError(f"{twice[0]} is given twice")
    parts = dict(zip(given, value.arguments, strict=True)) | dict(value.words)
    if unknown := [name for name in parts if name not in FIELDS]:
        raise NotRead(f"{unknown[0][:40]} is not a field of a genotype")
    for cell in CELLS:
        if parts.get(cell) is None:
            raise ValueError(f"the {cell} cell is missing; give both")
    return parts


def _cell(cell: str, parts: Mapping[str, Any], per_node: int) -> Cells:
    """Return one cell."""
    listed, joined = parts[cell], parts.get(f"{cell}_concat")
    if not isinstance(listed, list | tuple) or not listed:
        raise NotRead(f"{cell}={str(listed)[:40]} is not a list of edges")
    if joined is not None and not (
        isinstance(joined, list | tuple)
        and all(type(node) is int for node in joined)
        and len(set(joined)) == len(joined) > 0
    ):
        raise ValueError(f"{cell}_concat={str(joined)[:40]}: give a list of nodes, each once")
    if all(map(_is_edge, listed)):
        if any(len(edge) == 3 and type(edge[2]) is int for edge in listed):
            return _placed(cell, listed, joined)
        rows: Sequence[Any] = _rows(cell, listed, joined, per_node)
    else:
        rows = listed
    edges: Edges = {}
    for node, row in enumerate(rows, INPUTS):
        if not isinstance(row, list | tuple) or not all(map(_is_edge, row)):
            raise NotRead(f"node {node} of {cell} is {str(row)[:40]}, not a list of edges")
        for operation, source, *_ in row:
            _add(edges, cell, node, source, operation)
    return Cells(len(rows), {cell: edges}, {} if joined is None else {cell: tuple(joined)})


def _is_edge(value: Any) -> bool:
    """Return whether a value is an operation with a source, and perhaps a weight or node."""
    return (
        isinstance(value, list | tuple)
        and len(value) in (2, 3)
        and isinstance(value[0], str)
        and type(value[1]) is int
        and all(type(number) in (int, float) for number in value[2:])
    )


def _add(edges: Edges, cell: str, node: int, source: int, operation: str) -> None:
    if (node, source) in edges:
        raise ValueError(f"{cell}/{node}-{source} is given twice; give one operation per edge")
    edges[node, source] = operation


def _rows(
    cell: str, listed: Sequence[Any], joined: Sequence[int] | None, per_node: int
) -> list[Sequence[Any]]:
    """Divide a flat list among the nodes: as many edges per node as the space keeps, or all.

    Node 2 has two edges at most, node 3 three. The joined nodes tell which of the two it is.
    """
    meant = max(joined) + 1 - INPUTS if joined else 0
    last = max(meant, len(listed)) + INPUTS  # no cell has more nodes than that
    nodes = range(INPUTS, last)
    counts = [min(per_node, node) for node in nodes]
    for other in range(1, meant + INPUTS):
        fits = [min(other, node) for node in nodes][:meant]
        if sum(fits) == len(listed) != sum(counts[:meant]):
            if other == nodes[meant - 1]:  # all edges
                counts = fits
                break
            raise ValueError(
                f"{cell} has {len(listed)} edges for {meant} nodes, {other} per node; set "
                f"space.kept_edges={other}"
            )
    rows, begin = [], 0
    for node, count in zip(nodes, counts, strict=False):
        if begin == len(listed):
            break
        if len(listed) - begin < count:
            name = f"{cell}/{node}-{listed[begin][1]}={listed[begin][0]}"
            raise ValueError(
                f"{len(listed)} edges are not {per_node} per node: {name} is left over; give "
                f"{per_node} per node, or set space.kept_edges"
            )
        rows.append(listed[begin : begin + count])
        begin += count
    return rows


def _placed(cell: str, listed: Sequence[Any], joined: Sequence[int] | None) -> Cells:
    """Return a cell in FairDARTS's form, (operation, node, source)."""
    edges: Edges = {}
    for edge in listed:
        if len(edge) != 3 or type(edge[2]) is not int:
            raise ValueError(
                f"{cell} has {edge}: give a node and a source for all edges or for none"
            )
        operation, node, source = edge
        _add(edges, cell, node, source, operation)
    there = {node for node, _ in edges}
    last = max([*there, *(joined or ())])
    kept = {
        (node, source): operation
        for (node, source), operation in edges.items()
        if source < INPUTS or source in there
    }
    if lost := sorted(there - {node for node, _ in kept}):
        raise ValueError(f"node {lost[0]} of {cell} reads only nodes without an edge into them")
    joined = [node for node in joined or there if node in there]
    return Cells(last + 1 - INPUTS, {cell: kept}, {cell: tuple(joined)})
