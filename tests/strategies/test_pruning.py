"""The knapsack of choices, on random costs."""

from itertools import product
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.costs.memory import Additive
from nasrun.strategies.pruning import fitting, halved, smallest, subspace


@st.composite
def problems(draw):
    names = [f"layer{i}" for i in range(draw(st.integers(1, 4)))]
    q, each = {}, {}
    for name in names:
        choices = [f"c{i}" for i in range(draw(st.integers(1, 5)))]
        raw = [draw(st.floats(0, 1)) for _ in choices]
        total = sum(raw) or 1.0
        q[name] = {c: p / total for c, p in zip(choices, raw, strict=True)}
        each[name] = {c: draw(st.integers(0, 100)) for c in choices}
        if draw(st.booleans()):
            q[name]["none"], each[name]["none"] = 0.5, 0
    return q, Additive(draw(st.integers(0, 50)), each)


@settings(max_examples=200, deadline=None)
@given(problems(), st.integers(0, 600), st.integers(1, 4))
def test_a_subspace_fits_and_keeps_one_to_most_choices_or_is_refused(problem, limit, most):
    q, memory = problem
    least = memory.base + sum(
        min(size for choice, size in row.items() if choice != "none")
        for row in memory.each.values()
    )
    if least > limit:
        with pytest.raises(ValueError, match=f"{least} bytes"):
            subspace(q, memory, limit, most)
        return
    kept = subspace(q, memory, limit, most)
    assert memory.of(kept) <= limit
    for name, row in q.items():
        assert 1 <= len(kept[name]) <= most
        assert set(kept[name]) <= set(row)
        assert any(choice != "none" for choice in kept[name])
    for name, row in q.items():  # nothing that could still be added is left out
        for choice in set(row) - set(kept[name]):
            full = len(kept[name]) == most
            assert full or memory.of(kept) + memory.each[name][choice] > limit
            for other in kept[name] if full and most > 1 else ():  # nor is a likelier one
                room = limit - memory.of(kept) + memory.each[name][other]
                alone = {choice, *kept[name]} - {other} == {"none"}
                likelier = row[choice] > max(row[other], 1e-12)
                assert not likelier or alone or memory.each[name][choice] > room


@given(problems(), st.integers(1, 4))
@settings(deadline=None)
def test_a_limit_that_everything_fits_into_changes_nothing(problem, most):
    q, memory = problem
    free = Additive(0, {name: dict.fromkeys(row, 0) for name, row in memory.each.items()})
    assert subspace(q, memory, 10**6, most) == subspace(q, free, float("inf"), most)


def test_a_choice_without_bytes_does_not_come_before_a_likelier_one():
    q = {"a": {"x": 0.5, "y": 0.3, "none": 0.1, "z": 0.1}, "b": {"x": 0.9, "y": 0.1}}
    memory = Additive(0, {"a": {"x": 10, "y": 10, "none": 0, "z": 10}, "b": {"x": 9, "y": 9}})
    assert subspace(q, memory, 100, 2)["a"] == ("x", "y")
    assert subspace(q, memory, 30, 2) == {"a": ("x", "y"), "b": ("x",)}  # not all fits


@given(problems(), st.integers(1, 4))
@settings(deadline=None)
def test_without_a_limit_the_likeliest_choices_are_kept(problem, most):
    q, memory = problem
    free = Additive(0, {name: dict.fromkeys(row, 0) for name, row in memory.each.items()})
    kept = subspace(q, free, float("inf"), most)
    for name, row in q.items():
        assert len(kept[name]) == min(most, len(row))
        operations = {c: p for c, p in row.items() if c != "none"}
        assert max(operations.values()) == max(row[c] for c in kept[name] if c != "none")


def test_mass_is_bought_where_it_is_cheapest():
    q = {"a": {"x": 0.6, "y": 0.4}, "b": {"x": 0.6, "y": 0.4}}
    memory = Additive(0, {"a": {"x": 10, "y": 100}, "b": {"x": 10, "y": 20}})
    assert subspace(q, memory, 45, 2) == {"a": ("x",), "b": ("x", "y")}


def test_what_is_too_large_gives_up_the_least_likelihood_for_a_byte():
    """ln(6/4) for 1 byte, ln(7/3) for 50 and ln 99 for 100: 0.405, 0.017 and 0.046 for each."""
    q = {"a": {"x": 0.6, "y": 0.4}, "b": {"x": 0.7, "y": 0.3}, "c": {"x": 0.99, "y": 0.01}}
    each = {"a": {"x": 10, "y": 9}, "b": {"x": 100, "y": 50}, "c": {"x": 200, "y": 100}}
    assert subspace(q, Additive(0, each), 305, 1) == {"a": ("x",), "b": ("y",), "c": ("x",)}


@given(problems(), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_the_greedy_network_is_the_likeliest_of_its_size_and_one_exchange_from_the_best(
    problem, share
):
    """A decision's exchanges follow its lower convex hull of loss over bytes, the least slope of
    all decisions first: the solution of the linear relaxation, but for the last exchange, which
    may save more than it has to.
    """
    q, memory = problem
    losses = {}
    for name, row in q.items():
        p = {choice: max(row[choice], 1e-12) for choice in row if choice != "none"}
        losses[name] = {choice: log(max(p.values()) / p[choice]) for choice in p}
    networks = [dict(zip(q, picked, strict=True)) for picked in product(*losses.values())]

    def size(network):
        return memory.base + sum(memory.each[n][choice] for n, choice in network.items())

    def lost(network):
        return sum(losses[n][choice] for n, choice in network.items())

    least, most = (extreme(map(size, networks)) for extreme in (min, max))
    limit = least + share * (most - least)
    ours = {name: choice for name, (choice,) in subspace(q, memory, limit, 1).items()}
    as_small = min(lost(rival) for rival in networks if size(rival) <= size(ours))
    best = min(lost(rival) for rival in networks if size(rival) <= limit)
    last = max(losses[n][choice] for n, choice in ours.items()) if best > 0 else 0.0
    assert size(ours) <= limit
    assert lost(ours) == pytest.approx(as_small, abs=1e-9)
    assert lost(ours) <= best + last + 1e-9


def test_half_of_the_choices_stay_and_those_of_the_subspace_among_them():
    q = {"a": {"x": 0.4, "y": 0.3, "z": 0.2, "w": 0.1}, "b": {"none": 0.6, "x": 0.4}}
    assert halved(q, {"a": ("w",), "b": ("x",)}) == {"a": ("x", "w"), "b": ("x",)}
    assert halved(q, {"a": ("x", "y", "z"), "b": ("x",)})["a"] == ("x", "y", "z")  # more than half


def test_a_subspace_shrinks_until_what_the_sum_does_not_know_fits_too():
    """A step needs 15 bytes more than the sum: 30 are too many for 40, 25 are not."""
    q = {name: {"x": 0.6, "y": 0.4} for name in "ab"}
    memory = Additive(0, {name: {"x": 10, "y": 5} for name in "ab"})

    def need(kept):
        return memory.of(kept) + 15

    kept, needed = fitting(q, memory, need, 40, aside=0, most=2)
    assert (sum(map(len, kept.values())), needed) == (3, 40)
    assert fitting(q, memory, need, 45, aside=0, most=2)[1] == 45
    too_small = fitting(q, memory, need, 5, aside=0, most=2)
    assert too_small == (smallest(memory.each), 25)
