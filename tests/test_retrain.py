"""Training a genotype from scratch: its data, its learning rate, and its report."""

import json
import math
from itertools import chain

import pytest
import torch
from safetensors.torch import load_file, save_file
from toys import context, run

from nasrun.budget import Budget
from nasrun.config import build, compose, resolve
from nasrun.runs.stage_folder import StageFolder
from nasrun.spaces.layout import Layout
from nasrun.streams import Streams

CPU = Budget(device="cpu", precision="auto", threads=1, max_hours=None)
SMALL = ["images=64", "space.nodes=1", "space.kept_edges=1", "retrain.channels=2"]
SMALL += ["retrain.layers=3", "retrain.batch_size=16", "retrain.auxiliary=false"]


@pytest.fixture
def begun():
    """A retraining that has begun on a few digits."""

    def make(*overrides):
        composed = compose([*SMALL, *overrides]).config
        space, dataset, stage = (
            build(resolve(composed[key]), key) for key in ("space", "dataset", "retrain")
        )
        genotype = space.parse("normal sep_conv_3x3@0; reduce max_pool_3x3@1")
        streams = Streams(0)
        streams.enter("test")
        stage.task.begin(dataset, CPU)
        stage.begin(context(space, stage.task, CPU, streams=streams), genotype)
        return stage

    return make


def seen_labels(stage):
    """Labels of all training batches, by round."""
    batches, rounds = [], []
    made = stage.task.batches

    def watched(split, batch_size, order, changes):
        rounds.append([])
        for batch in made(split, batch_size, order, changes):
            batches.append(len(batch.labels))
            rounds[-1] += batch.labels.tolist()
            yield batch

    stage.task.batches = watched
    return rounds, batches


def test_it_learns_from_all_training_images_or_keeps_the_validation_part_apart(begun):
    assert len(begun("retrain.data=all").train) == 64
    stage = begun("retrain.data=train", "retrain.epochs=1")
    assert len(stage.train) == 48
    (metrics,) = run(stage)
    assert 0 <= metrics["validation_accuracy"] <= 1
    assert "validation_accuracy" not in run(begun("retrain.epochs=1"))[0]


def test_the_rate_follows_the_rounds_and_drop_path_the_epochs(begun):
    stage = begun("retrain.epochs=4", "retrain.drop_path=0.4", "retrain.rounds_per_epoch=2")
    metrics = run(stage)
    assert len(metrics) == 8
    expected = [0.05 * (1 + math.cos(math.pi * round / 8)) / 2 for round in range(8)]
    assert [m["lr"] for m in metrics] == pytest.approx(expected)
    assert [m["drop_path"] for m in metrics] == pytest.approx([0, 0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3])
    assert stage.learner.network.drop_path == pytest.approx(0.3)


def test_rounds_of_an_epoch_see_each_image_once(begun):
    stage = begun("retrain.epochs=2", "retrain.rounds_per_epoch=3")
    rounds, _ = seen_labels(stage)
    run(stage)
    every = sorted(stage.train.labels.tolist())
    assert len(rounds) == 6
    first, second = ([*chain(*epoch)] for epoch in (rounds[:3], rounds[3:]))
    assert sorted(first) == sorted(second) == every
    assert first != second


def test_a_stop_within_an_epoch_goes_on_with_the_images_that_are_left(begun):
    words = ("retrain.epochs=1", "retrain.rounds_per_epoch=4")
    whole = begun(*words)
    expected, _ = seen_labels(whole)
    run(whole)
    first = begun(*words)
    run(first, 2)
    state = first.state_dict()
    second = begun(*words)
    second.load_state_dict(state)
    second.round = 2
    seen, _ = seen_labels(second)
    run(second)
    assert seen == expected[2:]
    ours, theirs = second.learner.network.state_dict(), whole.learner.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_network_that_leaves_inputs_of_its_cells_unread_has_its_memory_predicted(begun):
    stage = begun("retrain.epochs=1")
    weights = 4 * sum(p.numel() for p in stage.learner.network.parameters())
    images = 4 * 16 * 8 * 8
    assert stage.step_bytes() > 2 * weights + images  # momentum too


def test_the_average_of_the_weights_is_foreseen_as_it_is_kept(begun):
    plain, averaged = begun(), begun("retrain.ema=0.9")
    kept = averaged.learner.average.module.state_dict().values()
    measured = sum(tensor.nbytes for tensor in kept)
    assert averaged.step_bytes() - plain.step_bytes() == measured


def test_more_rounds_than_there_are_pairs_of_images_are_refused(begun):
    begun("retrain.epochs=1", "retrain.rounds_per_epoch=32")
    with pytest.raises(ValueError, match=r"rounds_per_epoch=33: .* 64 images.*at most 32"):
        begun("retrain.epochs=1", "retrain.rounds_per_epoch=33")


def test_a_lonely_last_image_is_left_out(begun):
    stage = begun("retrain.epochs=1", "retrain.batch_size=21")
    _, batches = seen_labels(stage)
    run(stage)
    assert batches == [21, 21, 21]  # 64 = 3 * 21 + 1


@pytest.mark.parametrize(
    ("ema", "kept"), [("null", "last epoch"), ("0.5", "average, decay 0.5")], ids=["last", "ema"]
)
def test_the_result_has_the_test_accuracy_and_the_cost_of_the_network(
    begun, tmp_path, monkeypatch, ema, kept
):
    monkeypatch.setattr("nasrun.pictures.curves._draw", lambda *arguments: None)
    stage = begun("retrain.epochs=1", f"retrain.ema={ema}")
    run(stage)
    result = stage.finish(StageFolder(tmp_path, "mark"))
    json.dumps(result)
    assert result["weights_of"] == kept
    network = stage.space.network(
        stage.genotype, inputs=1, outputs=10, layout=Layout(channels=2, layers=3)
    )
    assert result["params"] == sum(p.numel() for p in network.parameters())
    network.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    test = stage.task.dataset.split("test", device=torch.device("cpu"))
    assert len(test) == 360
    network.eval()
    with torch.no_grad():
        hits = sum(
            int((network(images)[0].argmax(1) == labels).sum())
            for images, labels in test.batches(50)
        )
    assert result["test_accuracy"] == pytest.approx(hits / 360, abs=1e-9)
    classes = json.loads((tmp_path / "classes.json").read_text())["classes"]
    assert sum(found["answers"].get(name, 0) for name, found in classes.items()) == hits
    recalls = [found["recall"] for found in classes.values()]
    assert result["test_balanced_accuracy"] == pytest.approx(sum(recalls) / 10)
    assert result["trained_on"] == "train+validation"
    assert result["train_images"] == 64


def test_a_training_begins_from_the_weights_of_another_and_measures_as_it_did(begun, tmp_path):
    first = begun("retrain.epochs=4")
    run(first)
    weights = first.learner.network.state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, tmp_path / "w")
    loss = first.learner.evaluate(first.train, 32)["loss"]
    new, further = (
        begun("retrain.epochs=1"),
        begun("retrain.epochs=1", f"retrain.weights={tmp_path}/w"),
    )
    for name, value in further.learner.network.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert further.learner.evaluate(further.train, 32)["loss"] == loss
    assert new.learner.evaluate(new.train, 32)["loss"] != loss


def test_a_share_of_the_images_is_trained_on_and_all_test_images_are_used(begun):
    stage = begun("retrain.task.share=0.5", "images=128", "retrain.data=train")
    assert len(stage.train) == 48
    assert len(stage.validation) == 16
    assert len(stage.task.split("test")) == 360
    again = begun("retrain.task.share=0.5", "images=128", "retrain.data=train")
    assert torch.equal(again.train.labels, stage.train.labels)


def test_an_auxiliary_head_is_trained_and_not_counted(begun, tmp_path, monkeypatch):
    monkeypatch.setattr("nasrun.pictures.curves._draw", lambda *arguments: None)
    folder = StageFolder(tmp_path, "mark")
    counts = []
    for auxiliary in ("true", "false"):
        stage = begun("retrain.epochs=1", f"retrain.auxiliary={auxiliary}")
        before = {n: p.detach().clone() for n, p in stage.learner.network.named_parameters()}
        run(stage)
        after = dict(stage.learner.network.named_parameters())
        heads = [name for name in before if name.startswith("auxiliary")]
        assert bool(heads) == (auxiliary == "true")
        assert all(not torch.equal(before[name], after[name]) for name in heads)
        counts.append(stage.finish(folder)["params"])
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("epochs=0", "epochs=0"),
        ("rounds_per_epoch=0", "rounds_per_epoch=0"),
        ("batch_size=1", "batch_size=1"),
        ("drop_path=1.0", "drop_path=1.0"),
        ("clip=0.0", "clip=0.0"),
        ("ema=1.0", "ema=1.0"),
        ("channels=3", "channels=3"),
        ("layers=1", "layers=1"),
        ("data=test", "data=test"),
        ("stem=big", "stem=big"),
        ("task.share=0.0", "task.share=0.0"),
        ("task.label_smoothing=1.0", "task.label_smoothing=1.0"),
        ("schedule.last=-1.0", "schedule.last=-1.0"),
    ],
)
def test_impossible_values_are_refused(setting, key):
    node = resolve(compose([f"retrain.{setting}"]).config["retrain"])
    with pytest.raises(ValueError, match=rf"^retrain\.{key}"):
        build(node, "retrain")
