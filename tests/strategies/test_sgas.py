"""SGAS: when which edge is decided, which edges are dropped, and the certainty."""

import math
from types import SimpleNamespace

import pytest
from toys import context

from nasrun.budget import Budget
from nasrun.config import build, compose, resolve
from nasrun.genotype import NONE
from nasrun.strategies.judges import Magnitude
from nasrun.strategies.sgas import Greedy
from nasrun.streams import Streams
from nasrun.supernet.relaxation import Softmax
from nasrun.supernet.supernet import magnitude

CPU = Budget(device="cpu", precision="auto", threads=1, max_hours=None)
TINY = ["width=2", "depth=3", "batch_size=8", "images=40", "dataset.size=8"]
OPERATIONS = "[none,max_pool_3x3,skip_connect,sep_conv_3x3]"


def begun(*overrides, strategy="sgas"):
    composed = compose([*TINY, f"strategy={strategy}", *overrides]).config
    space, dataset, task, made = (
        build(resolve(composed[key]), key) for key in ("space", "dataset", "task", "strategy")
    )
    Streams(0).enter("test")
    task.begin(dataset, CPU)
    made.begin(context(space, task, CPU))
    return made


def test_in_the_darts_space_eight_edges_a_cell_type_are_decided_after_epochs_10_15_to_45_of_50():
    strategy = begun("rounds=50")
    assert strategy.to_decide == 8
    due = [strategy.due(rounds) for rounds in range(51)]
    changes = [rounds for rounds in range(1, 51) if due[rounds] > due[rounds - 1]]
    assert changes == [10, 15, 20, 25, 30, 35, 40, 45]
    assert due[-1] == 8


@pytest.mark.parametrize("rounds", [1, 2, 5, 7])
def test_a_short_search_takes_all_decisions_too_and_none_before_its_first_round(rounds):
    strategy = begun(f"rounds={rounds}")
    assert strategy.due(0) == 0
    assert strategy.due(rounds) == 8


def test_at_the_end_the_supernet_is_one_architecture_with_two_edges_a_node():
    strategy = begun("rounds=4", "space.nodes=3", f"space.operations={OPERATIONS}")
    decided = []
    for _ in range(4):
        decided.append(strategy.run_round()["decided"])
        strategy.round += 1
    assert decided == sorted(decided)
    assert decided[-1] == len(strategy.space.rows)
    fixed = strategy.supernet.fixed
    for limit in strategy.space.limits:
        assert sum(fixed[name] != NONE for name in limit.decisions) == limit.count
    assert dict(strategy.supernet.genotype(magnitude)) == fixed
    assert len(strategy.decisions) == 2 * strategy.to_decide
    for decision in strategy.decisions:
        name, certainty = decision["subject"], decision["certainty"]
        assert certainty[name] == max(certainty.values())
        assert decision["outcome"] == fixed[name] != NONE
    assert strategy.batch_size == strategy.inner.batch_size == 8 + 8 * 6


def test_begun_again_it_is_as_new():
    """As `nasrun run` does to select from it."""
    strategy = begun("rounds=2", "strategy.batch_growth=4", f"space.operations={OPERATIONS}")
    for strategy.round in range(2):
        strategy.run_round()
    assert strategy.inner.batch_size > 8
    assert strategy.decisions
    strategy.begin(context(strategy.space, strategy.task, CPU))
    assert strategy.batch_size == strategy.inner.batch_size == 8
    assert strategy.decisions == []


def test_tuning_decides_nothing_after_an_early_stop():
    strategy = begun("rounds=50")
    strategy.round = 10
    strategy.tune(0.01)
    strategy.run_round()
    assert strategy.supernet.fixed == {}
    assert strategy.supernet.progress == 1.0


def test_batches_that_grow_are_foreseen():
    tiny = ["space.nodes=1", "space.kept_edges=1", f"space.operations={OPERATIONS}"]
    same, growing = (begun(f"strategy.batch_growth={n}", *tiny).foreseen_bytes() for n in (0, 64))
    assert growing > 1.5 * same


def test_more_images_than_there_are_to_judge_by_are_refused_at_the_beginning():
    with pytest.raises(
        ValueError, match=r"strategy\.judge\.images=10000: there are \d+; use at most"
    ):
        begun("strategy.judge.images=10000", strategy="sgas_pt")


def rows(*values):
    names = (NONE, "skip", "conv")
    return {f"edge{i}": dict(zip(names, row, strict=True)) for i, row in enumerate(values)}


def greedy(history=0):
    inner = SimpleNamespace(batch_size=8, relaxation=Softmax(), level=None, watchdog=None)
    return Greedy(
        inner=inner, judge=Magnitude(), first=0.2, last=0.9, history_size=history, batch_growth=0
    )


def test_certainty_is_scaled_importance_times_scaled_certainty():
    table = rows((0.5, 0.25, 0.25), (0.2, 0.6, 0.2), (0.1, 0.45, 0.45), (0.3, 0.6, 0.1))
    entropy = [1.0, -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)), 1.0]
    entropy.append(-(6 / 7 * math.log2(6 / 7) + 1 / 7 * math.log2(1 / 7)))
    importance = [0.0, 0.75, 1.0, 0.5]
    largest = 1 - entropy[3]
    expected = [i * (1 - h) / largest for i, h in zip(importance, entropy, strict=True)]
    assert list(greedy().certainty(table).values()) == pytest.approx(expected)


def test_the_importance_of_an_edge_is_that_of_its_operations_whatever_the_edges_weight():
    plain = rows((0.5, 0.25, 0.25), (0.2, 0.6, 0.2), (0.1, 0.45, 0.45))
    weighted = {
        name: {choice: weight * p for choice, p in row.items()}
        for weight, (name, row) in zip((0.5, 0.2, 0.3), plain.items(), strict=True)
    }
    assert greedy().certainty(weighted) == pytest.approx(greedy().certainty(plain))


def test_a_measure_that_is_the_same_for_all_edges_does_not_count():
    table = {f"edge{i}": {"skip": p, "conv": 1 - p} for i, p in enumerate((0.5, 0.9, 0.7))}
    scores = list(greedy().certainty(table).values())
    assert scores[:2] == pytest.approx([0.0, 1.0])
    assert 0 < scores[2] < 1


def test_stability_is_the_mean_intersection_with_the_past():
    strategy, table = greedy(history=2), rows((0.2, 0.6, 0.2), (0.2, 0.2, 0.6), (0.2, 0.7, 0.1))
    plain = strategy.certainty(table)
    strategy.past = [
        {name: {"skip": 0.75, "conv": 0.25} for name in table},
        {name: {"skip": 0.25, "conv": 0.75} for name in table},
    ]
    third = [(1 + 0.5) / 2, (0.5 + 1) / 2, (0.875 + 0.375) / 2]
    low, high = min(third), max(third)
    expected = [
        score * (value - low) / (high - low)
        for score, value in zip(plain.values(), third, strict=True)
    ]
    assert list(strategy.certainty(table).values()) == pytest.approx(expected)


def test_the_past_is_kept_for_as_many_rounds_as_asked_and_survives_a_state():
    strategy = begun("rounds=5", "strategy.history_size=2", "space.nodes=2", "strategy.first=0.8")
    for _ in range(3):
        strategy.run_round()
        strategy.round += 1
    assert len(strategy.past) == 2
    row = strategy.past[-1]["normal/2-0"]
    assert NONE not in row
    assert sum(row.values()) == pytest.approx(1.0)
    other = begun("rounds=5", "strategy.history_size=2", "space.nodes=2", "strategy.first=0.8")
    other.load_state_dict(strategy.state_dict())
    assert other.past == strategy.past


def test_with_pt_the_operation_is_the_one_that_is_missed_most():
    strategy = begun(
        "rounds=2", "space.nodes=1", "space.kept_edges=1", f"space.operations={OPERATIONS}",
        strategy="sgas_pt",
    )  # fmt: skip
    masked = {}
    measured = strategy.inner.masked

    def scripted(masks, **settings):
        if masks == [None]:
            return measured(masks, **settings)
        for decision, choice in masks:
            masked.setdefault(decision, []).append(choice)
        accuracies = [0.1 if choice == "max_pool_3x3" else 0.5 for _, choice in masks]
        return [{"accuracy": accuracy, "loss": 1.0} for accuracy in accuracies]

    strategy.inner.masked = scripted
    for _ in range(2):
        strategy.run_round()
        strategy.round += 1
    assert len(masked) == 2
    for name, choices in masked.items():
        assert choices == OPERATIONS.strip("[]").split(",")
        assert strategy.supernet.fixed[name] == "max_pool_3x3"


@pytest.mark.parametrize(
    "setting",
    [{"first": 0.9, "last": 0.2}, {"last": 1.5}, {"history_size": -1}, {"batch_growth": -1}],
)
def test_impossible_values_are_refused(setting):
    settings = {"first": 0.2, "last": 0.9, "history_size": 0, "batch_growth": 0, **setting}
    key = next(iter(setting))
    with pytest.raises(ValueError, match=f"{key}={setting[key]}"):
        Greedy(inner=SimpleNamespace(batch_size=8), judge=Magnitude(), **settings)
