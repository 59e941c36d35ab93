"""RADARS: its agenda, the memory bound, feedback, and a search that can stop anywhere."""

import copy
import json
import math
import os
import signal
from functools import partial
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import context

from nasrun.budget import Budget
from nasrun.config import build, compose, resolve
from nasrun.data.augment import Augment
from nasrun.data.images import Digits
from nasrun.selectors.recorded import Healthy
from nasrun.strategies.explore import Explore
from nasrun.strategies.levels import Bilevel
from nasrun.strategies.radars import Turn
from nasrun.tasks.classification import Classification

SMALL = ["rounds=1", "width=2", "depth=3", "batch_size=16", "strategy.warm_up=1"]
SMALL += ["strategy.explore.updates=2", "strategy.explore.samples=2", "strategy.explore.images=16"]


def built(space="mobile", strategy="radars", *overrides):
    small = [word for word in SMALL if "radars" in strategy or not word.startswith("strategy.")]
    config = compose([f"space={space}", f"strategy={strategy}", *small, *overrides]).config
    return tuple(build(resolve(config[part]), part) for part in ("space", "strategy"))


def begun(*overrides, space="mobile", strategy="radars", **limits):
    torch.manual_seed(0)
    made, searching = built(space, strategy, *overrides)
    budget = Budget(device="cpu", precision="fp32", threads=1, max_hours=None, **limits)
    task = Classification(
        augment=Augment(padding=0.0, flip=False, cutout=0.0, resized_crop=None, jitter=0.0),
        label_smoothing=0.0,
        auxiliary_weight=0.0,
        share=1.0,
    )
    task.begin(Digits(size=None, images=48, validation=0.34, split_seed=0), budget)
    searching.begin(context(made, task, budget))
    return searching


def searched(searching, until=None):
    metrics = []
    while searching.round < (until or searching.rounds):
        searching.streams.at(searching.round)
        metrics.append(searching.run_round())
        searching.round += 1
    return metrics


def phases(*overrides):
    return [(turn.phase, turn.cycle) for turn in built("mobile", "radars", *overrides)[1].turns]


def test_alternating_exploits_in_every_cycle_and_shrinking_in_the_last():
    first, second = ("explore", 0), ("explore", 1)
    assert phases() == [("warm_up", 0), first, ("exploit", 0), second, ("exploit", 1)]
    shrinking = phases("strategy.mode=shrink", "strategy.inner.rounds=2")
    assert shrinking == [("warm_up", 0), first, second, ("exploit", 1), ("exploit", 1)]
    turns = built("mobile", "radars", "strategy.inner.rounds=2")[1].turns
    assert turns[2:4] == [Turn("exploit", 0, 0), Turn("exploit", 0, 1)]


@pytest.mark.parametrize("strategy", ["radars", "radars_lstm", "radars_random"])
def test_a_whole_search_ends_in_a_supernet_of_the_kept_choices(strategy):
    searching = begun("strategy.most=2", strategy=strategy)
    metrics = searched(searching)
    kept = searching.exploit.kept
    assert {len(choices) for choices in kept.values()} == {2}
    assert {d.name: d.choices for d in searching.supernet.space.decisions} == kept
    assert [record["alive_choices"] for record in metrics[:2]] == [7.0, 7.0]
    assert [sum(row) / len(row) for row in searching.layers] == [
        record["alive_choices"] for record in metrics
    ]
    assert 4.0 <= metrics[3]["alive_choices"] <= 5.0
    assert all(record["kept_choices"] == 2.0 for record in (metrics[2], metrics[4]))
    assert 0 <= searching.validate()["accuracy"] <= 1


def test_shrinking_halves_what_is_alive_and_leaves_an_operation():
    searching = begun("strategy.mode=shrink", "strategy.cycles=3", "strategy.readmit=0.0")
    alive = [record["alive_choices"] for record in searched(searching)]
    assert alive == [7.0, 7.0, 4.0, 2.0, 2.0]
    assert all(set(choices) != {"none"} for choices in searching.explore.alive().values())


@pytest.mark.parametrize("inner", ["darts", "milenas", "snas", "darts_2nd"])
def test_any_differentiable_strategy_can_exploit(inner):
    searching = begun(f"strategy@strategy.inner={inner}", "strategy.cycles=1")
    metrics = searched(searching)
    assert math.isfinite(metrics[-1]["train_loss"])


def test_the_cell_space_works_too():
    searching = begun("space.nodes=1", "space.kept_edges=1", "strategy.cycles=1", space="darts")
    searched(searching)
    for choices in searching.exploit.kept.values():
        assert set(choices) != {"none"}


PENALTY = "nasrun.strategies.penalties.DirichletKL"
TWICE = ("strategy.inner.rounds=2", "strategy.cycles=2", "strategy.readmit=0.5")


@pytest.fixture(scope="module")
def stations():
    """A whole search, its metrics, and what was saved after each of its rounds."""
    whole, metrics, saved = begun(*TWICE), [], []
    for stop in range(1, whole.rounds + 1):
        metrics += searched(whole, stop)
        saved.append(copy.deepcopy(whole.state_dict()))
    return whole, metrics, saved


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_stopped_after_any_round_it_goes_on_to_the_same_result(stop, stations):
    whole, expected, saved = stations
    second = begun(*TWICE)
    second.load_state_dict(saved[stop - 1])
    second.round = stop
    assert searched(second) == expected[stop:]
    assert second.prunings == whole.prunings
    assert second.layers == whole.layers
    for one, other in zip(whole.supernet.parameters(), second.supernet.parameters(), strict=True):
        assert torch.equal(one, other)


KILLED = ["search", "strategy=radars", "space=mobile", *SMALL, "images=64", "budget.threads=1"]
KILLED += ["strategy.inner.rounds=2", "budget.device=cpu", "seed=3"]
# of seven rounds: warm-up, explore, exploit, exploit, explore, exploit, exploit
PHASES = {
    "explore": (Explore, "score", 7, 4),  # 2 lessons of 2 paths a round
    "exploit": (Bilevel, "step", 4, 3),  # 2 steps a round
}


def kill_at(owner, name, last):
    """From now on this process is killed in so many calls of a method."""
    calls, method = count(1), getattr(owner, name)

    def deadly(*args, **words):
        if next(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*args, **words)

    setattr(owner, name, deadly)


def test_killed_within_a_phase_it_ends_as_if_it_was_not(forked, nasrun, here):
    killed = {phase: here / phase / "digits-mobile-radars/v001/search" for phase in PHASES}
    for phase, (owner, name, last, saved) in PHASES.items():
        process = forked(
            *KILLED,
            f"outputs={phase}",
            before=partial(kill_at, owner, name, last),
        )
        assert process.wait() == -signal.SIGKILL, phase
        assert len((killed[phase] / "metrics.jsonl").read_text().splitlines()) == saved
        assert not (killed[phase] / "result.json").exists()
    for outputs in (*PHASES, "whole"):
        assert nasrun(*KILLED, f"outputs={outputs}").status == 0
        assert nasrun("select", "discretisation=false", f"outputs={outputs}").status == 0
    whole = here / "whole/digits-mobile-radars/v001/search"
    for folder in killed.values():
        for left in ("metrics.jsonl", "subspaces.json", "../select/magnitude/genotype.json"):
            assert (folder / left).read_bytes() == (whole / left).read_bytes(), folder
        ended, undisturbed = (json.loads((f / "result.json").read_text()) for f in (folder, whole))
        for result in (ended, undisturbed):
            del result["seconds"], result["finished_ns"], result["check"]
            del result["digests"]["timing.jsonl"]
        assert ended == undisturbed, folder
        assert (folder / "subspaces.png").stat().st_size > 0


def test_a_search_leaves_the_history_and_frontier_of_its_last_cycle_as_any_supernet_does(tmp_path):
    searching = begun("strategy.inner.rounds=2")
    metrics, written = searched(searching), {}
    folder = SimpleNamespace(
        path=tmp_path,
        metrics=lambda: [{"round": n, **each} for n, each in enumerate(metrics, 1)],
        timing=list,
        write=lambda name, content: written.update({name: content}),
    )
    result = searching.finish(folder)
    assert [one["round"] for one in written["history.json"]] == [1, 2]
    assert written["history.json"] == searching.history.state_dict()
    assert [pruning["cycle"] for pruning in written["subspaces.json"]] == [0, 1]
    assert {picture.name for picture in tmp_path.iterdir()} == {
        "search.png",
        "frontier.png",
        "subspaces.png",
    }
    assert {"sizes", "trained_on", "kept_choices", "predicted_memory_gib"} < set(result)
    assert result["validation_accuracy"] == metrics[-1]["validation_accuracy"]


def test_weights_go_from_the_paths_to_the_supernet_and_back():
    searching = begun()
    searched(searching, 2)
    explored = {name: part[""].clone() for name, part in searching.explore.bank._parts.items()}
    searching._prune(0)
    for name, parameter in searching.supernet.network.named_parameters():
        assert torch.equal(parameter, explored[name]), name
    searching.exploit.inner.round = 0
    searching.exploit.run_round(searching)
    moved = {n: p.detach().clone() for n, p in searching.supernet.network.named_parameters()}
    searching._return()
    for name, part in searching.explore.bank._parts.items():
        assert torch.equal(part[""], moved.get(name, explored[name])), name
        if name in moved:  # the momentum was that of other weights
            assert not part["momentum_buffer"].any()
    assert searching.exploit is None


def test_the_controller_follows_the_alphas():
    searching = begun("strategy.mu=1.0", "strategy.most=2", "strategy.readmit=0.0")
    searched(searching, 3)
    with torch.no_grad():
        searching.supernet.alpha[:, 0] += 3.0
    kept = searching.exploit.kept
    searching._return()
    table = searching.explore.controller.marginals()
    for decision, row in zip(searching.space.decisions, table, strict=True):
        first, second = (decision.choices.index(choice) for choice in kept[decision.name])
        assert row[first] > 5 * row[second]


def test_a_pruned_choice_can_come_back():
    searching = begun("strategy.readmit=1.0", "strategy.most=1")
    searched(searching, 3)
    before = {name: set(choices) for name, choices in searching.explore.alive().items()}
    searching._return()
    after = searching.explore.alive()
    assert all(len(set(after[name]) - before[name]) == 1 for name in after)


@settings(max_examples=6, deadline=None)
@given(
    space=st.sampled_from(["mobile", "mobile_13"]),
    share=st.floats(0.0, 1.0),
    inner=st.sampled_from(["darts", "milenas"]),
)
def test_the_supernet_fits_whatever_the_space_or_the_search_is_refused(space, share, inner):
    words = (f"strategy@strategy.inner={inner}", "strategy.most=9", "strategy.cycles=1")
    limit = (0.5 + 12 * share) / 1024
    try:
        searching = begun(*words, space=space, max_memory_gib=limit)
    except ValueError as refusal:
        needed = float(str(refusal).split("needs about ")[1].split(" GiB")[0])
        assert needed >= 0.99 * limit
        return
    searching._prune(0)
    kept = searching.exploit.kept
    bank = searching.explore.bank.bytes
    need = searching.inner.footprint(searching.shapes, kept, len(searching.validation)) + bank
    assert need == searching.prunings[-1]["bytes_by_shape"]
    assert need <= 0.9 * limit * 2**30
    assert searching.exploit.memory_gib <= limit


def test_a_supernet_that_does_not_fit_is_refused_with_what_it_needs():
    """The purpose of radars: the whole space at once does not fit."""
    with pytest.raises(ValueError, match=r"max_memory_gib=0\.004: .* about 0\.\d+ GiB.*radars"):
        begun(space="mobile_13", strategy="darts", max_memory_gib=0.004)
    begun(space="mobile_13", strategy="radars", max_memory_gib=0.008)


def test_more_room_keeps_more_choices():
    def kept(limit):
        searching = begun("strategy.most=13", space="mobile_13", max_memory_gib=limit)
        searching._prune(0)
        return sum(map(len, searching.exploit.kept.values()))

    assert kept(0.006) < kept(0.012)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["strategy@strategy.inner=sgas"], "expected Differentiable"),
        (["strategy@strategy.inner=random"], "expected Differentiable"),
        (["strategy.inner.partial_channels=2"], "inner.partial_channels=2: RADARS shares weights"),
    ],
)
def test_an_inner_search_that_cannot_exploit_is_refused(words, expected):
    with pytest.raises(ValueError, match=expected):
        built("mobile", "radars", *words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["darts_2nd", "weight_optimizer.nesterov=true"], "strategy.inner.*nesterov"),
        (["darts", f"penalty={{_target_:{PENALTY},scale:1.0}}"], "relaxation=Softmax; use"),
    ],
)
def test_what_the_inner_search_refuses_is_refused_before_exploring(words, expected):
    name, *others = words
    words = [f"strategy.inner.{word}" for word in others]
    with pytest.raises(ValueError, match=expected):
        begun(f"strategy@strategy.inner={name}", *words)


@pytest.mark.parametrize(
    "word", ["cycles=0", "explore_rounds=0", "most=0", "guard=0.0", "mu=1.5", "readmit=-0.1"]
)
def test_settings_that_cannot_work_are_refused(word):
    with pytest.raises(
        ValueError, match=rf"strategy\.?.*{word.split('=')[0]}={word.split('=')[1]}"
    ):
        built("mobile", "radars", f"strategy.{word}")


def test_a_search_without_a_watchdog_is_refused_by_healthy_before_it_explores():
    searching = begun("strategy.inner.watchdog=null")
    with pytest.raises(ValueError, match=r"has strategy\.inner\.watchdog=null, so nothing says"):
        Healthy().check(searching, searching.space)
    watched = begun()
    Healthy().check(watched, watched.space)
