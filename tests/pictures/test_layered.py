"""The layout as properties over random cells."""

from graphlib import CycleError
from itertools import combinations, pairwise

import pytest
from cells import CHAIN, DARTS_V2, ONE_BACK, TWO_BACK, all_edges
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.pictures.layered import CELL_INPUTS, OUTPUT, Graph, layout

OPERATIONS = ("sep_conv_3x3", "dil_conv_5x5", "max_pool_3x3", "skip_connect", "other")


@st.composite
def random_cells(draw):
    """Any subset of the edges of a cell of up to five nodes; dead nodes included."""
    kept = [edge for edge in all_edges(draw(st.integers(1, 5))) if draw(st.booleans())]
    return [(source, target, draw(st.sampled_from(OPERATIONS))) for source, target, _ in kept]


def boxes(placed):
    return [*placed.nodes.values(), *(route.label for route in placed.routes if route.label)]


def overlap(one, other):
    return (
        2 * abs(one.x - other.x) < one.width + other.width
        and 2 * abs(one.y - other.y) < one.height + other.height
    )


def holds(box, x, y):
    return abs(x - box.x) < box.width / 2 and abs(y - box.y) < box.height / 2


def samples(route, steps=20):
    """Points of a route by the cubic Bezier formula, straight pieces included."""
    for number, ((x0, y0), (x1, y1)) in enumerate(pairwise(route.points)):
        middle = (x0 + x1) / 2
        for t in (step / steps for step in range(steps + 1)):
            if number % 2:
                a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
                yield a * x0 + (b + c) * middle + d * x1, (a + b) * y0 + (c + d) * y1
            else:
                yield x0 + t * (x1 - x0), y0


@settings(max_examples=60, deadline=None)
@given(random_cells())
def test_boxes_of_nodes_and_labels_do_not_overlap(edges):
    placed = layout(Graph.of(edges))
    for one, other in combinations(boxes(placed), 2):
        assert not overlap(one, other)


@settings(max_examples=60, deadline=None)
@given(random_cells())
def test_no_edge_runs_through_a_box_that_is_not_its_own(edges):
    placed = layout(Graph.of(edges))
    for route in placed.routes:
        source, target, _ = route.edge
        own = {placed.nodes[source], placed.nodes[target], route.label}
        others = [box for box in boxes(placed) if box not in own]
        for x, y in samples(route):
            assert not any(holds(box, x, y) for box in others)


@settings(max_examples=60, deadline=None)
@given(random_cells())
def test_everything_lies_inside_and_edges_run_from_left_to_right(edges):
    placed = layout(Graph.of(edges))
    for box in boxes(placed):
        assert box.x - box.width / 2 > -1e-9
        assert box.x + box.width / 2 < placed.width + 1e-9
        assert box.y - box.height / 2 > -1e-9
        assert box.y + box.height / 2 < placed.height + 1e-9
    for route in placed.routes:
        xs = [x for x, _ in route.points]
        assert xs == sorted(xs)
        source, target, _ = route.edge
        start, end = placed.nodes[source], placed.nodes[target]
        assert xs[0] == pytest.approx(start.x + start.width / 2)
        assert xs[-1] == pytest.approx(end.x - end.width / 2)
        assert abs(route.points[0][1] - start.y) < start.height / 2
        assert abs(route.points[-1][1] - end.y) < end.height / 2


@pytest.mark.parametrize("nodes", [4, 7])
def test_a_cell_with_all_edges_has_no_overlap(nodes):
    placed = layout(Graph.of(all_edges(nodes)))
    assert len(boxes(placed)) == nodes + 3 + nodes * (nodes + 3) // 2
    assert not any(overlap(one, other) for one, other in combinations(boxes(placed), 2))


def test_an_edge_lies_on_its_label():
    for route in layout(Graph.of(DARTS_V2["normal"])).routes:
        if route.label:
            assert any(y == route.label.y for _, y in route.points)


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
    assert set(layout(graph).nodes) == {*CELL_INPUTS, "0", "2", "3", OUTPUT}


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
