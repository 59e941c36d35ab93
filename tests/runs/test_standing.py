"""The worth of a stage's result: the score that it is judged by."""

import math
from types import SimpleNamespace

from nasrun.runs.standing import Standing, score


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


def test_a_score_that_is_not_finite_is_none_to_a_sweeper():
    lost = {"test_fid": None, "judged_by": "test_fid", "higher_is_better": False}
    for result in (lost, {"validation_score": None}, {"validation_accuracy": None}):
        assert math.isnan(score([SimpleNamespace(result=result)]))
    stages = [SimpleNamespace(result={"validation_score": 0.4}), SimpleNamespace(result=lost)]
    assert score(stages) == 0.4


def test_what_a_stage_is_judged_by_stands_beside_the_number():
    for result, told in (
        ({"test_accuracy": 0.9, "validation_accuracy": 0.7}, ("90.00%", "test")),
        ({"validation_accuracy": 0.7}, ("70.00%", "validation")),
        (
            {"validation_accuracy": 0.7, "trained_on": "train+validation"},
            ("70.00%", "validation, seen"),
        ),
        ({"true": {"cifar10": {"accuracy": 0.94}}}, ("94.00%", "table, cifar10")),
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


def test_a_true_result_stands_with_its_data_set_and_that_of_several_by_the_first():
    accuracy = {"accuracy": 0.94, "rank": 1, "of": 9}
    one, two = {"cifar10": accuracy}, {"cifar10": accuracy, "cifar100": accuracy}
    assert Standing.of({"true": one}, "select") == Standing(0.94, "table, cifar10", True)
    assert Standing.of({"true": two}, "select") == Standing(0.94, "table, cifar10", True)
    other = {"normal/ssim": {"value": 0.57, "rank": 1, "of": 9}}
    assert Standing.of({"true": other}, "select") == Standing(0.57, "table, normal/ssim", False)
    found = Standing.looked_up({"true": {**two, **other}, "validation_accuracy": 0.7})
    assert [(data, each.value, each.true_on) for data, each in found.items()] == [
        ("cifar10", 0.94, "cifar10"),
        ("cifar100", 0.94, "cifar100"),
        ("normal/ssim", 0.57, "normal/ssim"),
    ]
    assert Standing.looked_up({"test_accuracy": 0.9}) == {}
    assert Standing(0.9, "test", True).true_on is None
