"""TensorBoard's event files, read back by TensorBoard."""

import json
import random
from pathlib import Path

import numpy
import pytest
import torch

from nasrun.runs.run import Run
from nasrun.trackers.base import SavedRound, TrackedRun
from nasrun.trackers.mirror import tracking
from nasrun.trackers.tensorboard import TensorBoard

pytest.importorskip("tensorboard", reason="needs nasrun[tensorboard]")


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), {"scalars": 0}).Reload()


def scalars(events):
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_a_finished_run_is_in_event_files(finished, rounds_of):
    before = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state()
    for _ in range(2):
        with tracking({"tensorboard": TensorBoard(folder=None)}, Run(finished)) as tracked:
            tracked.catch_up()
    assert random.getstate() == before[0]
    assert numpy.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert len([*finished.glob("events.out.tfevents.*")]) == 1  # the second had nothing to add
    events = read(finished)
    found = scalars(events)
    for name, rows in rounds_of(finished).items():
        assert [step for step, _ in found[name]] == [round for round, _ in rows]
        values = [value for _, value in rows]
        assert [value for _, value in found[name]] == pytest.approx(values, rel=1e-6, nan_ok=True)
    tested = json.loads((finished / "retrain/magnitude/result.json").read_text())["test_accuracy"]
    assert found["result/retrain/magnitude/test_accuracy"] == [(2, pytest.approx(tested))]
    pictures = ["search/search", "select/magnitude/cells", "retrain/magnitude/curves"]
    for tag in pictures:
        (image,) = events.Images(tag)
        file = finished / f"{tag}.png"
        assert image.encoded_image_string == file.read_bytes()
        assert (image.width, image.height) == (8, 8)
    (text,) = events.Tensors("select/magnitude/genotype/text_summary")
    result = json.loads((finished / "select/magnitude/result.json").read_text())
    assert result["genotype"] in text.tensor_proto.string_val[0].decode()
    (text,) = events.Tensors("retrain/magnitude/settings/text_summary")
    assert "|epochs|2|" in text.tensor_proto.string_val[0].decode()


def test_the_hyper_parameters_are_those_of_the_search(finished):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    with tracking({"tensorboard": TensorBoard(folder="logs")}, Run(finished)) as tracked:
        tracked.catch_up()
    (place,) = Path("logs").glob(f"{finished.parent.name}/{finished.name}-*")
    found = read(place).PluginTagToContent("hparams")
    begins = HParamsPluginData.FromString(found["_hparams_/session_start_info"]).session_start_info
    assert begins.hparams["strategy"].string_value == "darts"
    assert begins.hparams["seed"].number_value == 0
    assert begins.hparams["space.channels"].number_value == 2
    ends = HParamsPluginData.FromString(found["_hparams_/session_end_info"]).session_end_info
    assert ends.status == 1  # STATUS_SUCCESS


def test_runs_of_one_name_have_folders_of_their_own_in_a_common_one(tmp_path):
    def opened(mark):
        tracker = TensorBoard(folder=str(tmp_path / "logs"))
        run = TrackedRun(
            name="digits/v001", mark=mark, folder=tmp_path, sweep="", settings={}, facts={}
        )
        known = tracker.open(run)
        tracker.log("search", [SavedRound(1, 0.0, {"search/round": 1.0})])
        tracker.close("stopped")
        return known

    assert (opened("a1"), opened("b2"), opened("a1")) == ({}, {}, {"search/round": 1.0})


def test_a_continued_search_is_one_run_without_a_round_twice(nasrun, here, small):
    words = ["search", *small, "tracker=tensorboard"]
    assert nasrun(*words, "budget.max_hours=1e-9").status == 75
    answer = nasrun(*words)
    assert answer.status == 0
    assert answer.err == ""
    (run,) = (here / "outputs").glob("*/v*")
    found = scalars(read(run))
    assert [step for step, _ in found["search/train_loss"]] == [1, 2]
    rows = [json.loads(line) for line in (run / "search/metrics.jsonl").read_text().splitlines()]
    assert found["search/validation_accuracy"] == [
        (row["round"], pytest.approx(row["validation_accuracy"])) for row in rows
    ]
    assert len(found["result/search/seconds"]) == 1
