"""Stages that end early: the messages, the results that are kept, the images that are not read."""

import json
from pathlib import Path

import pytest

from nasrun.data.images import TensorDataset

ABSURD = 1e30
"""A learning rate after one step of which no loss is a number."""


@pytest.fixture
def untested(monkeypatch):
    """No test image is read."""
    split = TensorDataset.split

    def watched(dataset, *parts, device):
        assert "test" not in parts
        return split(dataset, *parts, device=device)

    monkeypatch.setattr(TensorDataset, "split", watched)


@pytest.mark.parametrize(
    ("verb", "words", "told"),
    [
        (
            "retrain",
            ["retrain.epochs=3", "retrain.batch_size=64", f"retrain.optimizer.lr={ABSURD}"],
            "retrain magnitude-2: round 2: the training diverged (train_loss nan); the rounds "
            "before it are kept, use a smaller retrain.optimizer.lr or retrain.clip",
        ),
        (
            "transfer",
            ["transfer.epochs=3", "transfer.batch_size=64", f"transfer.optimizer.lr={ABSURD}"],
            "transfer magnitude-mnist5k-2: round 2: the training diverged (train_loss nan); the "
            "rounds before it are kept, use a smaller transfer.optimizer.lr or transfer.clip",
        ),
        (
            "transfer",
            ["transfer.epochs=1", "transfer.batch_size=64", f"transfer.optimizer.lr={ABSURD}"],
            "transfer magnitude-mnist5k-2: the last round: the training diverged (loss nan); the "
            "rounds before it are kept, use a smaller transfer.optimizer.lr or transfer.clip",
        ),
        (
            "select",
            ["method=perturb", f"selector.weight_lr={ABSURD}"],
            "select perturb: round 1: tuning the supernet diverged (train_loss nan, alpha_loss "
            "nan); the rounds before it are kept, use a smaller selector.weight_lr",
        ),
    ],
)
def test_a_stage_that_diverges_ends_untested_and_keeps_what_was_before(
    nasrun, finished, short, moved, untested, verb, words, told
):
    before = {path: path.read_bytes() for path in finished.rglob("result.json")}
    layout = {"retrain": short, "transfer": moved, "select": short[-2:]}[verb]
    for _ in range(2):  # the same command goes on from what is kept, to the same end
        assert nasrun(verb, *layout, *words).refusal == f"nasrun: {told}"
    assert {path: path.read_bytes() for path in finished.rglob("result.json")} == before
    stage = finished / Path(*told.split(":")[0].split(" "))
    kept = 1 if "last" in told else int(told.split("round ")[1][0]) - 1
    lines = (stage / "metrics.jsonl").read_text().splitlines() if kept else []
    records = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [record["round"] for record in records] == [*range(1, kept + 1)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["strategy=random", "strategy.evaluator.epochs=1", "strategy.together=2"],
            "search: round 1: the training of every candidate diverged; the rounds before it are "
            "kept, use a smaller strategy.evaluator.optimizer.lr or strategy.evaluator.clip",
        ),
        (
            ["strategy=random", "evaluator=inherited"],
            "search: round 2: the warm-up diverged (train_loss nan); the rounds before it are "
            "kept, use a smaller strategy.evaluator.optimizer.lr or strategy.evaluator.clip",
        ),
    ],
)
def test_a_search_whose_scores_come_from_a_training_that_diverges_ends(
    nasrun, here, small, words, told
):
    small = [*small, "batch_size=64", f"strategy.evaluator.optimizer.lr={ABSURD}", *words]
    small += ["engine=serial"] if "evaluator=inherited" not in words else []
    assert nasrun("search", *small).refusal == f"nasrun: {told}"
    assert not list(here.rglob("result.json"))
