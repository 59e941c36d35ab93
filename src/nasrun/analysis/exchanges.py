"""The accuracy of a supernet with two edges of every cell exchanged (DARTS-PT, 2108.04392).

It falls little if all layers refine the same estimate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from nasrun.analysis.kept import Once, now
from nasrun.display import watched
from nasrun.spaces.darts import Cell, CellNetwork
from nasrun.strategies.base import SupernetStrategy


def shuffled_accuracies(strategy: SupernetStrategy, times: int, once: Once = now) -> list[float]:
    """Return the validation accuracies of `times` random exchanges of two edges per cell."""
    network = exchangeable(strategy)
    generator = torch.Generator().manual_seed(0)
    found = []
    for time in watched(range(times), "exchanging edges", times):
        with exchanged(network, generator):
            found.append(once(lambda: strategy.validate()["accuracy"], "shuffled", time))
    return found


def exchangeable(strategy: SupernetStrategy) -> CellNetwork:
    """Return the search network; ValueError if it has no cells whose edges can be exchanged."""
    network = strategy.supernet.network
    if not isinstance(network, CellNetwork):
        raise ValueError(
            f"space={strategy.supernet.space.name}: only edges of DARTS cells can be exchanged; "
            "use shuffles=0"
        )
    return network


@contextmanager
def exchanged(network: CellNetwork, generator: torch.Generator) -> Iterator[None]:
    """Exchange candidates and alphas of two edges of equal stride in each cell, in the context."""
    cells = [cell for cell in network.cells if isinstance(cell, Cell)]
    pairs = [(cell.edges, _pair(cell.edges, cell.stride, generator)) for cell in cells]
    _exchange(pairs)
    try:
        yield
    finally:
        _exchange(pairs)


def _pair(edges: nn.ModuleDict, stride: int, generator: torch.Generator) -> tuple[str, str]:
    """Return two edges of equal stride; in a reduction, both from inputs or both from nodes."""
    kinds: dict[bool, list[str]] = {}
    for name in edges:
        kinds.setdefault(stride == 2 and name.partition("-")[2] in ("0", "1"), []).append(name)
    alike = max(kinds.values(), key=len)
    first, second = torch.randperm(len(alike), generator=generator)[:2].tolist()
    return alike[first], alike[second]


def _exchange(pairs: Sequence[tuple[nn.ModuleDict, tuple[str, str]]]) -> None:
    for edges, (first, second) in pairs:
        edges[first], edges[second] = edges[second], edges[first]
