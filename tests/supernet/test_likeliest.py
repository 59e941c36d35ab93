"""The likeliest architectures in order, against all that there are."""

import math
from itertools import product
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Decisions, Toy

from nasrun.genotype import NONE, AtMost, Decision
from nasrun.supernet.likeliest import likeliest
from nasrun.supernet.supernet import argmax, magnitude


class Both(Decisions):
    """Three edges of which two stay, and two free decisions of other lengths."""

    name = "both"
    decisions: ClassVar = (
        Decision("x", ("a", "b", "c", "d")),
        *(Decision(f"e{n}", (NONE, "a", "b")) for n in range(3)),
        Decision("y", ("a", "b")),
    )
    limits = (AtMost(("e0", "e1", "e2"), 2),)


class Free(Decisions):
    """Three edges; none is a choice."""

    name = "free"
    decisions: ClassVar = tuple(Decision(f"e{n}", (NONE, "a", "b")) for n in range(3))
    limits = ()
    none_is_a_choice = True


def every(space):
    """All genotypes that keep exactly as many operations as the limits say."""
    for row in product(*((NONE, *space.candidates(decision)) for decision in space.decisions)):
        choices = dict(zip(space.names, row, strict=True))
        limited = {name for limit in space.limits for name in limit.decisions}
        free = [name for name in space.names if name not in limited]
        if all(
            choices[name] in space.candidates(space.decisions[space.rows[name]]) for name in free
        ) and all(
            sum(choices[name] != NONE for name in limit.decisions) == limit.count
            for limit in space.limits
        ):
            yield choices


def probability(space, choices, probabilities):
    kept = {n: c for n, c in choices.items() if c != NONE or space.none_is_a_choice}
    return math.prod(probabilities[name][choice] for name, choice in kept.items())


@settings(max_examples=60, deadline=None)
@given(data=st.data(), space=st.sampled_from([Toy(), Both(), Free()]), count=st.integers(1, 40))
def test_they_are_the_best_of_all_and_the_first_is_that_of_the_rule(data, space, count):
    weights = st.integers(1, 5)
    probabilities = {
        decision.name: {choice: data.draw(weights) / 15 for choice in decision.choices}
        for decision in space.decisions
    }
    found = likeliest(space, probabilities, count)
    known = {tuple(choices.items()): probability(space, choices, probabilities)
             for choices in every(space)}  # fmt: skip
    expected = sorted(known.values(), reverse=True)[:count]
    assert len(set(found)) == len(found) == min(count, len(known))
    given_ = [known[tuple(genotype.items())] for genotype in found]
    assert given_ == pytest.approx(expected)
    rule = argmax if space.none_is_a_choice else magnitude
    assert found[0] == rule(space, probabilities)


def test_earlier_edges_win_ties():
    alike = {name: {NONE: 0.2, "a": 0.5, "b": 0.3} for name in Toy().names}
    found = [tuple(genotype.values()) for genotype in likeliest(Toy(), alike, 3)]
    assert found == [("a", "a", NONE), ("a", NONE, "a"), (NONE, "a", "a")]


def test_what_is_decided_stays_and_what_has_no_probability_is_dropped():
    rows = {"e0": (0.0, 0.0, 0.0), "e1": (0.0, 0.0, 1.0), "e2": (0.2, 0.3, 0.5)}
    probabilities = {
        name: dict(zip((NONE, "a", "b"), row, strict=True)) for name, row in rows.items()
    }
    found = likeliest(Toy(), probabilities, 5)
    assert [dict(genotype) for genotype in found] == [
        {"e0": NONE, "e1": "b", "e2": "b"},
        {"e0": NONE, "e1": "b", "e2": "a"},
    ]
    probabilities["e2"] = dict.fromkeys((NONE, "a", "b"), 0.0)
    assert [list(g.values()) for g in likeliest(Toy(), probabilities, 5)] == [[NONE, "b", NONE]]
    assert likeliest(Toy(), probabilities, 1)[0] == magnitude(Toy(), probabilities)
