"""A soup: its average, the members that it tries, and those that stay in it."""

from types import SimpleNamespace

import pytest
import torch
from toys import context, run

from nasrun.genotype import Genotype
from nasrun.score import Score
from nasrun.selectors.soup import Soup, mean
from nasrun.strategies.base import Candidate, PopulationStrategy
from nasrun.trained import Trained

OURS, OTHER = (Genotype("toy", {"e0": choice}) for choice in "ab")


class Members(PopulationStrategy):
    """Members of one weight w each; whatever they scored in the search, a soup scores -(w - 1)^2.

    `tasted` are the weights of what was scored, with the name of the draw.
    """

    rounds, candidates, delivery = 0, (), None
    begin = run_round = finish = deliver = state_dict = load_state_dict = None

    def __init__(self, *members):
        self.candidates = [
            Candidate(genotype, Score("validation_score", score)) for genotype, score, _ in members
        ]
        self.weights = [weight for _, _, weight in members]
        self.tasted = []
        self.delivery = SimpleNamespace(score=self.score, deliver=self.delivered)

    def training_of(self, candidate):
        (place,) = (n for n, other in enumerate(self.candidates) if other is candidate)
        return Trained({"weight": torch.tensor(self.weights[place])})

    def score(self, genotype, trained, purpose):
        weight = float(trained.network["weight"])
        self.tasted.append((genotype, weight, purpose))
        return -((weight - 1) ** 2)

    def delivered(self, genotype, trained, folder):
        return {"delivered": (genotype, float(trained.network["weight"]))}


def soup_of(strategy):
    soup = Soup()
    soup.begin(context(), strategy)
    return soup


def greedy():
    """Members whose soups are worked out below, from the best of the search to the worst."""
    ranked = [(OURS, 0.5 - n, weight) for n, weight in enumerate((0.0, 3.0, 6.0, 0.0, 1.0))]
    return Members(*(ranked[place] for place in (3, 0, 4, 2, 1)))


def test_weights_and_averages_are_meaned_and_all_else_is_the_firsts():
    u, v = ("conv.parametrizations.weight.0._u", "conv.parametrizations.weight.0._v")

    def trained(weights, count):
        network = {
            "conv.bias": torch.tensor(weights),
            "norm.num_batches_tracked": torch.tensor(count),
            u: torch.tensor([0.0, float(count)]),
            v: torch.tensor([float(count), 0.0]),
        }
        averages = {
            "ema": {
                "conv.bias": -10 * torch.tensor(weights),
                "norm.num_batches_tracked": torch.tensor(2 * count),
                u: torch.tensor([1.0, float(count)]),
            }
        }
        moments = {"conv.bias": {"exp_avg": torch.tensor(weights)}}
        return Trained(network, averages, moments, {"steps": count})

    members = [trained([1.0, 2.0], 7), trained([2.0, 5.0], 8), trained([6.0, -1.0], 10)]
    mixed = mean(members)
    assert {name: tensor.tolist() for name, tensor in mixed.network.items()} == {
        "conv.bias": [3.0, 2.0],
        "norm.num_batches_tracked": 7,
        u: [0.0, 7.0],
        v: [7.0, 0.0],
    }
    assert {name: tensor.tolist() for name, tensor in mixed.averages["ema"].items()} == {
        "conv.bias": [-30.0, -20.0],
        "norm.num_batches_tracked": 14,
        u: [1.0, 7.0],
    }
    assert mixed.moments["conv.bias"]["exp_avg"].tolist() == [1.0, 2.0]
    assert mixed.memory == {"steps": 7}
    assert members[0].network["conv.bias"].tolist() == [1.0, 2.0]


def test_a_worse_member_is_left_out_and_a_better_or_equal_one_stays():
    """Weights 0, 3: -(3/2 - 1)^2. 0, 3, 6: -(3 - 1)^2, worse. 0, 3, 0 and 0, 3, 0, 1: w = 1."""
    soup = soup_of(greedy())
    assert soup.rounds == 4
    rounds = run(soup)
    assert [metrics["score"] for metrics in rounds] == [-0.25, -4, 0, 0]
    assert [metrics["best_score"] for metrics in rounds] == [-0.25, -0.25, 0, 0]
    assert [metrics["ingredients"] for metrics in rounds] == [2, 2, 3, 4]
    assert soup.report(None) == {
        "judged_by": "validation_score",
        "validation_score": 0,
        "ingredients": 4,
        "delivered": (OURS, 1.0),
    }


@pytest.mark.parametrize(
    ("searched", "weight", "taken"),
    [(9.0, 4.0, True), (-4.0, 6.0, False)],
    ids=["lucky in the search", "unlucky in the search"],
)
def test_the_best_is_scored_again_on_the_draw_of_its_soups(searched, weight, taken):
    """It alone: -(0 - 1)^2. With 4: -(2 - 1)^2, as good. With 6: -(3 - 1)^2, worse."""
    members = Members((OURS, searched, 0.0), (OURS, -5.0, weight), (OURS, -6.0, 0.0))
    soup = soup_of(members)
    (first,) = run(soup, 1)
    assert set(members.tasted) == {(OURS, 0.0, "soup"), (OURS, weight / 2, "soup")}
    assert first["best_score"] == -1
    assert first["ingredients"] == 1 + taken
    members.tasted.clear()
    run(soup)
    assert len(members.tasted) == 1


def test_members_of_other_genotypes_are_not_mixed():
    members = Members((OTHER, 0.7, 5.0), (OURS, 0.9, 0.0), (OTHER, 0.8, 5.0), (OURS, 0.1, 2.0))
    soup = soup_of(members)
    assert soup.rounds == 1
    run(soup)
    assert soup.genotype == OURS
    assert set(members.tasted) == {(OURS, 0.0, "soup"), (OURS, 1.0, "soup")}


def test_without_another_member_of_its_genotype_the_best_is_the_soup():
    soup = soup_of(Members((OTHER, 0.8, 5.0), (OURS, 0.9, 3.0)))
    assert soup.done
    assert soup.report(None) == {
        "judged_by": "validation_score",
        "validation_score": 0.9,
        "ingredients": 1,
        "delivered": (OURS, 3.0),
    }


@pytest.mark.parametrize("done", [1, 2, 3])
def test_an_interrupted_soup_is_the_uninterrupted_one(done):
    whole, first, second = soup_of(greedy()), soup_of(greedy()), soup_of(greedy())
    expected = run(whole)
    run(first, done)
    second.load_state_dict(first.state_dict())
    second.round = done
    assert run(second) == expected[done:]
    assert second.report(None) == whole.report(None)
