"""The day with a GPU, tried on the CPU; its calls, with parts that take no time."""

import gc
import json
import math
import os
import signal
import time

import pytest


@pytest.fixture
def day(script, monkeypatch, tmp_path):
    """Runs a call of the script with these words; with `parts`, these instead of its own."""
    module = script("gpu_day")

    def call(*words, parts=None):
        if parts is not None:
            found = [module.Part(name, *more) for name, *more in parts]
            monkeypatch.setattr(module, "parts", lambda arguments: found)
        outputs = tmp_path / "day"
        monkeypatch.setattr("sys.argv", ["gpu_day.py", "--outputs", str(outputs), *words])
        status = module.main()
        return status, json.loads((outputs / "gpu_day.json").read_text())

    return call


def test_a_tiny_day_passes_on_the_cpu(day, no_pictures):
    status, records = day("--device", "cpu", "--tiny")
    assert status == 0, records
    assert records["strategy_darts"]["largest_relative_difference"] == 0.0
    assert len(records["strategy_darts"]["cpu"]) >= 4
    assert records["default_darts"]["cpu"] == records["strategy_darts"]["cpu"]
    names = list(records)
    assert names[0].startswith("bench_") and names[-2:] == ["strategy_darts", "default_darts"]
    assert records["bench_search_4_fp32"]["ratio"] > 0
    speed = records["bench_retrain_4_fp32"]
    assert speed["fast_images_per_s"] == pytest.approx(4 / speed["fast_s"])


def test_losses_that_are_not_the_cpus_fail_their_part(script, monkeypatch, tmp_path):
    module = script("gpu_day")
    monkeypatch.setattr(module, "command", lambda *words: 0)
    for there, failed in (
        ([2.0, 1.0], False),
        ([2.019, 1.0], False),
        ([2.0, 1.02], True),
        ([2.0, math.nan], True),
    ):
        answers = iter(([2.0, 1.0], there))
        monkeypatch.setattr(module, "losses_of", lambda outputs, answers=answers: next(answers))
        record = module.losses("search", "darts", None, "cuda")(tmp_path, 0.0)
        assert ("failed" in record) == failed, record


@pytest.mark.parametrize(("value", "failed"), [(9.0, False), (math.nan, True), (math.inf, True)])
def test_losses_that_a_gpu_draws_or_rounds_must_only_be_finite(
    script, monkeypatch, tmp_path, value, failed
):
    module, typed = script("gpu_day"), []
    monkeypatch.setattr(module, "command", lambda *words: typed.append(words) or 0)
    for work, drawn in (
        (module.losses("search", "drnas", None, "cuda"), [[2.0, 1.0], [2.0, value]]),
        (module.finite_losses("darts", "cuda"), [[2.0, value]]),
    ):
        answers = iter(drawn)
        monkeypatch.setattr(module, "losses_of", lambda outputs, answers=answers: next(answers))
        record = work(tmp_path, 0.0)
        assert record["cuda"] == drawn[-1] and ("failed" in record) == failed
    assert all(f"budget.{key}" in typed[0] for key in ("precision=fp32", "compile=false"))
    assert not any(word.startswith("budget.precision") for word in typed[-1])


def test_only_the_parts_that_are_asked_for_run_and_count(day):
    parts = [("bench_x", lambda *_: {"value": 1.0}), ("other", lambda *_: {}["gone"])]
    status, records = day("--only", "bench_", parts=parts)
    assert status == 0 and list(records) == ["bench_x"]
    with pytest.raises(SystemExit, match="no part has such a name"):
        day("--only", "nothing", parts=parts)
    status, records = day(parts=parts)
    assert status == 1 and "failed" in records["other"]
    assert day("--only", "bench_", parts=parts)[0] == 0


def test_a_call_continues_the_last_one_and_a_crash_ends_only_its_part(day, tmp_path):
    ran = tmp_path / "ran"

    def noted(folder, deadline):
        with ran.open("a") as file:
            file.write("x")
        return {"value": 1.5}

    def goes_on(folder, deadline):
        file = folder / "again"
        if file.exists():
            return {"rounds": 2}
        file.touch()
        return None

    parts = [
        ("noted", noted),
        ("crashes", lambda *_: os.kill(os.getpid(), signal.SIGKILL)),
        ("refuses", lambda *_: {}["gone"]),
        ("goes on", goes_on, True),
    ]
    status, records = day(parts=parts)
    assert status == 75 and "goes on" not in records
    assert "ended with -9" in records["crashes"]["failed"]
    assert records["refuses"]["failed"] == "KeyError: 'gone'"
    status, records = day(parts=parts)
    assert status == 1  # all are finished, some have failed
    assert records["goes on"]["rounds"] == 2
    assert ran.read_text() == "x"
    day("--again", "noted", parts=parts)
    assert ran.read_text() == "xx"


def test_a_part_that_had_a_whole_call_fails_and_another_one_is_tried_again(day, monkeypatch):
    parts = [("quick", lambda *_: {}), ("long", lambda *_: time.sleep(9))]
    minutes = ("--minutes", str((15 + 0.4) / 60))
    status, records = day(*minutes, parts=parts)
    assert status == 75 and list(records) == ["quick"]
    status, records = day(*minutes, parts=parts)
    assert status == 1 and records["long"]["failed"].startswith("not finished after")


def test_a_search_stops_with_its_call_and_the_next_call_continues_it(script, tmp_path, small):
    module = script("gpu_day")
    work = module.searched([*small, "stages=[search,select]", "selector=argmax"], "cpu")
    assert work(tmp_path, time.monotonic()) is None
    (rounds,) = tmp_path.glob("*/v001/search/metrics.jsonl")
    before = rounds.read_text()
    assert len(before.splitlines()) == 1
    found = work(tmp_path, time.monotonic() + 600)
    assert rounds.read_text().startswith(before)
    assert any("/v001/select/" in name for name in found)


def test_a_copy_deletes_no_object_of_its_origin(script, tmp_path):
    class Ring:
        """Garbage that waits, when it is deleted, for threads that a copy does not have."""

        def __init__(self):
            self.itself = self

        def __del__(self):
            if os.getpid() != here:
                (tmp_path / "deleted").touch()

    here, gpu_day = os.getpid(), script("gpu_day")
    gc.disable()
    try:
        Ring()
        part = gpu_day.Part("collects", lambda folder, deadline: {"found": gc.collect()})
        record = gpu_day.finished(part, tmp_path, time.monotonic() + 60, whole=True)
    finally:
        gc.enable()
    assert "found" in record
    assert not (tmp_path / "deleted").exists()
