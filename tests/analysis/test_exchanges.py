"""Edges that change places."""

import torch

from nasrun.analysis.exchanges import exchanged, shuffled_accuracies
from nasrun.runs.finished import load_search


def test_exchanged_edges_are_back_afterwards_and_only_like_ones_change_places(searched):
    strategy = load_search(searched)
    network = strategy.supernet.network
    for seed in range(5):
        places = [dict(cell.edges.items()) for cell in network.cells]
        with exchanged(network, torch.Generator().manual_seed(seed)):
            for cell, old in zip(network.cells, places, strict=True):
                moved = [name for name, edge in cell.edges.items() if edge is not old[name]]
                assert len(moved) == 2
                first, second = moved
                assert cell.edges[first] is old[second]
                if cell.stride == 2:
                    inner = [name.endswith("-2") for name in moved]
                    assert inner[0] == inner[1]
            network(torch.zeros(2, 1, 8, 8), strategy.supernet.mixture())
        assert places == [dict(cell.edges.items()) for cell in network.cells]
    plain = strategy.validate()
    found = shuffled_accuracies(strategy, 4)
    assert len(found) == 4
    assert strategy.validate() == plain
