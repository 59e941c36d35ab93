"""Cells as NNI exports them to JSON, from its DARTS trainer or its space hub.

    {"normal_n2_p0": "sepconv3x3", "normal_n2_p1": [], "normal_n2_switch": ["normal_n2_p0"], ...}
    {"normal/op_2_0": "sep_conv_3x3", "normal/input_2_0": 0, ...}

In the trainer's form, operations and switches may also be numbers, or lists with one `true`. NNI
retrains pools with a batch norm behind them, ours have none there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nasrun.spaces.notation.cells import CELLS, INPUTS, Cells

OPERATIONS = {
    "maxpool": "max_pool_3x3",
    "avgpool": "avg_pool_3x3",
    "skipconnect": "skip_connect",
    "sepconv3x3": "sep_conv_3x3",
    "sepconv5x5": "sep_conv_5x5",
    "dilconv3x3": "dil_conv_3x3",
    "dilconv5x5": "dil_conv_5x5",
    "none": "none",
}
"""Our names by NNI's, in the order of the exported numbers."""
TRAINED = re.compile(r"(normal|reduce)_n(\d{1,3})_(?:p(\d{1,3})|switch)")
HUB = re.compile(r"(normal|reduce)/(op|input)_(\d{1,3})_(\d{1,3})")
BESIDE = ("width", "depth")
"""Further keys of the hub's export: the size of the network."""

Edges = dict[tuple[int, int], str]


def written(value: Mapping[str, Any]) -> bool:
    """Return whether a value has the keys of an export."""
    return any(TRAINED.fullmatch(key) or HUB.fullmatch(key) for key in value)


def read(value: Mapping[str, Any]) -> Cells:
    """Return the cells of an export; ValueError says what is wrong with it."""
    read_key = _of_hub if any(map(HUB.fullmatch, value)) else _trained
    edges: dict[str, Edges] = {cell: {} for cell in CELLS}
    numbers = set()
    for key in value:
        found = (HUB if read_key is _of_hub else TRAINED).fullmatch(key)
        if found is None:
            if key in BESIDE:
                continue
            raise ValueError(f"{key} is not a key of a cell; leave it out")
        edge = read_key(found, value)
        numbers.add(int(found[2] if read_key is _trained else found[3]))
        if edge is None:
            continue
        node, source, operation = edge
        if (node, source) in edges[found[1]]:
            raise ValueError(
                f"{found[1]}/{node}-{source} is given twice; give one operation per edge"
            )
        edges[found[1]][node, source] = operation
    nodes = range(INPUTS, INPUTS + len(numbers))
    if numbers != set(nodes):
        raise ValueError(f"found nodes {sorted(numbers)}; expected {list(nodes)}")
    return Cells(len(nodes), edges)


def _trained(found: re.Match[str], value: Mapping[str, Any]) -> tuple[int, int, str] | None:
    """Return the edge of a key `normal_n3_p1`; `None` for a switch or an edge switched off."""
    cell, node, source = found.groups()
    if source is None or value[found[0]] == []:
        return None
    switch = value.get(f"{cell}_n{node}_switch")
    if switch is not None:
        if not isinstance(switch, list):
            raise ValueError(f"{cell}_n{node}_switch={str(switch)[:40]} is not a list; give one")
        masked = bool(switch) and all(isinstance(each, bool) for each in switch)
        on = [number for number, each in enumerate(switch) if each] if masked else switch
        if int(source) not in on and found[0] not in on:
            return None
    return int(node), int(source), _operation(found[0], value[found[0]])


def _operation(key: str, choice: Any) -> str:
    names = list(OPERATIONS)
    if isinstance(choice, list) and sum(each is True for each in choice) == 1:
        choice = choice.index(True)
    if type(choice) is int and 0 <= choice < len(names):
        choice = names[choice]
    if not isinstance(choice, str) or choice not in OPERATIONS:
        raise ValueError(f"{key}={str(choice)[:40]}: expected one of {', '.join(names)}")
    return OPERATIONS[choice]


def _of_hub(found: re.Match[str], value: Mapping[str, Any]) -> tuple[int, int, str] | None:
    """Return the edge of a key `normal/op_3_1`; `None` for the key of an input."""
    cell, kind, node, slot = found.groups()
    if kind == "input":
        return None
    source = value.get(f"{cell}/input_{node}_{slot}")
    if isinstance(source, list) and len(source) == 1:
        source = source[0]
    operation = value[found[0]]
    if type(source) is not int or not isinstance(operation, str):
        raise ValueError(f"{found[0]}: expected an operation, and one input in {cell}/input_...")
    return int(node), source, operation
