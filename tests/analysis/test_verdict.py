"""The verdict on a search: which sign holds first, and what to try."""

from dataclasses import replace

import pytest

from nasrun.analysis.verdict import HEALTHY, Means, growth, signs, verdict
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

WATCHDOG = Watchdog(skip_share=0.75, free_share=1.0, patience=1, on_collapse="warn")
MEANS = Means(watchdog=WATCHDOG, moves_alphas=True, smooths=False, samples=False, perturbs=True)


def judged(**measured):
    return advised(MEANS, **measured)


def advised(means, **measured):
    return verdict(signs({**SOUND, **measured}, means), means)


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
    assert advised(replace(MEANS, watchdog=strict))["verdict"] == "skip connections dominate"


COLLAPSES = (
    *({"accuracy": 0.1}, {"entropy": 1.0}, {"none": 1.0}, {"skip_share": 1.0}, {"growth": 0.1}),
    *({"skip_likelier": 1.0}, {"free_share": 1.0}, {"gap": 0.5}, {"agreement": -1.0}),
)


@pytest.mark.parametrize(
    ("means", "refused"),
    [
        ({"perturbs": False}, "method=perturb"),
        ({"watchdog": None}, "method=healthy"),
        ({"samples": True}, "strategy=snas"),
        ({"smooths": True}, "strategy=sdarts"),
    ],
)
def test_no_advice_is_refused_or_changes_nothing(means, refused):
    before = [judged(**collapse)["try"] for collapse in COLLAPSES]
    after = [advised(replace(MEANS, **means), **each)["try"] for each in COLLAPSES]
    assert any(refused in advice for advice in before)
    assert not any(refused in advice for advice in after)
    assert all(advice.split()[0] in ("raise", "select", "search") for advice in after)


def test_alphas_that_never_move_are_no_sign_and_their_choice_is_that_of_perturb():
    resting = replace(MEANS, moves_alphas=False)
    for collapse in COLLAPSES[1:]:
        found = advised(resting, **collapse)
        assert (found["verdict"], len(found["signs"])) == (HEALTHY, 1)
        assert "method=perturb" in found["try"]
        assert (
            advised(replace(resting, perturbs=False), **collapse)["try"]
            == "search with strategy=darts"
        )


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("darts", {"perturbs": True, "samples": False, "moves_alphas": True, "smooths": False}),
        ("dsnas", {"perturbs": False, "samples": True}),
        ("snas", {"perturbs": True, "samples": True}),
        ("fixed_alpha", {"perturbs": True, "watchdog": None, "moves_alphas": False}),
        ("sdarts_adversarial", {"smooths": True, "samples": False, "moves_alphas": True}),
        ("sgas", {"perturbs": True, "samples": False}),
    ],
)
def test_the_means_of_a_search_are_those_of_its_settings(begin, strategy, expected):
    small = ["width=2", "depth=3", "images=64", "dataset.size=8", "space.nodes=1"]
    small += ["space.kept_edges=1", "batch_size=16", "budget.threads=1", "budget.device=cpu"]
    search = begin(f"strategy={strategy}", "rounds=1", *small)
    means = Means.of(search)
    assert {key: getattr(means, key) for key in expected} == expected
    search.supernet.fixed = dict(search.space.sample())
    assert not Means.of(search).perturbs


def test_what_is_not_known_gives_no_sign():
    few = signs({**SOUND, "growth": None, "gap": None, "agreement": None}, MEANS)
    assert {sign.symptom.name for sign in few} & {
        "growing sharpness",
        "discretisation gap",
    } == set()


def test_sharpness_grows_as_robust_darts_compares_it():
    rising = [1.0] * 5 + [2.0] * 5
    assert growth(rising) == pytest.approx(0.5)
    assert growth([9.0, *rising]) == pytest.approx(0.5)
    assert growth(rising[1:]) is None
    assert growth([None, *rising, float("nan")]) == pytest.approx(0.5)
    assert growth([-1.0] * 10) is None
