"""NAS-Bench-201's cells in the notations of its authors and others.

    |nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|

The released code logs them in this form, as `Structure(4 nodes with ...)`. The lists of nodes in
its genotypes.py are read, too, NATS-Bench's numbers of cells (2009.00437), and the names of
TransNAS-Bench-101's cells (2105.11871), `64-41414-1_02_333`: digits of operations, node by node.
"""

from __future__ import annotations

import random
import re
from typing import Any

from nasrun.spaces.notation.literals import NotRead, WrittenCall, only

FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
NODES = 4
EDGES = tuple((node, source) for node in range(1, NODES) for source in range(node))
"""Edges (node, source) of a cell, node-major as in the released code; node 0 is the input."""
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""Operations in the order of the released code, by which cells are numbered."""
CELLS = len(OPERATIONS) ** len(EDGES)

NAMED = re.compile(r"\d+-\d+-([0-3])_([0-3]{2})_([0-3]{3})")
STRING = re.compile(r"\|(?:[^|+\s]+\|)+(?:\s*\+\s*\|(?:[^|+\s]+\|)+)*")
LISTS = re.compile(r"Structure\s*\(|\A\s*[\[(]")

Edges = dict[tuple[int, int], str]


def read(text: str) -> Edges:
    """Return the operations by edge from a text; ValueError says what is wrong with it."""
    word = "".join(text.split())
    if word.isascii() and word.isdigit():
        return numbered(int(word.lstrip("0")[:9] or "0"))
    if named := NAMED.fullmatch(word):
        digits = "".join(named.groups())
        return {edge: OPERATIONS[int(digit)] for edge, digit in zip(EDGES, digits, strict=True)}
    if "~" not in word and LISTS.search(text):
        return _of_lists(text)
    found = (match[0] for match in STRING.finditer(text))
    cells = {"".join(string.split()) for string in found if "~" in string}
    if not cells or STRING.fullmatch(word):
        return _of_string(word)
    if len(cells) > 1:
        raise ValueError(f"genotype: found {len(cells)} cells; leave only one in the file")
    return _of_string(cells.pop())


def numbered(index: int) -> Edges:
    """Return NATS-Bench's cell `index`: it numbers all cells after shuffling with seed 88."""
    if not 0 <= index < CELLS:
        raise ValueError(f"genotype={index}: the cells of NATS-Bench are numbered 0 to {CELLS - 1}")
    order = list(range(CELLS))
    random.Random(88).shuffle(order)
    rank, found = order[index], []
    for _ in EDGES:
        rank, operation = divmod(rank, len(OPERATIONS))
        found.append(OPERATIONS[operation])
    return dict(zip(EDGES, reversed(found), strict=True))


def _of_string(text: str) -> Edges:
    edges: Edges = {}
    for node, part in enumerate(text.split("+"), 1):
        if len(part) < 3 or part[0] != "|" or part[-1] != "|":
            raise ValueError(f"genotype {text[:40]!r}: expected {FORM}")
        for edge in part[1:-1].split("|"):
            operation, tilde, source = edge.partition("~")
            if not tilde or not source.isascii() or not source.isdigit():
                raise ValueError(
                    f"genotype edge {edge!r} of node {node}: expected operation~source"
                )
            _add(edges, node, int(source[:9]), operation)
    return edges


def _of_lists(text: str) -> Edges:
    """Parse [(('nor_conv_3x3', 0),), (('nor_conv_3x3', 0), ('nor_conv_3x3', 1)), ...]."""
    if all(part.isdigit() for part in re.split(r"[\s,]+", text.strip(" \n\t,()[]"))):
        raise ValueError(
            f"genotype {text.strip()[:40]!r}: tools count operations in different orders; give "
            f"{FORM}"
        )
    try:
        value = only(text, LISTS)
    except NotRead as error:
        raise ValueError(f"genotype: {error}; expected {FORM}") from error
    except ValueError as error:
        raise ValueError(f"genotype: {error}") from error
    nodes = value.arguments[0] if isinstance(value, WrittenCall) and value.arguments else value
    edges: Edges = {}
    for node, row in enumerate(nodes if isinstance(nodes, list | tuple) else [nodes], 1):
        if not isinstance(row, list | tuple) or not all(map(_is_edge, row)):
            raise ValueError(f"genotype has node {node}={str(row)[:40]}; expected {FORM}")
        for operation, source in row:
            _add(edges, node, source, operation)
    return edges


def _is_edge(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and isinstance(value[0], str)
        and type(value[1]) is int
    )


def _add(edges: Edges, node: int, source: int, operation: str) -> None:
    if (node, source) not in EDGES:
        raise ValueError(
            f"genotype edge '{operation}~{source}' of node {node}: expected an earlier node as "
            f"source, and at most {NODES} nodes"
        )
    if (node, source) in edges:
        raise ValueError(f"genotype has the edge cell/{node}-{source} twice; give one per edge")
    edges[node, source] = operation
