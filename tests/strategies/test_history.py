"""A search's history: sizes, the frontier, stopping below a size, and the watchdog."""

import json
import warnings
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.genotype import NONE, Genotype
from nasrun.spaces.darts import DartsSpace
from nasrun.strategies.history import (
    History,
    Snapshot,
    StopAtSize,
    Watchdog,
    best_per_size,
    frontier,
    within,
)

OPERATIONS = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_5x5")
SPACE = DartsSpace(operations=OPERATIONS, nodes=2, kept_edges=2, channels=4, layers=3)
MILD = Watchdog(skip_share=0.75, free_share=1.0, patience=1, on_collapse="warn")


def record(round, accuracy=0.5, params=100, size=(2, 2), skip=0.0, free=0.5):
    return Snapshot(round, Genotype("darts", {}), accuracy, params, size, skip, free)


def history(watchdog=MILD, stop=None):
    return History(SPACE, inputs=3, outputs=10, watchdog=watchdog, stop=stop)


def supernet(text):
    """A stand-in for a supernet with what a history needs: an architecture by a rule."""
    return SimpleNamespace(genotype=lambda rule: SPACE.parse(text))


CONVOLUTIONS = (
    "normal sep_conv_3x3@0 dil_conv_5x5@1 | skip_connect@0 sep_conv_3x3@1;"
    "reduce max_pool_3x3@0 max_pool_3x3@1 | skip_connect@0 dil_conv_5x5@2"
)
POOLS = (
    "normal skip_connect@0 skip_connect@1 | skip_connect@0 skip_connect@1;"
    "reduce max_pool_3x3@0 max_pool_3x3@1 | max_pool_3x3@0 skip_connect@2"
)


# What a round is


@pytest.mark.parametrize("kept", [2, 5])
def test_an_architecture_has_none_only_where_a_limit_drops_edges(kept):
    """With 5 kept edges a cell of two nodes keeps all of them, and the space has no limits."""
    space = DartsSpace(operations=OPERATIONS, nodes=2, kept_edges=kept, channels=4, layers=3)
    found = History(space, inputs=3, outputs=10, watchdog=None, stop=None)
    row = {"none": 0.6, "max_pool_3x3": 0.3, "skip_connect": 0.1}
    probabilities = {decision.name: row for decision in space.decisions}
    dropped = list(found.rule(space, probabilities).values()).count(NONE)
    assert (bool(space.limits), dropped) == ((True, 2) if kept == 2 else (False, 0))


def test_a_round_has_the_sizes_and_shares_of_its_architecture():
    found = history()
    logged = found.add(1, supernet(CONVOLUTIONS), 0.25)
    (noted,) = found.records
    assert noted.size == (3, 1)
    assert noted.skip_share == 1 / 4  # one of four edges, in either cell type
    assert noted.free_share == 4 / 8
    assert noted.accuracy == 0.25
    assert logged == {
        "params": float(noted.params),
        "size_normal": 3.0,
        "size_reduce": 1.0,
        "skip_share": 0.25,
        "free_share": 0.5,
    }


def test_the_share_of_skips_is_that_of_the_worse_cell_type():
    with warnings.catch_warnings(record=True):
        found = history()
        found.add(1, supernet(POOLS), 0.25)
    assert found.records[0].skip_share == 1.0
    assert found.records[0].free_share == 1.0
    assert found.records[0].size == (0, 0)


def test_parameters_are_those_of_the_published_network():
    """The formula of the fact sheet: 36 channels, 20 cells of which the 7th and 14th reduce."""
    found = history(watchdog=None)
    found.add(1, supernet(CONVOLUTIONS), 0.5)

    def operation(name, c):
        if name.startswith("sep"):
            return 2 * (int(name[-1]) ** 2 * c + c * c) + 4 * c
        if name.startswith("dil"):
            return int(name[-1]) ** 2 * c + c * c + 2 * c
        return 0

    cells = SPACE.cells(SPACE.parse(CONVOLUTIONS))
    total, c, before, prev = 3 * 27 * 36 + 2 * 3 * 36, 36, 108, 108
    for layer in range(20):
        reduces = layer in (6, 13)
        c *= 2 if reduces else 1
        total += before * c + 2 * c + prev * c + 2 * c  # a factorised reduction has as many
        for source, _, name in cells["reduce" if reduces else "normal"]:
            total += operation(name, c)
            if reduces and name == "skip_connect" and source.startswith("c_"):
                total += c * c + 2 * c
        before, prev = prev, 2 * c
    total += 10 * prev + 10
    assert found.records[0].params == total


def test_counting_parameters_draws_no_random_numbers():
    """Else an interrupted search, which counts again, would end otherwise."""
    state = torch.get_rng_state()
    history().add(1, supernet(CONVOLUTIONS), 0.5)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_history_survives_a_saved_state_to_the_bit():
    found, other = history(), history()
    found.add(1, supernet(CONVOLUTIONS), 0.1 + 0.2)
    with pytest.warns(UserWarning, match="round 2: the search collapses"):
        found.add(2, supernet(POOLS), 1 / 3)
    other.load_state_dict(json.loads(json.dumps(found.state_dict())))
    assert other.records == found.records
    assert json.dumps(other.state_dict()) == json.dumps(found.state_dict())
    assert other.report() == found.report()


def test_an_empty_architecture_counts_as_free_of_weights():
    found = history(watchdog=None)
    empty = Genotype("darts", dict.fromkeys(SPACE.rows, NONE))
    found.add(1, SimpleNamespace(genotype=lambda rule: empty), 0.1)
    assert found.records[0].free_share == 1.0
    assert found.records[0].skip_share == 0.0


# The frontier

records = st.lists(
    st.builds(
        record,
        round=st.integers(1, 50),
        accuracy=st.sampled_from([0.1, 0.2, 0.3, 0.4]),
        params=st.integers(1, 6),
        size=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    ),
    max_size=12,
)


def beats(one, other):
    better = one.params <= other.params and one.accuracy >= other.accuracy
    return better and (one.params < other.params or one.accuracy > other.accuracy)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(records)
def test_the_frontier_is_exactly_what_nothing_beats(found):
    best = frontier(found)
    undominated = [one for one in found if not any(beats(other, one) for other in found)]
    points = {(one.params, one.accuracy) for one in undominated}
    assert {(one.params, one.accuracy) for one in best} == points
    assert len(best) == len(points)
    assert all(one in found for one in best)
    assert [one.params for one in best] == sorted(one.params for one in best)
    for one in best:  # of equals the first round
        equals = [o.round for o in found if (o.params, o.accuracy) == (one.params, one.accuracy)]
        assert one.round == min(equals)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(records)
def test_the_best_of_a_size_is_the_first_of_the_most_accurate(found):
    best = best_per_size(found)
    assert {one.size for one in best} == {one.size for one in found}
    assert len({one.size for one in best}) == len(best)
    for one in best:
        same = [other for other in found if other.size == one.size]
        assert one == next(o for o in same if o.accuracy == max(s.accuracy for s in same))


def test_the_report_marks_what_is_on_the_frontier():
    found = history(watchdog=None)
    found.records = [
        record(1, 0.8, 300, (3, 0)),
        record(2, 0.9, 200, (2, 0)),
        record(3, 0.7, 100, (1, 0)),
    ]
    found.space = SimpleNamespace(render=lambda genotype: "")
    marks = {tuple(row["size"]): row["frontier"] for row in found.report()["sizes"]}
    assert marks == {(1, 0): True, (2, 0): True, (3, 0): False}
    assert "stopped" not in found.report()


# Stopping


def reasons(rule, found):
    return [rule.reason(found[:count]) is not None for count in range(1, len(found) + 1)]


def test_a_target_size_that_is_jumped_over_still_stops_the_search():
    sizes = [(8, 1), (7, 0), (5, 0), (5, 0)]  # never (6, 0)
    found = [record(round, size=size) for round, size in enumerate(sizes, 1)]
    rule = StopAtSize(size=[6, 0], patience=1)
    assert reasons(rule, found) == [False, False, True, True]
    assert rule.reason(found[:3]) == "stopped after round 3: size [5, 0], asked for [6, 0]"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4)), min_size=1, max_size=20),
    st.tuples(st.integers(0, 8), st.integers(0, 4)),
    st.integers(1, 4),
)
def test_a_search_stops_at_the_first_round_that_ends_enough_small_ones(sizes, target, patience):
    found = [record(round, size=size) for round, size in enumerate(sizes, 1)]
    rule, run, expected = StopAtSize(size=target, patience=patience), 0, []
    for n, r in sizes:
        run = run + 1 if n <= target[0] and r <= target[1] else 0
        expected.append(run >= patience)
    assert reasons(rule, found) == expected


def test_all_cell_types_must_be_small():
    assert within((6, 0), (6, 0))
    assert not within((5, 1), (6, 0))
    assert not within((7, 0), (6, 3))


@pytest.mark.parametrize(
    ("size", "patience"), [([], 1), ([-1, 0], 1), ([6, 0], 0)], ids=["none", "negative", "patience"]
)
def test_an_impossible_target_is_refused(size, patience):
    with pytest.raises(ValueError, match=f"patience={patience}"):
        StopAtSize(size=size, patience=patience)


def test_a_target_for_other_cell_types_is_refused():
    with pytest.raises(ValueError, match=r"stop\.size=\[6\].*2 cell types"):
        history(stop=StopAtSize(size=[6], patience=1))


# The watchdog


@pytest.mark.parametrize(
    ("skip", "free", "collapsed"),
    [(0.74, 0.99, False), (0.75, 0.5, True), (0.0, 1.0, True), (1.0, 1.0, True)],
)
def test_a_round_is_collapsed_from_either_threshold_on(skip, free, collapsed):
    assert MILD.collapsed(record(1, skip=skip, free=free)) == collapsed


def test_a_collapse_is_said_once_after_it_has_lasted_and_again_when_it_returns():
    skips = [0.5, 0.8, 0.5, 0.8, 0.9, 1.0, 0.2, 0.8, 0.8]
    found = [record(round, skip=skip) for round, skip in enumerate(skips, 1)]
    rule = Watchdog(skip_share=0.75, free_share=1.0, patience=2, on_collapse="warn")
    said = [rule.alarm(found[:count]) for count in range(1, len(found) + 1)]
    assert [alarm is not None for alarm in said] == [round in (5, 9) for round in range(1, 10)]
    assert said[4].startswith("round 5: the search collapses, 90% skip connections")
    assert "\n" not in said[4]
    assert not any(reasons(rule, found))


def test_a_watchdog_that_stops_does_so_when_it_would_warn():
    rule = Watchdog(skip_share=0.75, free_share=1.0, patience=2, on_collapse="stop")
    found = [record(round, skip=0.8) for round in (1, 2)]
    assert reasons(rule, found) == [False, True]
    assert rule.reason(found).startswith("stopped after round 2: the search collapses")


def test_a_collapse_is_a_warning_and_part_of_the_report():
    found = history()
    found.add(1, supernet(CONVOLUTIONS), 0.5)
    assert found.alarms == []
    assert "alarms" not in found.report()
    with pytest.warns(UserWarning, match="round 2: the search collapses, 100% skip"):
        found.add(2, supernet(POOLS), 0.5)
    assert found.report()["alarms"] == found.alarms
    assert len(found.alarms) == 1
    assert found.stopped is None


@pytest.mark.parametrize(
    ("key", "value"), [("skip_share", 0.0), ("free_share", 1.5), ("patience", 0)]
)
def test_impossible_thresholds_are_refused(key, value):
    settings = {"skip_share": 0.75, "free_share": 1.0, "patience": 1, "on_collapse": "warn"}
    with pytest.raises(ValueError, match=f"{key}={value}"):
        Watchdog(**{**settings, key: value})
