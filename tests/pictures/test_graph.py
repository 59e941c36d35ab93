"""A cell's edges as a graph."""

from graphlib import CycleError

import pytest
from cells import CHAIN, DARTS_V2, ONE_BACK, TWO_BACK

from nasrun.pictures.graph import CELL_INPUTS, OUTPUT, Graph


def test_nodes_stand_by_their_longest_path():
    columns = Graph.of(DARTS_V2["normal"]).columns
    assert columns == {TWO_BACK: 0, ONE_BACK: 0, "0": 1, "1": 1, "2": 1, "3": 2, OUTPUT: 3}


def test_a_node_without_edges_counts_and_feeds_the_output():
    graph = Graph.of([(TWO_BACK, "0", "skip_connect"), ("0", "2", "skip_connect")])
    assert graph.dead == {"1"}
    assert {source for source, target, _ in graph.edges if target == OUTPUT} == {"0", "1", "2"}
    assert graph.inputs == CELL_INPUTS


def test_a_cell_that_joins_some_nodes_leads_only_from_them_to_its_output():
    edges = [("c_{k-2}", "0", "a"), ("0", "2", "b"), ("c_{k-1}", "3", "c"), ("2", OUTPUT, ""),
             ("3", OUTPUT, "")]  # fmt: skip
    graph = Graph.of(edges)
    assert graph.nodes == ("0", "2", "3", OUTPUT)
    assert graph.edges == tuple(edges)
    assert graph.inputs == CELL_INPUTS
    assert graph.dead == set()


def test_other_inputs_are_the_names_that_no_edge_leads_to():
    graph = Graph.of([("image", "0", "a"), ("features", "1", "b"), ("0", "1", "c")])
    assert graph.inputs == ("image", "features")


def test_a_chain_has_no_concatenation_and_is_cut_into_rows():
    graph = Graph.of(CHAIN)
    assert graph.inputs == ("layer00",)
    assert OUTPUT not in graph.nodes
    assert [edge for row in graph.rows() for edge in row.edges] == CHAIN
    assert len(graph.rows()) == 3


def test_a_cell_from_in_to_out_has_no_concatenation():
    edges = [("in", "2", "skip_connect"), ("1", "2", "nor_conv_3x3"), ("2", "out", "avg_pool_3x3")]
    graph = Graph.of(edges)
    assert graph.inputs == ("in",)
    assert graph.nodes == ("1", "2", "out")
    assert graph.edges == tuple(edges)
    assert graph.dead == {"1"}
    assert Graph.of([("in", "1", "skip_connect")]).dead == {"out"}
    assert Graph.of([("1", "out", "skip_connect")]).inputs == ("in",)


def test_a_cycle_is_refused():
    with pytest.raises(CycleError):
        Graph.of([("0", "1", "a"), ("1", "0", "b")]).columns  # noqa: B018
