"""Networks that grow from each other, from the command line: results, interruptions, engines."""

import json
from pathlib import Path

import pytest
import torch

GROWING = ["strategy=autokeras", "rounds=3", "width=2", "images=64", "batch_size=16"]
GROWING += ["strategy.intervals=2", "strategy.patience=null", "strategy.growth.coldest=0.3"]
GROWING += ["budget.threads=1", "budget.device=cpu", "dataset.validation=0.5"]
SERIAL = [*GROWING, "engine=serial"]


def found(folder="outputs"):
    (run,) = Path(folder).glob("*/v001")
    return run


def rows(run):
    return [json.loads(line) for line in (run / "search/metrics.jsonl").read_text().splitlines()]


def test_trials_grow_from_each_other_and_the_best_is_tested(nasrun, here):
    answer = nasrun("run", *SERIAL, "stages=[search,select]")
    assert answer.status == 0, answer.err
    run = found()
    tree = json.loads((run / "search/tree.json").read_text())
    search, select = (
        json.loads((run / place / "result.json").read_text())
        for place in ("search", "select/fittest")
    )
    assert [trial["grew_from"] is None for trial in tree] == [True, False, False]
    assert all(trial["morphs"] for trial in tree[1:])
    assert len({trial["genotype"] for trial in tree}) == 3
    assert [trial["grew_from"] for trial in tree] == [None, 0, 0]  # trial 1 was still running
    told = rows(run)
    assert [(row["trial"], row["interval"]) for row in told] == [
        (trial, interval) for trial in range(3) for interval in (1, 2)
    ]
    best = max(range(3), key=lambda number: max(tree[number]["scores"]))
    assert search["trial_of_best"] == best
    assert search["validation_accuracy"] == tree[best]["score"] == max(tree[best]["scores"])
    assert select["genotype"] == tree[best]["genotype"]
    assert 0 <= select["test_accuracy"] <= 1
    weights = {path.parent.name: path for path in run.glob("search/trials/*/*.pt")}
    assert set(weights) == {f"{number:04d}" for number in range(3)}
    assert (run / "search/tree.png").is_file()
    assert all(sum(trial["seconds"]) > 0 for trial in tree)


def test_a_network_begins_with_what_its_ancestor_had_learned_when_it_was_best(nasrun, here):
    from nasrun.strategies.autokeras import AutoKeras

    kept = []
    started = AutoKeras._started

    def seen(strategy):
        trial = started(strategy)
        if trial.latest is not None:
            grown = torch.load(strategy.home / trial.latest, weights_only=True)
            before = torch.load(
                strategy.home / strategy.trials[trial.ancestor].file, weights_only=True
            )
            kept.append((strategy, trial, grown, before))
        return trial

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AutoKeras, "_started", seen)
        assert nasrun("search", *SERIAL).status == 0
    assert len(kept) == 2
    for strategy, trial, grown, before in kept:
        images = torch.rand(4, strategy.task.inputs, 8, 8)
        logits = []
        for genotype, state in (
            (strategy.trials[trial.ancestor].genotype, before),
            (trial.genotype, grown),
        ):
            network = strategy.space.network(
                genotype, inputs=strategy.task.inputs, outputs=strategy.task.outputs
            )
            network.load_state_dict(state["network"])
            logits.append(network.eval()(images)[0])
        torch.testing.assert_close(*logits, rtol=0, atol=1e-5)
        assert grown["memory"] == before["memory"]


def test_killed_within_a_trial_it_goes_on_in_two_processes_to_the_byte(
    nasrun, here, monkeypatch, workers
):
    from nasrun.strategies.next_trial import Choose
    from nasrun.tasks.classifiers import ClassifierMember

    assert nasrun("search", *SERIAL, "outputs=whole").status == 0
    # in the second trial, then while the third one is chosen again
    for place, name, calls in ((Choose, "__call__", 1), (ClassifierMember, "train_interval", 4)):
        original, left = getattr(place, name), [calls]

        def stopped(*arguments, original=original, left=left):
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            return original(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(place, name, stopped)
            assert nasrun("search", *SERIAL, "outputs=parts").status == 130
    answer = nasrun("search", *GROWING, "engine.processes=2", "outputs=parts")
    assert answer.status == 0, answer.err
    same(found("whole"), found("parts"))


def same(one, other):
    """Two searches have the same numbers, trees and weights."""
    files = [{path.name for path in run.glob("search/trials/*/*.pt")} for run in (one, other)]
    assert files[0] == files[1]
    name = "search/metrics.jsonl"
    assert (one / name).read_bytes() == (other / name).read_bytes()
    trees = [json.loads((run / "search/tree.json").read_text()) for run in (one, other)]
    assert [{**t, "seconds": 0} for t in trees[0]] == [{**t, "seconds": 0} for t in trees[1]]
    for path in one.glob("search/trials/*/*.pt"):
        twin = other / path.relative_to(one)
        ours, theirs = (torch.load(file, weights_only=True)["network"] for file in (path, twin))
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["strategy.trials=0"], "strategy.trials=0 intervals=2: use at least 1 of each"),
        (["strategy.patience=2"], "strategy.patience=2: use 1 or more, but less than intervals=2"),
        (["strategy.seconds=0"], "strategy.seconds=0: use more than 0, or null for no limit"),
        (["strategy.growth.beta=-1"], "beta=-1: use 0 or more"),
        (["space=darts"], "strategy=autokeras needs networks that grow: space=darts has none"),
        (["task=gan"], "task=gan: strategy=autokeras needs a task whose members train"),
        (["method=magnitude"], "use selector=fittest"),
        (
            ["budget.max_params_m=1"],
            "budget.max_params_m=1: a limit on the found network needs a supernet",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_at_once(nasrun, here, words, text):
    assert text in nasrun("run", *SERIAL, "stages=[search,select]", *words).refusal
    assert list(here.iterdir()) == []
