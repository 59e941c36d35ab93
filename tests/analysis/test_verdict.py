"""The verdict on a search: which sign holds first, and what to try."""

import pytest

from nasrun.analysis.verdict import HEALTHY, growth, signs, verdict
from nasrun.strategies.history import Watchdog

SOUND = {
    "accuracy": 0.9,
    "chance": 0.1,
    "entropy": 0.6,
    "none": 0.1,
    "skip_share": 0.25,
    "skip_likelier": 0.3,
    "free_share": 0.5,
    "gap": 0.02,
    "growth": 0.9,
    "agreement": 0.5,
}


def judged(**measured):
    return verdict(signs({**SOUND, **measured}, None))


def test_the_first_sign_that_holds_is_the_verdict_and_all_numbers_are_kept():
    assert judged()["verdict"] == HEALTHY
    for measured, name, advice in (
        ({"accuracy": 0.2}, "untrained", "raise rounds"),
        ({"entropy": 0.995}, "uniform alphas", "alpha_lr"),
        ({"none": 0.5}, "none dominates", "method=perturb"),
        ({"skip_share": 0.75}, "skip connections dominate", "method=healthy"),
        ({"skip_likelier": 0.8}, "skip connections dominate", "strategy=sdarts"),
        ({"free_share": 1.0}, "no weights are left", "method=at_least"),
        ({"gap": 0.4}, "discretisation gap", "strategy=snas"),
        ({"growth": 0.7}, "growing sharpness", "method=frontier"),
        ({"agreement": -0.2}, "misleading alphas", "method=perturb"),
        ({"gap": 0.4, "entropy": 1.0}, "uniform alphas", "alpha_lr"),
    ):
        found = judged(**measured)
        assert found["verdict"] == name
        assert advice in found["try"]
        held = [sign["sign"] for sign in found["signs"] if sign["holds"]]
        assert held[0] == name
        assert len(held) == len(measured)


def test_a_supernet_of_two_classes_is_untrained_only_if_it_answers_about_as_by_guessing():
    assert judged(accuracy=0.54, chance=0.5)["verdict"] == "untrained"
    assert judged(accuracy=0.7, chance=0.5)["verdict"] == HEALTHY
    assert judged(accuracy=0.03, chance=0.01)["verdict"] == HEALTHY


def test_thresholds_of_shares_are_those_of_the_searchs_own_watchdog():
    strict = Watchdog(skip_share=0.2, free_share=1.0, patience=1, on_collapse="warn")
    assert verdict(signs(SOUND, strict))["verdict"] == "skip connections dominate"


def test_what_is_not_known_gives_no_sign():
    few = signs({**SOUND, "growth": None, "gap": None, "agreement": None}, None)
    assert {sign.name for sign in few} & {"growing sharpness", "discretisation gap"} == set()


def test_sharpness_grows_as_robust_darts_compares_it():
    rising = [1.0] * 5 + [2.0] * 5
    assert growth(rising) == pytest.approx(0.5)
    assert growth([9.0, *rising]) == pytest.approx(0.5)
    assert growth(rising[1:]) is None
    assert growth([None, *rising, float("nan")]) == pytest.approx(0.5)
    assert growth([-1.0] * 10) is None
