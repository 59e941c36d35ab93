"""The cheapest genotype that meets several conditions, against all genotypes."""

from itertools import product

import toys
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.costs.jointly import Condition, cheapest_within
from nasrun.genotype import NONE

SPACE = toys.Toy()
"""Three edges between a and b, of which two are kept."""
COSTS = st.lists(st.integers(-4, 4), min_size=6, max_size=6)
FIXED = st.dictionaries(st.sampled_from(SPACE.names), st.sampled_from((NONE, "a", "b")))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), COSTS), min_size=1, max_size=3), FIXED)
def test_it_is_the_cheapest_of_all_that_meet_the_conditions(drawn, fixed):
    tables = [
        (base, dict(zip(product(SPACE.names, "ab"), each, strict=True))) for base, each in drawn
    ]
    conditions = [
        Condition(base, lambda name, choice, table=table: table[name, choice])
        for base, table in tables
    ]

    def sums(genotype):
        return [sum((table.get(c, 0) for c in genotype.items()), base) for base, table in tables]

    dropped = max(1, list(fixed.values()).count(NONE))
    met = [
        sum(sums(dict(zip(SPACE.names, chosen, strict=True))))
        for chosen in product((NONE, "a", "b"), repeat=3)
        if chosen.count(NONE) == dropped
        and all(chosen[SPACE.rows[name]] in (choice, NONE) for name, choice in fixed.items())
        and max(sums(dict(zip(SPACE.names, chosen, strict=True)))) <= 0
    ]
    found = cheapest_within(SPACE, conditions, fixed)
    if not met:
        assert found is None
        return
    assert sum(sums(found)) == min(met)
    assert max(sums(found)) <= 0
    assert list(found.values()).count(NONE) == dropped
    assert all(found[name] in (choice, NONE) for name, choice in fixed.items())
