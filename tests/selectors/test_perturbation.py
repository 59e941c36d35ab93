"""Perturbation: DARTS-PT's events on scripted scores, so that every choice is known beforehand."""

import copy
import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cross_entropy
from toys import Decisions, context

from nasrun.budget import Budget
from nasrun.config import build, compose, resolve
from nasrun.divergence import Diverged
from nasrun.genotype import NONE, AtMost, Decision
from nasrun.selectors.perturbation import Perturbation
from nasrun.spaces.supernet import batch_statistics
from nasrun.strategies.base import SupernetStrategy
from nasrun.strategies.judges import Magnitude, Masked, MaskedInTraining
from nasrun.streams import Streams
from nasrun.supernet.relaxation import Softmax

OPERATIONS = (NONE, "pool", "skip", "conv")


class Toy(Decisions):
    """Two cell types with nodes 2 and 3, of which node 3 keeps two of its three edges."""

    name = "toy"
    decisions = tuple(
        Decision(f"{cell}/{node}-{source}", OPERATIONS)
        for cell in ("normal", "reduce")
        for node in (2, 3)
        for source in range(node)
    )
    none_is_a_choice = False
    limits = tuple(
        AtMost(tuple(f"{cell}/3-{source}" for source in range(3)), kept)
        for cell, kept in (("normal", 2), ("reduce", 1))
    )


class Unlimited(Toy):
    """As NAS-Bench-201: one cell type, six edges of five operations, `none` one of them."""

    decisions = tuple(
        Decision(f"cell/{node}-{source}", (NONE, "skip", "conv1", "conv3", "pool"))
        for node in (1, 2, 3)
        for source in range(node)
    )
    limits = ()
    none_is_a_choice = True


class Scripted(SupernetStrategy):
    """A strategy whose masked accuracies are given: what is missed most scores least."""

    rounds = 3
    batch_size = 16
    relaxation = Softmax()

    def __init__(self, missed, space):
        self.missed = missed
        self.supernet = SimpleNamespace(fixed={}, space=space)
        self.asked, self.tuned, self.events = [], [], []

    def begin(self, context):
        raise NotImplementedError

    def masked(self, masks, *, images=None, batch_size=None, in_training=False):
        self.asked += [(mask, dict(self.supernet.fixed)) for mask in masks]
        missed = [self.missed(*mask) for mask in masks]
        return [{"accuracy": 1 - each, "loss": each} for each in missed]

    def tune(self, weight_lr):
        self.tuned.append(weight_lr)

    def skip_ahead(self):
        raise NotImplementedError

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


def selection(missed, space=None, *, criterion="accuracy", **settings):
    space = space or Toy()
    defaults = {
        "interval": 1,
        "weight_lr": 0.1,
        "order": "random",
        "judge": Masked(criterion=criterion, images=None, batch_size=None),
        "drop_together": False,
    }
    selector = Perturbation(**{**defaults, **settings})
    strategy = Scripted(missed, space)
    selector.begin(context(space), strategy)
    return selector, strategy


def run(selector, saved=lambda: None):
    metrics = []
    while not selector.done:
        selector.streams.at(selector.round)
        metrics.append(selector.run_round())
        selector.round += 1
        saved()
    return metrics


def wanted(decision, choice):
    """Each edge misses another operation most; later sources are missed more."""
    if choice == NONE:
        return 0.0
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


def test_its_rehearsals_have_all_rounds_of_tuning():
    for interval in (1, 5):
        selector, strategy = selection(wanted, interval=interval)
        tuned = [each for each in selector.rehearsals(strategy) if each.play]
        assert sum(each.rounds for each in tuned) == selector.rounds
        assert sum(each.rests for each in tuned) == selector.rounds


def test_the_darts_space_has_17_events_of_darts_pt():
    space = build(resolve(compose([]).config["space"]), "space")
    selector, _ = selection(wanted, space, interval=5)
    assert (selector.operation_events, selector.topology_events) == (14, 3)
    assert selector.rounds == 81
    rounds = [selector.round_of(event) for event in range(17)]
    assert rounds == list(range(0, 81, 5))


PUBLISHED = {"darts_s1": 100, "darts_s2": 100, "darts_s3": 128, "darts_s4": 100, "darts_s5": 240}
"""Passes over the validation images in the spaces of DARTS-PT."""


def test_a_space_of_darts_pt_has_the_published_events_and_passes(no_pictures):
    folder = SimpleNamespace(path=Path(), write=lambda name, content: None)
    for name, passes in PUBLISHED.items():
        space = build(resolve(compose([f"space={name}"]).config["space"]), "space")
        selector, strategy = selection(lambda decision, choice: 0.5, space, interval=5)
        assert (selector.operation_events, selector.topology_events) == (14, 3)
        assert selector.rounds == 81
        run(selector)
        assert len(strategy.asked) == passes
        for limit in space.limits:
            assert sum(selector.genotype[name] != NONE for name in limit.decisions) == 2
        report = selector.report(folder)
        assert report["validation_passes"] == passes
        assert (report["events"], report["tuning_rounds"]) == (17, 81)


def test_without_topology_the_last_event_comes_before_the_last_of_interval_times_events_rounds():
    """DARTS-PT's schedule on NAS-Bench-201: 25 rounds, events at 0, 5, 10, 15, 20 and 24."""
    torch.manual_seed(0)
    selector, strategy = selection(lambda decision, choice: 0.5, Unlimited(), interval=5)
    assert selector.rounds == 25
    metrics = run(selector)
    decided = [m["decided"] for m in metrics]
    assert decided == [1] * 5 + [2] * 5 + [3] * 5 + [4] * 5 + [5] * 4 + [6]
    assert len(strategy.asked) == 30


@pytest.mark.parametrize("interval", [1, 2, 3, 5])
@pytest.mark.parametrize("space", [Toy(), Unlimited()])
def test_every_event_has_a_round_of_its_own_and_one_follows_the_last(space, interval):
    selector, _ = selection(wanted, space, interval=interval)
    rounds = [selector.round_of(event) for event in range(selector.events)]
    assert len(set(rounds)) == selector.events == 6
    assert rounds[-1] == selector.rounds - 1
    assert all(b - a <= interval for a, b in pairwise(rounds))


def test_each_operation_is_tried_once_and_none_is_measured_but_never_kept():
    torch.manual_seed(0)
    missed = lambda decision, choice: 1.0 if choice == NONE else wanted(decision, choice)  # noqa: E731
    selector, strategy = selection(missed)
    run(selector)
    tried = [without for without, fixed in strategy.asked if without[0] not in fixed]
    assert len(tried) == len(set(tried)) == 10 * 4
    decided = [s for s in selector.scores if s["subject"] in Toy().rows]
    assert len(decided) == 10
    assert all(min(s["scores"], key=s["scores"].get) == NONE for s in decided)
    assert all(s["outcome"] != NONE for s in decided)


def test_where_none_is_a_choice_it_can_win_and_wins_ties():
    torch.manual_seed(0)
    selector, _ = selection(lambda decision, choice: 0.5, Unlimited())
    run(selector)
    assert set(selector.genotype.values()) == {NONE}
    torch.manual_seed(0)
    selector, _ = selection(lambda decision, choice: float(choice == "conv3"), Unlimited())
    run(selector)
    assert set(selector.genotype.values()) == {"conv3"}


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


@pytest.mark.parametrize("drop_together", [False, True])
def test_an_edge_without_which_no_limit_can_be_met_is_not_dropped(drop_together):
    class Limited:
        def complete(self, fixed):
            return None if fixed.get("reduce/3-0") == NONE else fixed

    torch.manual_seed(0)
    selector, _ = selection(wanted, drop_together=drop_together)
    selector.context = replace(selector.context, limits=Limited())
    run(selector)
    dropped = [name for name, choice in selector.genotype.items() if choice == NONE]
    assert dropped == ["normal/3-0", "reduce/3-1", "reduce/3-2"]  # instead of reduce/3-0


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
    strategy.masked = lambda masks, images, batch_size: [
        {"accuracy": 0.0, "loss": wanted(*mask)} for mask in masks
    ]
    run(by_loss)
    assert by_loss.genotype == by_accuracy.genotype


def subjects(selector, cell):
    return [score["subject"] for score in selector.scores if score["subject"].startswith(cell)]


def test_the_seed_decides_a_random_order_whatever_is_judged_and_tuned():
    orders = []
    for seed in (0, 0, 1, 2, 3):
        torch.manual_seed(seed)
        selector, strategy = selection(wanted, interval=1 + len(orders))
        rounds = strategy.run_round
        strategy.run_round = lambda rounds=rounds: {"noise": float(torch.rand(())), **rounds()}
        run(selector)
        orders.append(tuple(score["subject"] for score in selector.scores))
    assert orders[0] == orders[1]
    assert len(set(orders)) > 1


@pytest.mark.parametrize(("order", "step"), [("fixed", 1), ("reverse", -1)])
def test_a_fixed_order_is_that_of_the_space_and_reverse_its_opposite(order, step):
    selector, _ = selection(wanted, order=order)
    run(selector)
    names = [name for name in Toy().rows if name.startswith("normal")]
    assert subjects(selector, "normal") == [*names[::step], "normal/3"]


def test_nodes_have_their_turn_in_that_order_too():
    space = build(resolve(compose(["space=darts_s2"]).config["space"]), "space")
    for order, nodes in (("fixed", "344555"), ("reverse", "555443")):
        selector, _ = selection(lambda decision, choice: 0.5, space, order=order)
        run(selector)
        assert subjects(selector, "reduce")[14:] == [f"reduce/{node}" for node in nodes]


def test_dropped_together_the_edges_are_back_in_later_trials_of_their_event():
    torch.manual_seed(0)
    selector, strategy = selection(wanted, drop_together=True)
    run(selector)
    trials = [fixed for (name, _), fixed in strategy.asked if name in fixed and "reduce/3" in name]
    assert len(trials) == 3 + 2
    assert all(NONE not in [fixed[f"reduce/3-{n}"] for n in range(3)] for fixed in trials)
    kept = [name for name, choice in selector.genotype.items() if choice != NONE and "/3-" in name]
    assert kept == ["normal/3-1", "normal/3-2", "reduce/3-2"]


def test_a_supernet_that_is_decided_already_takes_no_rounds():
    space = Toy()
    selector, strategy = selection(wanted)
    strategy.supernet.fixed.update(dict.fromkeys(space.rows, "skip"))
    for name in ("normal/3-0", "reduce/3-0", "reduce/3-1"):
        strategy.supernet.fixed[name] = NONE
    selector.begin(context(space), strategy)
    assert (selector.events, selector.rounds, selector.done) == (0, 0, True)
    assert set(selector.genotype.values()) == {"skip", NONE}


def test_scores_are_kept_and_the_state_brings_them_back(tmp_path):
    torch.manual_seed(0)
    selector, _ = selection(wanted)
    for _ in range(3):
        selector.run_round()
        selector.round += 1
    saved = selector.state_dict()
    run(selector)
    other, _ = selection(wanted)
    other.load_state_dict(saved)
    other.round = 3
    run(other)
    assert other.genotype == selector.genotype
    assert other.scores == selector.scores
    assert len(selector.scores) == 10 + 1 + 2
    first = selector.scores[0]
    assert list(first["scores"]) == list(OPERATIONS)
    kept = {choice: score for choice, score in first["scores"].items() if choice != NONE}
    assert first["outcome"] == min(kept, key=kept.get)
    assert json.loads(json.dumps(selector.scores)) == selector.scores
    selector.scores[2:] = []  # two panels are enough
    selector.report(SimpleNamespace(path=tmp_path, write=lambda name, content: None))
    assert (tmp_path / "scores.png").stat().st_size > 10_000


@pytest.mark.parametrize("setting", [{"interval": 0}, {"weight_lr": 0.0}, {"weight_lr": -1.0}])
def test_impossible_values_are_refused(setting):
    ((key, value),) = setting.items()
    with pytest.raises(ValueError, match=f"^{key}={value}"):
        selection(wanted, **setting)


# On real supernets

CPU = Budget(device="cpu", precision="auto", threads=1, max_hours=None)
TINY = ["rounds=1", "width=2", "depth=3", "batch_size=16", "images=40", "dataset.size=8"]


def real(*overrides, perturbed=()):
    """A strategy on a tiny supernet, and a selector that has begun on it."""
    composed = compose([*TINY, *overrides, "selector=perturb", *perturbed]).config
    space, dataset, task, strategy, selector = (
        build(resolve(composed[key]), key)
        for key in ("space", "dataset", "task", "strategy", "selector")
    )
    streams = Streams(0)
    streams.enter("test")
    task.begin(dataset, CPU)
    strategy.begin(context(space, task, CPU, streams=streams))
    selector.begin(context(space, streams=streams), strategy)
    return selector, strategy


def spied(strategy, tuned=False):
    """The candidates that the strategy is asked to mask; tuning is left out if not wanted."""
    asked, masked = [], strategy.masked

    def noted(masks, **settings):
        asked.extend(mask for mask in masks if mask is not None)
        return masked(masks, **settings)

    strategy.masked = noted
    if not tuned:
        strategy.run_round = lambda: {}
    return asked


SMALL = ["space.nodes=2", "space.kept_edges=1"]


def test_its_rounds_show_entropy_as_a_share_as_those_of_the_search_do():
    selector, strategy = real("space=darts_s5", *SMALL)
    entropies = {name for name in selector.run_round() if name.startswith("entropy")}
    assert entropies
    assert entropies <= selector.largest.keys()
    assert selector.largest == strategy.largest


def test_decided_rows_get_no_gradient_and_what_decay_does_to_their_alphas_does_not_matter():
    selector, strategy = real("space=darts_s5", *SMALL)
    gradients = []
    descend = strategy.search.descend_alphas

    def watched(gradient):
        gradients.append((dict(strategy.supernet.fixed), gradient[0].clone()))
        descend(gradient)

    strategy.search.descend_alphas = watched
    with torch.no_grad():
        strategy.supernet.alpha += 1.0  # something for the decay to shrink
    before = strategy.supernet.alpha.detach().clone()
    run(selector)
    assert len(gradients) == 2 * selector.rounds
    for fixed, gradient in gradients:
        for name, row in selector.space.rows.items():
            assert (gradient[row] == 0).all() == (name in fixed)
    supernet = strategy.supernet
    first = selector.space.rows[selector.scores[0]["subject"]]
    assert (supernet.alpha[first] < before[first]).all()  # Adam's decay moves it all the same
    expected = supernet.mixture(), supernet.probabilities(), strategy.validate()
    with torch.no_grad():
        supernet.alpha[first] = torch.randn(7) * 100
    mixture = supernet.mixture()
    assert torch.equal(mixture.weights, expected[0].weights)
    assert (mixture.active, supernet.probabilities(), strategy.validate()) == (
        expected[0].active,
        *expected[1:],
    )


def test_a_judge_masks_without_normalising_again(monkeypatch):
    selector, strategy = real("space=darts_s5", *SMALL)
    seen, mixture = [], strategy.supernet.mixture

    def watched(**settings):
        seen.append((settings.get("without"), mixture(**settings)))
        return seen[-1][1]

    strategy.supernet.mixture = watched
    decision = selector.space.decisions[0]
    selector.judge.decide(strategy, decision, decision.choices)
    plain = torch.softmax(strategy.supernet.alpha.detach(), 1)
    assert [without for without, _ in seen] == [(decision.name, c) for c in decision.choices]
    for column, (_, masked) in enumerate(seen):
        assert torch.equal(masked.weights, plain)
        assert masked.active[0] == tuple(c for c in range(7) if c != column)
        assert all(active == tuple(range(7)) for active in masked.active[1:])


@pytest.mark.parametrize("strategy", ["snas", "darts"])
def test_trials_of_a_sampled_relaxation_mask_its_mean_and_draw_nothing(strategy):
    selector, begun = real("space=darts_s5", *SMALL, f"strategy={strategy}")
    begun.supernet.train()
    generator = torch.get_rng_state()
    decision = selector.space.decisions[3]
    assert selector.judge.decide(begun, decision, decision.choices) == selector.judge.decide(
        begun, decision, decision.choices
    )
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_supernet_that_is_evaluated_with_one_operation_per_edge_cannot_be_judged_by_masking():
    with pytest.raises(ValueError, match=r"selector\.judge: .* misses no other one; use selector="):
        real("space=darts_s5", *SMALL, "strategy=dsnas")
    real("space=darts_s5", *SMALL, "strategy=dsnas", perturbed=["selector=perturb_magnitude"])


def test_trials_see_the_same_noise_wherever_a_noise_operation_is_masked():
    _, strategy = real("space=darts_s4", *SMALL)
    noises = [m for m in strategy.supernet.modules() if type(m).__name__ == "Noise"]
    drawn = {}
    for position, noise in enumerate(noises):

        def noted(state, at=position, term=noise.term):
            made = term(state)
            drawn.setdefault(at, []).append(made.state.map.clone())
            return made

        noise.term = noted
    for without in (None, ("normal/2-0", "noise"), ("normal/2-0", "sep_conv_3x3")):
        strategy.masked([without])
    masked = [at for at, maps in drawn.items() if len(maps) == 2]
    assert len(masked) == 1  # one normal cell
    for maps in drawn.values():
        assert all(torch.equal(maps[0], other) for other in maps[1:])
    first, second = (maps[0] for maps in list(drawn.values())[:2])
    assert not torch.equal(first, second)
    noises[0](torch.zeros(1, 2, 4, 4))
    assert not torch.equal(noises[0](torch.zeros(1, 2, 4, 4)), noises[0](torch.zeros(1, 2, 4, 4)))


def test_magnitude_decides_by_the_alphas_of_the_moment_and_measures_nothing(tmp_path):
    selector, strategy = real(
        "space=darts", *SMALL, perturbed=["selector=perturb_magnitude", "selector.order=reverse"]
    )
    assert isinstance(selector.judge, Magnitude)
    with torch.no_grad():
        strategy.supernet.alpha.normal_(0, 1)
        strategy.supernet.alpha[:, 0] += 5.0  # none is likeliest everywhere, and never taken
    asked = spied(strategy)
    expected = strategy.supernet.probabilities()
    run(selector)
    assert asked == []
    genotype, kept = selector.genotype, {}
    for name, row in expected.items():
        kept[name] = max((p, c) for c, p in row.items() if c != NONE)
    for limit in selector.space.limits:
        strongest = max(limit.decisions, key=lambda name: kept[name][0])
        assert [n for n in limit.decisions if genotype[n] != NONE] == [strongest]
        assert genotype[strongest] == kept[strongest][1]
    folder = SimpleNamespace(path=tmp_path, write=lambda name, content: None)
    assert selector.report(folder)["validation_passes"] == 0


def test_the_released_way_measures_in_training_mode_on_augmented_images():
    selector, strategy = real("space=darts_s2", *SMALL, perturbed=["selector=perturb_released"])
    assert isinstance(selector.judge, MaskedInTraining)
    assert selector.drop_together
    norms = [m for m in strategy.supernet.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    trial = ("normal/2-0", "skip_connect")
    measured = strategy.masked([trial] * 3, in_training=True)
    found = {metrics["loss"] for metrics in measured}
    assert len(found) == 3  # another order and other crops each time
    assert all((norm.running_mean != b).any() for norm, b in zip(norms, before, strict=True))
    run(selector)
    assert len(selector.genotype) == 10


def test_a_part_of_the_validation_images_is_fixed():
    _, strategy = real("space=darts_s2", *SMALL, "images=100")
    whole, part = strategy.validate(), strategy.validate(images=16)
    assert part == strategy.validate(images=16)
    assert part["loss"] != whole["loss"]
    assert (part["accuracy"] * 16) % 1 == pytest.approx(0.0, abs=1e-9)
    for images in (5, 51):
        with pytest.raises(ValueError, match=rf"^images={images}: there are 2\d; use at most"):
            strategy.validate(images=images)
    with pytest.raises(ValueError, match=r"^images=0"):
        Masked(criterion="loss", images=0, batch_size=None)
    assert Masked(criterion="loss", images=1, batch_size=2).batch_size == 2
    with pytest.raises(ValueError, match="batch_size=1: use at least 2"):
        Masked(criterion="loss", images=1, batch_size=1)


def test_trials_share_batch_norms_as_in_training_unless_another_size_is_asked_for():
    """DARTS-PT's released code measures in the search's batches, in training mode."""
    _, strategy = real("space=darts_s2", *SMALL, "images=100", "batch_size=16")
    decision = strategy.supernet.space.decisions[0]
    network, split = strategy.supernet.network, strategy.validation
    found = {
        size: Masked(criterion="loss", images=None, batch_size=size).operations(strategy, decision)
        for size in (None, 16, 128)
    }
    assert found[None] == found[16]
    assert found[None] != found[128]
    with batch_statistics(strategy.supernet), torch.no_grad():
        mixture = strategy.supernet.mixture(without=(decision.name, "skip_connect"))
        losses = [
            cross_entropy(network(images, mixture=mixture)[0], labels, reduction="sum")
            for images, labels in split.batches(16)
        ]
    expected = -float(sum(losses)) / len(split)
    assert found[None]["skip_connect"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=r"^batch_size=1: use at least 2"):
        Masked(criterion="loss", images=None, batch_size=1)


class Stop(Exception):
    """An interruption."""


@pytest.fixture(scope="module")
def whole():
    """A selection that nothing stopped."""
    selector, _ = real("space=darts_s2", *SMALL)
    run(selector)
    return selector


@pytest.mark.parametrize("after", [1, 3, 9, 10, 13])
def test_stopped_in_the_middle_of_an_event_it_decides_and_scores_the_same_again(after, whole):
    """In an operation event of the second cell type, between events, and in a topology event."""
    selector, strategy = real("space=darts_s2", *SMALL)
    saved = []

    def save():
        state = copy.deepcopy(selector.state_dict())
        saved[:] = [selector.round, state]

    masked, left = strategy.masked, after

    def failing(masks, **settings):
        nonlocal left
        left -= sum(mask is not None for mask in masks)
        if left < 0:
            raise Stop
        return masked(masks, **settings)

    strategy.masked = failing
    save()
    with pytest.raises(Stop):
        run(selector, save)
    again, _ = real("space=darts_s2", *SMALL)
    again.round, state = saved
    again.load_state_dict(state)
    run(again)
    assert again.scores == whole.scores
    assert again.genotype == whole.genotype


def test_a_tuning_that_diverges_names_the_selectors_own_rate():
    selector, strategy = selection(wanted)

    def diverging():
        raise Diverged("the search", {"train_loss": math.nan}, ["weight_optimizer.lr"])

    strategy.run_round = diverging
    with pytest.raises(Diverged, match=r"tuning .* diverged .*; use a smaller weight_lr"):
        selector.run_round()


def test_an_operation_without_which_the_loss_is_no_number_is_kept():
    lost = {
        decision.name: OPERATIONS[1 + place % 3] for place, decision in enumerate(Toy.decisions)
    }

    def missed(decision, choice):
        return math.nan if lost.get(decision) == choice else wanted(decision, choice)

    selector, _ = selection(missed, criterion="loss")
    run(selector)
    kept = {name: choice for name, choice in selector.genotype.items() if choice != NONE}
    assert kept
    assert kept.items() <= lost.items()


def test_an_edge_that_the_search_has_decided_is_dropped_after_all_less_certain_ones():
    selector, _ = real("space=darts", *SMALL, perturbed=["selector=perturb_magnitude"])
    selector.scores = [{"subject": "normal/2-0", "scores": {"a": -0.6}, "outcome": "a"}]
    kept = {edge: selector._decided(edge) for edge in ("normal/2-0", "normal/2-1")}
    assert max(kept, key=kept.__getitem__) == "normal/2-0"
