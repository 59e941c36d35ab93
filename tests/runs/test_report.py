"""The closing tables of a run."""

import io
import math
from pathlib import Path
from types import SimpleNamespace

from rich.console import Console

from nasrun.runs.report import Standing, print_run, score


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


def test_why_a_search_stopped_early_is_said():
    text = printed(stopped="stopped after round 3: size [5, 0], asked for [6, 0]")
    assert "search stopped after round 3: size [5, 0], asked for [6, 0]" in text


def test_a_sweeper_is_given_the_last_validation_accuracy_and_no_test_accuracy():
    def stage(**result):
        return SimpleNamespace(result=result)

    searched = stage(validation_accuracy=0.5)
    selected, retrained = stage(genotype="a"), stage(test_accuracy=0.9)
    validated = stage(test_accuracy=0.9, validation_accuracy=0.7)
    assert score([searched, selected, retrained]) == 0.5
    assert score([searched, selected, validated]) == 0.7
    assert math.isnan(score([retrained]))
    population, best = ({key: -0.04, "judged_by": "score"} for key in ("score", "validation_score"))
    assert score([SimpleNamespace(result=population)]) == -0.04
    assert score([searched, SimpleNamespace(result=best)]) == -0.04


def test_what_a_stage_is_judged_by_stands_beside_the_number():
    for result, told in (
        ({"test_accuracy": 0.9, "validation_accuracy": 0.7}, ("90.00%", "test")),
        ({"validation_accuracy": 0.7}, ("70.00%", "validation")),
        (
            {"validation_accuracy": 0.7, "trained_on": "train+validation"},
            ("70.00%", "validation, seen"),
        ),
        ({"true": {"cifar10": {"accuracy": 0.94}}}, ("94.00%", "table")),
        ({"test_fid": 0.02749, "judged_by": "test_fid"}, ("0.02749", "test_fid")),
        ({"test_accuracy": 0.5, "test_fid": 2.0, "judged_by": "test_fid"}, ("50.00%", "test")),
    ):
        standing = Standing.of(result, "retrain")
        assert (str(standing), standing.on) == told
    assert Standing.of({"seconds": 1.0}, "retrain") is None


def test_a_supernet_is_not_taken_for_a_trained_candidate():
    supernet = {"validation_accuracy": 0.31, "trained_on": "train"}
    candidate = {"validation_accuracy": 0.88, "judged_by": "validation_accuracy"}
    assert Standing.of(supernet, "search").on == "validation, supernet"
    assert Standing.of(candidate, "search").on == "validation, best candidate"


def test_a_result_of_several_data_sets_stands_by_the_first_which_is_named():
    accuracy = {"accuracy": 0.94, "rank": 1, "of": 9}
    one, two = {"cifar10": accuracy}, {"cifar10": accuracy, "cifar100": accuracy}
    assert Standing.of({"true": one}, "select") == Standing(0.94, "table", True)
    assert Standing.of({"true": two}, "select") == Standing(0.94, "table, cifar10", True)
    other = {"normal/ssim": {"value": 0.57, "rank": 1, "of": 9}}
    assert Standing.of({"true": other}, "select") == Standing(0.57, "table, normal/ssim", False)
