"""Weights & Biases: offline runs, whose files are read back."""

import json
import random
from pathlib import Path

import pytest

from nasrun.runs.run import Run
from nasrun.trackers.mirror import tracking
from nasrun.trackers.wandb import WandB

pytest.importorskip("wandb", reason="needs nasrun[wandb], 70 MB that development leaves out")

BLOCK, HEADER = 32768, 7


def records(path):
    """Yield the records of a W&B file, whose parts lie in blocks with a header of 7 bytes each."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, record = path.read_bytes(), HEADER, b""
    while place + HEADER <= len(content):
        if BLOCK - place % BLOCK < HEADER:
            place += BLOCK - place % BLOCK
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        record += content[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):  # whole, or its last part
            yield Record.FromString(record)
            record = b""


def logged(folder):
    """Return numbers, pictures, settings, summary and names of the offline runs of a folder."""
    numbers, pictures, config, summary, runs = {}, {}, {}, {}, set()
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for record in records(file):
            if record.WhichOneof("record_type") == "run":
                run = record.run
                runs.add((run.run_id, run.display_name, run.project, run.run_group))
                config |= {item.key: json.loads(item.value_json) for item in run.config.update}
            items = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            rounds = [value for key, value in items.items() if key.endswith("/round")]
            if any(name.endswith("/_type") for name in items):  # beside it W&B puts the last round
                pictures |= items
                continue
            for name, value in items.items():
                numbers.setdefault(name, []).append((*rounds, value))
            for item in (*record.summary.update, *record.config.update):
                key = item.key or "/".join(item.nested_key)
                (summary if record.summary.update else config)[key] = json.loads(item.value_json)
    return numbers, pictures, config, summary, runs


def show(run, sweep=""):
    tracker = WandB(project="of tests", entity=None, mode="offline")
    with tracking({"wandb": tracker}, Run(run), sweep) as tracked:
        tracked.catch_up()


def test_a_finished_run_is_an_offline_run(finished, rounds_of):
    before = random.getstate()
    show(finished, "2026-11-28/12-00-00")
    show(finished)
    assert random.getstate() == before
    (folder,) = finished.glob("wandb/offline-run-*")  # the second had nothing to add
    numbers, pictures, config, summary, ((mark, *facts),) = logged(finished)
    assert facts == ["digits-darts-darts/v001", "of tests", "2026-11-28/12-00-00"]
    assert folder.name.endswith(mark)
    assert config["strategy"] == "darts"
    assert config["space.channels"] == 2
    assert config["retrain/magnitude/epochs"] == 2
    assert {name: numbers[name] for name in rounds_of(finished)} == rounds_of(finished)
    result = json.loads((finished / "retrain/magnitude/result.json").read_text())
    assert summary["result/retrain/magnitude/test_accuracy"] == result["test_accuracy"]
    assert summary["select/magnitude/genotype"] == result["genotype"]
    kept = (folder / "files/select/magnitude/genotype.json").read_text()
    assert kept == (finished / "select/magnitude/genotype.json").read_text()
    file = folder / "files" / pictures["select/magnitude/cells/path"]
    assert file.read_bytes() == Path(finished, "select/magnitude/cells.png").read_bytes()


def test_a_continued_search_is_one_run_without_a_round_twice(nasrun, here, small):
    words = ["search", *small, "tracker=wandb", "tracker.wandb.mode=offline"]
    assert nasrun(*words, "budget.max_hours=1e-9").status == 75
    answer = nasrun(*words)
    assert answer.status == 0
    assert answer.err == ""
    (run,) = here.glob("outputs/*/v*")
    numbers, *_, runs = logged(run)
    assert len(runs) == 1
    assert [round for round, _ in numbers["search/train_loss"]] == [1, 2]
    assert nasrun(*words).status == 0
    assert len([*run.glob("wandb/offline-run-*")]) == 2
