"""Bayesian optimisation: the model's formulas, and that it proposes what is new and promising."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Scores, Toy, context, run

from nasrun.spaces.nasbench201 import NasBench201
from nasrun.strategies.bayesian import (
    Bayesian,
    GaussianProcess,
    expected_improvement,
    normal_scores,
)

NB201 = NasBench201(operations=("none", "skip_connect", "nor_conv_3x3"), channels=4, layers=3)
ALL = 12  # architectures of the toy space


def begun(scores, space=None, together=1, initial=3, draws=4, parents=1, **parts):
    search = Bayesian(
        num_candidates=len(scores),
        together=together,
        initial=initial,
        draws=draws,
        parents=parents,
        evaluator=Scores(scores),
    )
    search.begin(context(space or Toy(), limits=parts.get("limits")))
    return search


def proposed(search):
    run(search)
    return [candidate.genotype for candidate in search.candidates]


def process(seed=0, count=12):
    generator = np.random.default_rng(seed)
    x = np.eye(3)[generator.integers(3, size=(count, 4))].reshape(count, 12)
    return GaussianProcess.fitted(x, x @ generator.normal(size=12)), x


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.floats(-3, 3), st.floats(0.05, 3), st.floats(-3, 3))
def test_expected_improvement_is_the_mean_of_what_exceeds_the_best(mean, deviation, best):
    f = torch.linspace(mean - 9 * deviation, mean + 9 * deviation, 4001, dtype=torch.float64)
    density = torch.distributions.Normal(mean, deviation).log_prob(f).exp()
    expected = torch.trapezoid((f - best).clamp(min=0) * density, f)
    found = expected_improvement(torch.tensor([mean]).double(), torch.tensor([deviation]), best)
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)


def test_what_is_certain_improves_by_what_it_exceeds():
    mean, none = torch.tensor([1.0, 2.0, 3.5]).double(), torch.zeros(3).double()
    assert expected_improvement(mean, none, 2.0).tolist() == [0.0, 0.0, 1.5]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([-math.inf, -1e300, -1.0, 0.0, 0.5, 1e-9, 1e300]), min_size=1))
def test_normal_scores_know_order_alone_and_ties_share(merits):
    found = normal_scores(torch.tensor(merits, dtype=torch.float64)).tolist()
    for merit, score in zip(merits, found, strict=True):
        ranks = [place for place, each in enumerate(sorted(merits), 1) if each == merit]
        share = (sum(ranks) / len(ranks) - 0.5) / len(merits)
        assert score == pytest.approx(NormalDist().inv_cdf(share), abs=1e-9)


def test_the_process_predicts_by_the_textbook():
    """Rasmussen and Williams (2.25) and (2.26), Matérn 5/2 (4.17)."""
    model, x = process()
    kernel = model.process.kernel_
    amplitude, length, noise = np.exp(kernel.theta)

    def covariance(a, b):
        r = np.sqrt(5 * ((a[:, None] - b) ** 2).sum(-1)) / length
        return amplitude * (1 + r + r**2 / 3) * np.exp(-r)

    new = np.eye(3)[np.random.default_rng(1).integers(3, size=(5, 4))].reshape(5, 12)
    inverse = np.linalg.inv(covariance(x, x) + noise * np.eye(len(x)))
    mean, deviation = model.predict(new)
    assert mean == pytest.approx(covariance(new, x) @ inverse @ model.y, abs=1e-6)
    variance = amplitude - np.diag(covariance(new, x) @ inverse @ covariance(x, new))
    assert deviation**2 == pytest.approx(variance, abs=1e-6)


def test_a_believed_score_changes_no_mean_and_makes_its_neighbourhood_certain():
    model, x = process()
    new = 1 - x[:1]
    others = np.vstack([new, x[:3]])
    believing = model.believing(new[0])
    before, after = model.predict(others), believing.predict(others)
    assert after[0] == pytest.approx(before[0], abs=1e-6)
    assert after[1][0] < before[1][0] / 2
    assert (after[1] <= before[1] + 1e-9).all()
    assert (believing.expected_improvement(new) <= model.expected_improvement(new)).all()


@pytest.mark.parametrize("together", [1, 4])
def test_nothing_is_scored_twice_while_the_space_has_others(together):
    for seed in range(4):
        torch.manual_seed(seed)
        found = proposed(begun([0.1, 0.7, 0.3] * 5, together=together))
        assert len(set(found[:ALL])) == ALL
        assert len(found) == 15


def test_scores_that_say_nothing_stop_nothing():
    for scores in ([0.5] * 14, [math.nan] * 14, [math.nan, 0.5] * 7, [1e300, -1e300, 5e-324] * 5):
        torch.manual_seed(0)
        assert len(set(proposed(begun(scores, together=2)))) == ALL


def test_where_no_process_can_be_fitted_candidates_are_drawn_and_it_is_said(monkeypatch):
    def singular(x, y):
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr(GaussianProcess, "fitted", singular)
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="round 4: no Gaussian process fits .* drawn at random"):
        found = proposed(begun([0.1] * 6))
    assert len(set(found)) == 6


def test_it_goes_on_from_its_state_as_if_nothing_had_been():
    scores = [math.sin(number) for number in range(14)]
    torch.manual_seed(3)
    whole = begun(scores, NB201, together=2, draws=20)
    run(whole, 4)
    state = whole.state_dict()
    run(whole)
    other = begun(scores, NB201, together=2, draws=20)
    other.load_state_dict(state)
    other.round = 4
    run(other)
    assert other.candidates == whole.candidates


def test_only_the_order_of_scores_matters():
    scores = [math.sin(number) for number in range(12)]
    found = []
    for merits in (scores, [math.exp(9 * score) for score in scores]):
        torch.manual_seed(1)
        found.append(proposed(begun(merits, NB201, draws=20)))
    assert found[0] == found[1]


def test_it_finds_the_best_of_a_sum_sooner_than_chance():
    """729 cells, scored by their convolutions: the best is one of them."""
    torch.manual_seed(0)
    search = begun([0.0] * 40, NB201, initial=8, draws=50, parents=2)
    search.evaluator.scores = Convolutions(search.evaluator)
    run(search)
    assert max(candidate.score.value for candidate in search.candidates) == 6


class Convolutions:
    """The score of the architecture that was asked for last: how many convolutions it has."""

    def __init__(self, evaluator):
        self.evaluator = evaluator

    def __getitem__(self, place):
        return float(list(self.evaluator.asked[place].values()).count("nor_conv_3x3"))


class FewOfB:
    """At most one `b`; what has more is brought there."""

    def allow(self, genotype):
        return list(genotype.values()).count("b") <= 1

    def nearest(self, genotype):
        first = next((name for name in genotype if genotype[name] == "b"), None)
        return genotype.changed({n: "a" for n in genotype if genotype[n] == "b" and n != first})


def test_it_keeps_to_limits_and_knows_what_they_leave():
    for seed in range(4):
        torch.manual_seed(seed)
        found = proposed(begun([0.1, 0.7, 0.3] * 4, limits=FewOfB(), draws=2))
        assert all(map(FewOfB().allow, found))
        assert len(set(found[:9])) == 9  # of 12 three have two


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"initial": 0}, "initial=0 draws=4 parents=1: use at least 1 of each"),
        ({"draws": 0}, "initial=3 draws=0 parents=1: use at least 1 of each"),
        ({"parents": 0}, "initial=3 draws=4 parents=0: use at least 1 of each"),
        ({"initial": 6}, "num_candidates=6 initial=6 together=1: use more candidates than 6"),
        ({"together": 6}, "num_candidates=6 initial=3 together=6: use more candidates than 6"),
    ],
)
def test_impossible_values_are_refused(wrong, line):
    with pytest.raises(ValueError, match=line):
        begun([0.0] * 6, **wrong)
