"""The selection: what it measures of its choice, and when."""

import json


def test_a_choice_outside_the_supernet_has_no_gap_which_is_not_missed_later(
    nasrun, here, finished, monkeypatch
):
    monkeypatch.setattr("nasrun.pipeline.select._discretise", lambda *parts: {})
    words = ["method=argmax", "budget.threads=1"]
    assert nasrun("select", *words).status == 0
    written = json.loads((here / finished / "select/argmax/discretisation.json").read_text())
    assert written.keys() == {"check"}
    assert "which was left out" not in nasrun("select", *words).out
