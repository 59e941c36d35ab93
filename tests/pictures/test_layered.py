"""The layout as properties over random cells."""

from itertools import combinations, pairwise

import pytest
from cells import DARTS_V2, all_edges
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.pictures.graph import Graph
from nasrun.pictures.layered import layout

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


def test_inputs_nodes_and_output_are_placed_each_once():
    graph = Graph.of([("c_{k-2}", "0", "a"), ("0", "2", "b"), ("2", "c_{k}", "")])
    assert set(layout(graph).nodes) == {"c_{k-2}", "c_{k-1}", "0", "2", "c_{k}"}
