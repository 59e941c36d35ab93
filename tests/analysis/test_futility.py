"""The least p that missing pairs leave, against all that they could be."""

from itertools import combinations_with_replacement as multisets

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nasrun.analysis.futility import least_signed_rank
from nasrun.analysis.paired import signed_rank

WHOLE = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=3)


@settings(max_examples=25, deadline=None)  # the first call imports scipy
@given(WHOLE, st.integers(0, 2))
@example([-0.5, -0.5], 2)  # two equal ones that are larger leave 4/16, different ones 5/16
@example([-1.0, -2.0, 3.0, 4.0], 1)  # one that is equal to the third leaves 4/32
def test_it_is_the_least_p_of_all_completions(found, missing):
    sizes = sorted({abs(each) for each in found})
    between = [level for size in [0.0, *sizes] for level in (size, size + 0.2, size + 0.4)]
    completions = multisets([*between, *(-each for each in between)], missing)
    least = min(signed_rank([*found, *each]) for each in completions)
    assert least_signed_rank(found, len(found) + missing) == pytest.approx(least)


def test_the_least_of_no_pair_is_that_of_all_signs_and_equal_pairs_do_not_count():
    assert least_signed_rank([], 8) == 1 / 256
    assert least_signed_rank([0.0, 0.0], 2) == 1
    assert least_signed_rank([0.0, 0.0, 0.0], 8) == 1 / 32
    assert least_signed_rank([-1.0, -2.0, -3.0, -4.0], 8) == 36 / 256
