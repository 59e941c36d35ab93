"""Comparisons of arms, against scipy and by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nasrun.analysis.paired import rank_sum
from nasrun.claims.comparisons import Bounded, MoreOften, Paired, Unpaired

VALUES = {
    "error": {
        "ours": {0: 1.0, 1: 2.0, 2: 3.0, 4: 9.0},
        "rival": {0: 2.0, 1: 4.0, 2: 6.0, 3: 8.0},
        "chance": {-1: 0.25},
    }
}


def test_pairs_are_of_equal_places_only():
    found = Paired(measure="error", larger="rival", smaller="ours").outcome(VALUES)
    assert found.spread.n == 3
    assert found.spread.mean == pytest.approx(2)
    assert found.larger == 3
    assert found.p == 1 / 8
    assert found.opposite == 1.0


@settings(deadline=None)  # the first call imports scipy
@given(
    st.lists(st.floats(-9, 9).map(lambda x: round(x, 2)), min_size=1, max_size=7),
    st.integers(0, 7),
)
def test_no_completion_of_the_pairs_has_a_smaller_p_than_the_least(gains, known):
    values = {"gain": {"ours": dict(enumerate(gains)), "none": dict.fromkeys(range(7), 0.0)}}
    paired = Paired(measure="gain", larger="ours", smaller="none")
    first = {"gain": {**values["gain"], "ours": dict(enumerate(gains[:known]))}}
    assert paired.least(first, len(gains)) <= paired.outcome(values).p + 1e-12
    assert paired.least(values, len(gains)) == paired.outcome(values).p
    assert paired.least({}, 5) == 1 / 32
    assert Bounded(measure="gain", arm="ours", most=9).least(values, 7) == 0


def test_without_pairs_all_values_count():
    found = Unpaired(measure="error", larger="rival", smaller="ours").outcome(VALUES)
    ours, rival = ([*VALUES["error"][arm].values()] for arm in ("ours", "rival"))
    assert found.p == rank_sum(rival, ours)
    assert found.opposite == rank_sum(ours, rival)


def test_a_bound_holds_for_every_value_or_does_not():
    assert Bounded(measure="error", arm="ours", most=9).outcome(VALUES).holds is True
    assert Bounded(measure="error", arm="ours", most=8).outcome(VALUES).holds is False
    assert Bounded(measure="error", arm="ours", most=8).outcome({}).holds is None


def test_hits_are_compared_with_chance_by_fishers_test():
    values = {"hit": {"ours": {0: 1.0, 1: 1.0, 2: 0.0}, "chance": {-1: 0.25}}}
    found = MoreOften(measure="hit", arm="ours", control="chance", draws=100).outcome(values)
    # at least two hits of three by chance, drawn from 103 with 27 hits
    expected = sum(stats.hypergeom.pmf(hits, 103, 27, 3) for hits in (2, 3))
    assert found.p == pytest.approx(expected)
    share = {"hit": {**values["hit"], "chance": {-1: 29 / 100}}}  # times 100, a little less than 29
    found = MoreOften(measure="hit", arm="ours", control="chance", draws=100).outcome(share)
    expected = sum(stats.hypergeom.pmf(hits, 103, 31, 3) for hits in (2, 3))
    assert found.p == pytest.approx(expected)
    assert MoreOften(measure="hit", arm="ours", control="no", draws=9).outcome(values).p is None
