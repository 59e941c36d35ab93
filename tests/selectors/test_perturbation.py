"""Perturbation: DARTS-PT's events on scripted scores, so that every choice is known beforehand."""

from types import SimpleNamespace

import pytest
import torch

from nasrun.genotype import NONE, AtMost, Decision
from nasrun.selectors.perturbation import Perturbation
from nasrun.spaces.base import SearchSpace
from nasrun.stage import Silent
from nasrun.strategies.base import SupernetStrategy

OPERATIONS = (NONE, "pool", "skip", "conv")


class Toy(SearchSpace):
    """Two cell types with nodes 2 and 3, of which node 3 keeps two of its three edges."""

    name = "toy"
    decisions = tuple(
        Decision(f"{cell}/{node}-{source}", OPERATIONS)
        for cell in ("normal", "reduce")
        for node in (2, 3)
        for source in range(node)
    )
    limits = tuple(
        AtMost(tuple(f"{cell}/3-{source}" for source in range(3)), kept)
        for cell, kept in (("normal", 2), ("reduce", 1))
    )

    search_layout = published_layout = None

    def network(self, genotype=None, *, inputs, outputs, layout=None):
        raise NotImplementedError

    def restrict(self, choices):
        raise NotImplementedError

    def render(self, genotype):
        return ",".join(genotype.values())

    def parse(self, text):
        raise NotImplementedError

    def cells(self, genotype):
        return {}


class Scripted(SupernetStrategy):
    """A strategy whose masked accuracies are given: what is missed most scores least."""

    rounds = 3

    def __init__(self, missed):
        self.missed = missed
        self.supernet = SimpleNamespace(fixed={})
        self.asked, self.tuned, self.events = [], [], []
        self.display = Silent()

    def begin(self, space, task, budget):
        raise NotImplementedError

    def validate(self, *, without=None):
        self.asked.append((without, dict(self.supernet.fixed)))
        missed = self.missed(*without)
        return {"accuracy": 1 - missed, "loss": missed}

    def tune(self, weight_lr):
        self.tuned.append(weight_lr)

    def run_round(self):
        self.events.append(dict(self.supernet.fixed))
        return {"train_loss": 1.0}

    def state_dict(self):
        return {"fixed": dict(self.supernet.fixed)}

    def load_state_dict(self, state):
        self.supernet.fixed.clear()
        self.supernet.fixed.update(state["fixed"])

    def finish(self, folder):
        raise NotImplementedError


def selection(missed, **settings):
    selector = Perturbation(
        **{"interval": 1, "weight_lr": 0.1, "criterion": "accuracy", **settings}
    )
    strategy = Scripted(missed)
    selector.begin(strategy, Toy())
    return selector, strategy


def run(selector):
    metrics = []
    while not selector.done:
        metrics.append(selector.run_round())
        selector.round += 1
    return metrics


def wanted(decision, choice):
    """Each edge misses another operation most; later sources are missed more."""
    cell, edge = decision.split("/")
    node, source = (int(part) for part in edge.split("-"))
    best = OPERATIONS[1 + (node + source + (cell == "reduce")) % 3]
    return 0.5 + 0.01 * source if choice == best else 0.1 + 0.01 * source


def test_operations_that_are_missed_most_are_kept_and_edges_missed_least_are_dropped():
    torch.manual_seed(0)
    selector, _ = selection(wanted)
    run(selector)
    chosen = selector.genotype
    for cell, shift in (("normal", 0), ("reduce", 1)):
        for node, source in ((2, 0), (2, 1), (3, 2)):
            expected = OPERATIONS[1 + (node + source + shift) % 3]
            assert chosen[f"{cell}/{node}-{source}"] == expected
    kept = [name for name, choice in chosen.items() if choice != NONE and "/3-" in name]
    assert kept == ["normal/3-1", "normal/3-2", "reduce/3-2"]  # the least missed went first


def test_an_event_decides_one_edge_of_each_cell_type_before_a_round_of_tuning():
    torch.manual_seed(0)
    selector, strategy = selection(wanted)
    assert selector.operation_events == 5
    assert selector.topology_events == 1
    metrics = run(selector)
    assert [m["decided"] for m in metrics] == [2, 4, 6, 8, 10, 10]
    for event, fixed in enumerate(strategy.events[:5], 1):
        for cell in ("normal", "reduce"):
            assert sum(name.startswith(cell) for name in fixed) == event
        assert NONE not in fixed.values()
    assert list(strategy.events[5].values()).count(NONE) == 3
    assert strategy.tuned == [0.1]


def test_the_interval_is_the_tuning_rounds_between_events():
    torch.manual_seed(0)
    selector, strategy = selection(wanted, interval=5)
    assert selector.rounds == 5 * (6 - 1) + 1
    metrics = run(selector)
    decided = [m["decided"] for m in metrics]
    assert decided == [2] * 5 + [4] * 5 + [6] * 5 + [8] * 5 + [10] * 6
    assert len(strategy.events) == 26


def test_the_darts_space_has_17_events_of_darts_pt():
    from nasrun.config import build, compose, resolve

    space = build(resolve(compose([]).config["space"]), "space")
    selector = Perturbation(interval=5, weight_lr=0.1, criterion="accuracy")
    selector.begin(Scripted(wanted), space)
    assert (selector.operation_events, selector.topology_events) == (14, 3)
    assert selector.rounds == 81


def test_none_is_never_a_candidate_and_each_other_operation_is_tried_once():
    torch.manual_seed(0)
    selector, strategy = selection(wanted)
    run(selector)
    tried = [without for without, fixed in strategy.asked if without[0] not in fixed]
    assert len(tried) == len(set(tried)) == 10 * 3
    assert all(choice != NONE for _, choice in tried)


def test_a_dropped_edge_stays_dropped_in_the_trials_that_follow():
    torch.manual_seed(0)
    selector, strategy = selection(wanted)
    run(selector)
    trials = [
        (decision, fixed)
        for (decision, _), fixed in strategy.asked
        if decision in fixed and decision.startswith("reduce/3")
    ]
    assert [decision for decision, _ in trials] == [f"reduce/3-{n}" for n in (0, 1, 2, 1, 2)]
    assert all(fixed["reduce/3-0"] == NONE for _, fixed in trials[3:])
    assert all(fixed["reduce/3-0"] != NONE for _, fixed in trials[:3])


def test_of_equals_the_first_operation_is_kept_and_the_last_edge_dropped():
    torch.manual_seed(0)
    selector, _ = selection(lambda decision, choice: 0.5)
    run(selector)
    chosen = selector.genotype
    assert set(chosen.values()) == {NONE, "pool"}
    assert [name for name in chosen if chosen[name] == NONE] == [
        "normal/3-2",
        "reduce/3-1",
        "reduce/3-2",
    ]


def test_loss_is_another_criterion():
    torch.manual_seed(0)
    by_accuracy, _ = selection(wanted)
    run(by_accuracy)
    torch.manual_seed(0)
    by_loss, strategy = selection(wanted, criterion="loss")
    strategy.validate = lambda without: {"accuracy": 0.0, "loss": wanted(*without)}
    run(by_loss)
    assert by_loss.genotype == by_accuracy.genotype


def test_the_edges_are_decided_in_random_order():
    orders = set()
    for seed in range(4):
        torch.manual_seed(seed)
        selector, _ = selection(wanted)
        run(selector)
        orders.add(tuple(score["subject"] for score in selector.scores))
    assert len(orders) > 1


def test_scores_are_kept_and_the_state_brings_them_back(tmp_path):
    torch.manual_seed(0)
    selector, _ = selection(wanted)
    for _ in range(3):
        selector.run_round()
        selector.round += 1
    saved, generator = selector.state_dict(), torch.get_rng_state()
    run(selector)
    other, _ = selection(wanted)
    other.load_state_dict(saved)
    other.round = 3
    torch.set_rng_state(generator)
    run(other)
    assert other.genotype == selector.genotype
    assert other.scores == selector.scores
    assert len(selector.scores) == 10 + 1 + 2
    first = selector.scores[0]
    assert set(first["scores"]) == set(OPERATIONS) - {NONE}
    assert first["outcome"] == min(first["scores"], key=first["scores"].get)


@pytest.mark.parametrize("setting", [{"interval": 0}, {"weight_lr": 0.0}, {"weight_lr": -1.0}])
def test_impossible_values_are_refused(setting):
    ((key, value),) = setting.items()
    with pytest.raises(ValueError, match=f"^{key}={value}"):
        selection(wanted, **setting)
