"""Choosing a round of a search: by size, by parameters, by accuracy, by health."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import context

from nasrun.genotype import Genotype
from nasrun.selectors.recorded import AtLeast, Frontier, Healthy
from nasrun.strategies.base import SupernetStrategy
from nasrun.strategies.history import Snapshot, Watchdog, frontier

WATCHDOG = Watchdog(skip_share=0.75, free_share=1.0, patience=1, on_collapse="warn")


def record(round, accuracy=0.5, params=100, size=(2, 2), skip=0.0, free=0.5):
    genotype = Genotype("toy", {"a": str(round)})
    return Snapshot(round, genotype, accuracy, params, size, skip, free)


class Ended(SupernetStrategy):
    rounds = run_round = state_dict = load_state_dict = finish = None
    begin = masked = tune = skip_ahead = None


def chosen(selector, *records, watchdog=WATCHDOG, limits=None):
    strategy = Ended.__new__(Ended)
    space = SimpleNamespace(groups=("normal", "reduce"), render=lambda genotype: genotype["a"])
    strategy.watchdog, strategy.key = watchdog, "strategy"
    strategy.history = SimpleNamespace(records=list(records), watchdog=watchdog, space=space)
    selector.begin(context(space, limits=limits), strategy)
    assert selector.rounds == 0
    assert selector.done
    return selector


SHRINKING = (
    record(1, 0.60, 390, (7, 0)),
    record(2, 0.70, 350, (6, 0)),
    record(3, 0.65, 350, (6, 0)),
    record(4, 0.80, 280, (4, 0)),
    record(5, 0.75, 270, (4, 0)),
    record(6, 0.78, 190, (2, 0)),
)


def rounds(selector, *records, **settings):
    return int(chosen(selector, *records, **settings).genotype["a"])


@pytest.mark.parametrize(
    ("size", "max_params", "round"),
    [
        (None, None, 4),
        ([6, 0], None, 2),
        ([4, 0], None, 4),
        ([4, 0], 275, 5),
        (None, 279, 6),
        ([2, 0], None, 6),
        ([7, 0], 390, 1),
    ],
)
def test_the_frontier_gives_any_size_and_any_number_of_parameters(size, max_params, round):
    assert rounds(Frontier(size=size, max_params=max_params), *SHRINKING) == round


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.2, 0.3]), st.integers(1, 5)), min_size=1, max_size=10
    ),
    st.integers(1, 5),
)
def test_what_is_chosen_is_affordable_and_nothing_affordable_is_better(points, limit):
    found = [record(n, accuracy, params) for n, (accuracy, params) in enumerate(points, 1)]
    affordable = [one for one in found if one.params <= limit]
    if not affordable:
        return
    picked = found[rounds(Frontier(size=None, max_params=limit), *found) - 1]
    assert picked in frontier(affordable)
    assert picked.accuracy == max(one.accuracy for one in affordable)


def test_a_size_that_the_search_never_had_is_refused_with_those_it_had():
    with pytest.raises(ValueError, match=r"selector\.size=\[5, 0\].*\[4, 0\] with 280 parameters"):
        chosen(Frontier(size=[5, 0], max_params=None), *SHRINKING)
    with pytest.raises(ValueError, match=r"selector\.max_params=100: no round"):
        chosen(Frontier(size=None, max_params=100), *SHRINKING)


@pytest.mark.parametrize(("size", "round"), [([6, 0], 3), ([5, 0], 3), ([0, 0], 6), ([7, 0], 1)])
def test_the_last_round_of_at_least_a_size_is_found_however_far_the_search_jumped(size, round):
    assert rounds(AtLeast(size=size), *SHRINKING) == round


def test_a_size_that_no_round_reached_is_refused():
    with pytest.raises(ValueError, match=r"selector\.size=\[8, 0\].*the first round has \[7, 0\]"):
        chosen(AtLeast(size=[8, 0]), *SHRINKING)
    with pytest.raises(ValueError, match=r"selector\.size=\[8\]: use 2 numbers"):
        chosen(AtLeast(size=[8]), *SHRINKING)
    with pytest.raises(ValueError, match=r"selector\.size=\[8\]: use 2 numbers"):
        chosen(Frontier(size=[8], max_params=None), *SHRINKING)


def test_any_size_is_the_last_round_s():
    assert rounds(AtLeast(size=None), *SHRINKING) == 6


def test_a_round_within_the_limits_is_taken_or_an_exchanged_one_is_said_to_be():
    def within(*allowed):
        selector = Frontier(size=None, max_params=None)
        limits = SimpleNamespace(allow=lambda genotype: int(genotype["a"]) in allowed)
        return chosen(selector, *SHRINKING, limits=limits)

    assert within(2, 3).genotype["a"] == "2"
    assert within(2, 3).report(None)["size"] == [6, 0]
    report = within().report(None)
    assert "size" not in report
    assert "operations exchanged" in report["note"]


def test_the_last_healthy_round_is_the_one_before_the_collapse():
    found = [record(1), record(2, skip=0.8), record(3, skip=0.7), record(4, free=1.0)]
    assert rounds(Healthy(), *found) == 3
    assert rounds(Healthy(), *found[:3]) == 3
    assert rounds(Healthy(), *found[:2]) == 1


def test_of_collapsed_rounds_only_the_least_collapsed_is_taken():
    found = [record(1, skip=1.0), record(2, skip=0.8), record(3, skip=0.8), record(4, skip=0.9)]
    assert rounds(Healthy(), *found) == 3


def test_without_a_watchdog_no_round_is_healthy():
    with pytest.raises(ValueError, match=r"selector=healthy.*strategy\.watchdog=null"):
        chosen(Healthy(), record(1), watchdog=None)


def test_the_result_says_which_round_it_was():
    report = chosen(Frontier(size=None, max_params=None), *SHRINKING).report(None)
    assert report["round"] == 4
    assert report["size"] == [4, 0]
    assert "round 4, size [4, 0]" in report["note"]
    assert "80.00%" in report["note"]


@pytest.mark.parametrize("size", [[], [-1, 0]])
def test_impossible_sizes_are_refused(size):
    for make in (lambda: AtLeast(size=size), lambda: Frontier(size=size, max_params=None)):
        with pytest.raises(ValueError, match="size="):
            make()
    with pytest.raises(ValueError, match="max_params=0"):
        Frontier(size=None, max_params=0)
