"""The knapsack of choices, on random costs."""

from itertools import product
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.memory import Additive
from nasrun.strategies.pruning import subspace


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


@given(problems(), st.integers(0, 600))
@settings(max_examples=60, deadline=None)
def test_the_greedy_choice_holds_at_least_half_of_the_best_mass(problem, limit):
    """Not a theorem of this knapsack, but what it has to be worth on small ones."""
    q, memory = problem
    try:
        kept = subspace(q, memory, limit, 1)
    except ValueError:
        return

    def mass(chosen):
        return sum(log(max(q[name][c], 1e-12)) for name, c in chosen.items())

    rivals = [
        dict(zip(q, picked, strict=True))
        for picked in product(*([c for c in row if c != "none"] for row in q.values()))
    ]
    fitting = [r for r in rivals if memory.of({n: (c,) for n, c in r.items()}) <= limit]
    ours = {name: row[0] for name, row in kept.items()}
    likeliest = {n: max((c for c in r if c != "none"), key=r.__getitem__) for n, r in q.items()}
    if memory.of({n: (c,) for n, c in likeliest.items()}) <= limit:
        assert mass(ours) == pytest.approx(max(map(mass, fitting)))
    assert ours in fitting
