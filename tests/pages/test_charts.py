"""Places of lines, dots and ticks."""

import math
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.pages.charts import (
    HEIGHT,
    MOST,
    WIDTH,
    Look,
    Ruler,
    Series,
    Strip,
    lines,
    means,
    strips,
)

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def places(path):
    numbers = [float(text) for text in NUMBER.findall(path)]
    return [*zip(numbers[::2], numbers[1::2], strict=True)]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=30),
    st.booleans(),
)
def test_every_value_lies_on_its_axis_and_in_its_order(values, logarithmic):
    if logarithmic:
        values = [abs(value) + 1e-3 for value in values]
    axis = Ruler.over(values, 50, 350, logarithmic=logarithmic)
    at = [axis.at(value) for value in sorted(values)]
    assert at == sorted(at)
    assert all(50 <= place <= 350 for place in at)
    assert all(50 <= place <= 350 for place, _ in axis.marks)
    assert len(axis.marks) <= 8
    assert len({label for _, label in axis.marks}) == len(axis.marks)


def test_a_number_that_is_not_finite_is_a_gap_and_a_number_alone_is_a_dot():
    curve = [(1, 1.0), (2, 2.0), (3, math.nan), (4, 1.5), (5, math.inf)]
    chart = lines("Loss", "", [Series("train", Look(0), [curve])])
    whole, dot = chart.drawn
    assert whole.classes == "line c0 d0"
    assert len(places(whole.path)) == 2
    assert dot.classes == "dot c0 d0"
    assert lines("Loss", "", [Series("train", Look(0), [[(1, math.nan)]])]) is None


def test_the_bold_line_is_the_mean_of_the_runs_where_all_have_a_number():
    curves = [[(1, 1.0), (2, 2.0), (3, 9.0)], [(1, 3.0), (2, 6.0)]]
    assert means(curves) == [(1, 2.0), (2, 4.0)]
    chart = lines("Loss", "nats", [Series("train", Look(2), curves)])
    assert [part.classes for part in chart.drawn] == ["line seed c2 d0"] * 2 + ["line c2 d0"]
    assert chart.words == (
        "Loss, nats, by round. train: 2 in round 1, 4 in round 2, mean of 2 runs."
    )


def test_a_long_line_is_thinned_and_keeps_its_end():
    curve = [(place, float(place)) for place in range(1, 5 * MOST)]
    chart = lines("Loss", "", [Series("", Look(0), [curve])])
    drawn = places(chart.drawn[0].path)
    assert len(drawn) <= MOST + 1
    assert drawn[-1] == (chart.along.at(curve[-1][0]), chart.up.at(curve[-1][1]))
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in drawn)


def test_a_strip_has_a_dot_per_run_and_a_line_at_their_mean():
    rows = [Strip("a", Look(0), [1.0, 2.0, 6.0], "3"), Strip("b", Look(1), [], "–")]
    chart = strips("Every run", "Accuracy on digits", "%", rows)
    kinds = [part.classes.split()[0] for part in chart.drawn]
    assert kinds == ["rule", "mean", "dot", "dot", "dot", "rule"]
    assert float(NUMBER.findall(chart.drawn[1].path)[0]) == chart.along.at(3.0)
    assert "a: 3." in chart.words


def test_long_labels_have_room_beside_the_axis():
    short, long = (
        lines("Entropy", "nats", [Series("", Look(0), [[(1, low), (2, low + 0.00003)]])])
        for low in (2, 29.1118)
    )
    assert short.along.start >= 50
    label = max(len(text) for _, text in long.up.ticks)
    assert long.along.start >= 6 + 6.5 * label > 50
