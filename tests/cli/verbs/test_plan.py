"""`nasrun plan`: its words, and the status that it shows."""

import io

from rich.console import Console

from nasrun.cli.verbs import VERBS
from nasrun.display import telling
from nasrun.pipeline.forecast import Forecast, Outlook, print_outlook


def test_the_examples_of_the_help_are_refused_by_nothing_that_is_typed(nasrun, monkeypatch):
    seen = []

    def foresee(plan, told):
        seen.append(plan.family)
        return Outlook({}, [])

    monkeypatch.setattr("nasrun.pipeline.foresight.foresee", foresee)
    for example in VERBS["plan"].examples:
        answer = nasrun(*example.split()[1:])
        assert answer.status == 0, answer.err
    assert seen == ["digits-mobile_28-darts", "digits-mobile_28-radars", "digits-darts-darts_v2"]


def test_what_was_scaled_up_is_marked_and_explained():
    stages = [
        Forecast("search", 1.5, 0.25, 100, 0.5, 0.01, scaled=True),
        Forecast("retrain", 2.0, 0.125, 8, 0.001, 0.01),
    ]
    text = io.StringIO()
    print_outlook(Console(file=text, width=120), "run", Outlook({}, stages, "kept/note.json"))
    search, retrain = (
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in text.getvalue().splitlines()
        if line.startswith("│")
    )
    assert search == ["search", "1.50 GiB", "~0.250 s", "100", "~30 min 00 s", "10.2 MiB"]
    assert retrain[2:5] == ["0.125 s", "8", "3.6 s"]
    assert "~ scaled up from steps on fewer images" in text.getvalue()
    assert "to measure again, delete kept/note.json" in text.getvalue()


def test_what_is_going_on_is_told_on_a_terminal_and_not_in_a_pipe(monkeypatch):
    for terminal in (True, False):
        errors = io.StringIO()
        console = Console(file=errors, force_terminal=terminal, width=80)
        monkeypatch.setattr("nasrun.display.live.Console", lambda stderr, console=console: console)
        with telling() as told:
            told("search: timing a few steps")
        assert ("search: timing a few steps" in errors.getvalue()) == terminal
