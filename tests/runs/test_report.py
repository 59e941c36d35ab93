"""The closing tables of a run."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from nasrun.runs.report import missed, print_run


def printed(**result):
    """Return the printed report of a run with one finished search."""
    stage = SimpleNamespace(
        finished=True,
        kind="search",
        title="search",
        result={"validation_accuracy": 0.5, "seconds": 1.0, **result},
    )
    text = io.StringIO()
    run = SimpleNamespace(stages=lambda: [stage], path=Path("outputs/v001"))
    print_run(Console(file=text, width=120), run)
    return text.getvalue()


def classes(**recall):
    return {name: {"recall": each} for name, each in recall.items()}


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (classes(cat=0.9, dog=0.29, eel=0.0, fox=None), "eel 0.00%, dog 29.00%; see"),
        (classes(a=0.0, b=0.1, c=0.2, d=0.25), "a 0.00%, b 10.00%, c 20.00% and 1 more; see"),
        (classes(cat=0.9, dog=0.3), None),
        ({}, None),
    ],
)
def test_a_training_names_the_classes_that_it_hardly_recognises(found, named):
    result = {"test_accuracy": 0.6}
    text = missed(SimpleNamespace(title="retrain magnitude", classes=found, result=result))
    if named is None:
        assert text is None
    else:
        assert text.startswith("retrain magnitude: hardly recognised") and named in text


def test_damaged_results_by_class_do_not_hide_the_others():
    class Damaged:
        @property
        def classes(self):
            raise ValueError("classes.json: damaged")

    assert missed(Damaged()) is None


def size(n, r, accuracy, params, frontier):
    return {
        "size": [n, r],
        "round": 3,
        "accuracy": accuracy,
        "params": params,
        "frontier": frontier,
    }


def test_a_search_through_several_sizes_ends_with_their_table():
    text = printed(sizes=[size(4, 0, 0.9032, 2_857_942, True), size(7, 3, 0.85, 3_874_222, False)])
    (four,) = [line for line in text.splitlines() if "[4, 0]" in line]
    assert "90.32%" in four
    assert "2.858 M" in four
    assert "*" in four
    (seven,) = [line for line in text.splitlines() if "[7, 3]" in line]
    assert "*" not in seven
    assert "method=frontier" in text


def test_a_search_of_one_size_and_one_without_a_history_have_no_such_table():
    assert "frontier" not in printed(sizes=[size(4, 0, 0.9, 2_857_942, True)])
    assert "frontier" not in printed()


def test_a_search_that_weighs_costs_ends_with_its_front():
    rows = [
        {"genotype": "a b", "validation_accuracy": 0.5012, "params_m": 0.123456},
        {"genotype": "b b", "validation_accuracy": 0.75, "params_m": 3.0},
    ]
    named = {"judged_by": "validation_accuracy", "priced_by": "params_m"}
    text = printed(front=rows, **named)
    (cheap,) = [line for line in text.splitlines() if "a b" in line]
    assert "50.12%" in cheap
    assert "0.1235" in cheap
    assert "method=at_most" in text
    other = [{"genotype": "a b", "naswot": 1234.56, "macs_m": 7.0}]
    assert "1235" in printed(front=other, judged_by="naswot", priced_by="macs_m", naswot=1)


def test_results_that_are_no_accuracies_are_not_called_so():
    first, second = (printed(**more) for more in ({}, {"judged_by": "fid", "fid": 34.5}))
    assert "accuracy" in first
    assert "result" in second
    assert "accuracy" not in second


def test_why_a_search_stopped_early_is_said():
    text = printed(stopped="stopped after round 3: size [5, 0], asked for [6, 0]")
    assert "search stopped after round 3: size [5, 0], asked for [6, 0]" in text
