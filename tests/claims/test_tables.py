"""Tables of claims: states, corrections, and pages between markers."""

import math
from dataclasses import replace

import pytest
from claims.conftest import TINY, TRUE, written

from nasrun.claims import reading, tables
from nasrun.claims.results import ResultFile, ResultLine
from nasrun.claims.tables import Evidence


def evidence(here, gaps, **keys):
    """The evidence of a claim with these gaps by arm."""
    claim = reading.read(written(here / "tiny.yaml", {**TINY, **keys}))
    lines = [
        ResultLine("tiny", claim.frozen, arm, seed, values={"gap": gap}, core_seconds=60.0)
        for arm, found in gaps.items()
        for seed, gap in enumerate(found)
    ]
    return Evidence("tiny", claim, lines)


def test_the_state_tells_how_far_a_claim_is(here):
    assert evidence(here, {}).state == "protocol written"
    again = evidence(here, {}, earlier="it holds (abc)")
    assert again.known == "to be measured again; earlier: it holds (abc)"
    assert evidence(here, {"darts": [0.4]}).state == "begun: 1 of 4 runs"
    begun = evidence(here, {"darts": [0.4], "snas": [0.1]})
    assert [test.verdict for test in begun.tests] == ["open"]
    five = {"darts": [0.4, 0.5, 0.6, 0.7, 0.8], "snas": [0.0, 0.2, 0.1, 0.4, 0.3]}
    assert evidence(here, five, seeds=5).state == "measured: holds"
    # an arm that decides nothing is missing: the verdict is known
    third = {**TINY["arms"], "random": ["search strategy=random"]}
    begun = evidence(here, five, seeds=5, arms=third)
    assert begun.state == "begun: 10 of 15 runs"
    assert [test.verdict for test in begun.tests] == ["holds"]
    swapped = {"darts": five["snas"], "snas": five["darts"]}
    assert evidence(here, swapped, seeds=5).state == "measured: the opposite"
    same = {"darts": [0.1, 0.3], "snas": [0.2, 0.2]}
    assert evidence(here, same).state == "measured: no difference seen"
    assert evidence(here, same, comparisons=[]).state == "measured"
    looked = evidence(here, same, measures={**TINY["measures"], "true": TRUE})
    lines = [
        ResultLine("tiny", "p", line.arm, line.seed, facts={"true": "x"}) for line in looked.lines
    ]
    few = Evidence("tiny", looked.claim, [replace(line, facts={}, values={}) for line in lines])
    assert few.state == "measured: too few seeds count"
    assert "not read yet" in Evidence("tiny", looked.claim, lines).state


def test_a_number_that_is_not_defined_is_no_table_that_is_not_read(here):
    looked = evidence(here, {"darts": [0.1, 0.3], "snas": [0.2, 0.2]})
    claim = reading.read(
        written(here / "t.yaml", {**TINY, "measures": {**TINY["measures"], "true": TRUE}})
    )
    path = here / "results.jsonl"
    for line in looked.lines:
        values = {**line.values, "true": math.nan}
        ResultFile(path).add(replace(line, values=values, facts={"true": "x"}))
    lines = ResultFile(path).of("tiny", looked.claim.frozen)
    assert all(math.isnan(line.values["true"]) for line in lines)
    found = Evidence("tiny", claim, lines)
    assert found.state == "measured: no difference seen"
    assert "true" not in found.values
    assert all("nan" not in cell for row in found.arms()[1] for cell in row)


def test_a_curtailed_claim_stops_when_no_comparison_can_hold_any_more(here):
    first = TINY["comparisons"][0]
    lost = {"darts": [0.1, 0.1], "snas": [0.2, 0.3]}
    # six pairs of which the two smallest are negative: W- of 3, so p is at least 5/64
    assert evidence(here, lost, seeds=6).state == "begun: 4 of 12 runs"
    stopped = evidence(here, lost, seeds=6, curtailed=True)
    assert stopped.state == "measured: cannot hold, stopped after 4 of 12 runs"
    assert [test.verdict for test in stopped.tests] == ["cannot hold"]
    # seven pairs: p is at least 5/128, which is enough for one test, and not for two
    assert not evidence(here, lost, seeds=7, curtailed=True).stopped
    back = {**first, "larger": "snas", "smaller": "darts"}
    assert evidence(here, lost, seeds=7, curtailed=True, comparisons=[first, first]).stopped
    assert not evidence(here, lost, seeds=7, curtailed=True, comparisons=[first, back]).stopped
    one = {**back, "decides": False}
    assert evidence(here, lost, seeds=6, curtailed=True, comparisons=[first, one]).stopped
    # all runs done: the verdict is that of the test
    five = {"darts": [0.1] * 6, "snas": [0.2, 0.3, 0.4, 0.5, 0.6, 0.7]}
    assert evidence(here, five, seeds=6, curtailed=True).state == "measured: the opposite"


def test_a_measure_that_no_run_has_is_told(here):
    gap = TINY["measures"]["gap"]
    measures = {"gap": gap, "gip": {**gap, "key": "gip"}, "true": TRUE}
    found = evidence(here, {"darts": [0.1], "snas": [0.2]}, measures=measures)
    lines = [replace(found.lines[0], facts={"true": "x"}), found.lines[1]]
    assert Evidence("tiny", found.claim, lines).unread == ["gip"]
    assert Evidence("tiny", found.claim, []).unread == []


def test_a_correction_is_over_the_tests_that_decide(here):
    first = TINY["comparisons"][0]
    back = {**first, "larger": "snas", "smaller": "darts"}
    gaps = {"darts": [0.4, 0.5, 0.6, 0.7, 0.8], "snas": [0.0, 0.2, 0.1, 0.4, 0.3]}
    for others, factor in (([back], 2), ([{**back, "decides": False}], 1)):
        tests = evidence(here, gaps, seeds=5, comparisons=[first, *others]).tests
        assert tests[0].outcome.p == 1 / 32
        assert tests[0].corrected == pytest.approx(factor / 32)
    assert tests[1].corrected is None
    assert evidence(here, gaps, seeds=5, alpha=0.02).state == "measured: no difference seen"


def test_a_table_has_means_costs_and_tests(here):
    found = evidence(here, {"darts": [0.25, 0.75], "snas": [0.0, 0.125]}, published={"snas": "9"},
                     source="table 1")  # fmt: skip
    heads, rows = found.arms()
    assert heads == ["arm", "n", "lost, points", "core-minutes", "published"]
    assert rows[0] == ["darts", "2", "50.00 ± 35.36", "1.0 ± 0.0", ""]
    assert rows[1][4] == "9"
    _, ((text, measure, n, mean, interval, larger, p, corrected, verdict),) = found.differences()
    assert (text, measure, n, larger) == ("darts - snas", "lost, points", "2", "2")
    assert mean == "43.75 ± 26.52"
    assert (p, corrected, verdict) == ("0.2500", "0.2500", "no difference seen")
    # 43.75 ± 12.706 * 26.517 / sqrt(2)
    assert interval == "-194.49 to 281.99"


def test_a_page_has_new_tables_between_its_markers_and_its_own_text_elsewhere(here):
    page = "a\n<!-- claims -->\nold\n<!-- /claims -->\nb\n<!-- claim tiny -->\n<!-- /claim -->\nc\n"
    found = {"tiny": evidence(here, {"darts": [0.4]})}
    made = tables.page(page, found)
    assert made.startswith("a\n<!-- claims -->\n| claim | what it says |")
    assert "<!-- /claims -->\nb\n<!-- claim tiny -->\n**`tiny`**: SNAS loses" in made
    assert made.endswith("<!-- /claim -->\nc\n")
    assert "old" not in made
    assert tables.page(made, found) == made
    with pytest.raises(ValueError, match="<!-- claim other -->: there is no such claim"):
        tables.page("<!-- claim other -->\n<!-- /claim -->", found)
