"""Opening a finished run: the search in its final state, the trained network, its export."""

import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from nasrun.genotype import unsealed
from nasrun.runs.finished import load_search, trained_folder
from nasrun.runs.formats import FORMATS
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder


def test_a_loaded_search_is_the_supernet_as_it_ended(finished):
    strategy = load_search(finished)
    result = json.loads((finished / "search/result.json").read_text())
    assert strategy.validate()["accuracy"] == result["validation_accuracy"]
    assert strategy.done


def test_a_search_of_a_device_that_is_missing_here_is_measured_on_another(finished, monkeypatch):
    monkeypatch.setattr("nasrun.budget.devices", lambda: ["cpu"])
    monkeypatch.setattr("nasrun.runs.finished.devices", lambda: ["cpu"])
    expected, config = load_search(finished), Run(finished).config
    there = {"device": "cuda", "precision": "tf32", "compile": "graphs", "deterministic": True}
    config["budget"] = config["budget"] | there
    monkeypatch.setattr(Run, "config", config)
    with pytest.warns(UserWarning, match="this machine has no device=cuda, on which it was"):
        strategy = load_search(finished)
    assert strategy.task.budget.arithmetic == {"device": "cpu", "precision": "fp32"}
    assert strategy.validate() == expected.validate()


def digits_test_part():
    from nasrun.data.images import Digits

    stored = Digits().stored(test=True)
    return stored.pixels(torch.arange(len(stored.labels))), stored.labels


def test_a_loaded_network_has_the_test_accuracy_of_its_result(finished):
    import nasrun

    network = nasrun.load(finished)
    images, labels = digits_test_part()
    assert images.dtype == torch.uint8
    with torch.no_grad():
        logits = network(images)
        halves = network(images.float() / 255)
    accuracy = float((logits.argmax(1) == labels).double().mean())
    result = json.loads((finished / "retrain/magnitude/result.json").read_text())
    assert accuracy == pytest.approx(result["test_accuracy"], abs=1e-9)
    assert torch.allclose(logits, halves, atol=1e-5)
    assert network.classes == tuple("0123456789")
    assert not network.training
    assert network.result == unsealed(result)
    other = nasrun.load(finished, branch="random")
    assert other.genotype != network.genotype
    moved = nasrun.load(finished / "transfer/magnitude-mnist5k")
    assert moved.size == 32
    with pytest.raises(ValueError, match="branch=nope: no such training"):
        nasrun.load(finished, branch="nope")
    with pytest.raises(ValueError, match="images have 3 channels, the network takes 1"):
        network(torch.rand(1, 3, 8, 8))


def test_the_random_baseline_of_a_second_recipe_is_not_what_is_loaded(finished, tmp_path):
    run = tmp_path / finished.parent.name / finished.name
    shutil.copytree(finished, run)
    shutil.copytree(run / "retrain/random", run / "retrain/random-2")
    StageFolder(run / "retrain/random-2", "").amend({"finished_ns": time.time_ns()})
    assert trained_folder(run, None).branch == "magnitude"


def test_the_newest_training_is_the_same_in_a_folder_that_was_copied_without_times(
    finished, tmp_path
):
    run = tmp_path / finished.parent.name / finished.name
    shutil.copytree(finished, run)
    shutil.copytree(run / "retrain/magnitude", run / "retrain/argmax")
    newest = StageFolder(run / "retrain/argmax", "")
    newest.amend({"finished_ns": time.time_ns()})
    os.utime(run / "retrain/magnitude/result.json", ns=(2**62, 2**62))
    assert trained_folder(run, None).branch == "argmax"
    newest.amend({"true": {}})  # a table that is looked up later
    assert StageFolder(newest.path, "").finished_at == newest.finished_at < 2**62
    newest.amend({"finished_ns": None})  # an earlier version did not record it
    assert newest.finished_at == (newest.path / "result.json").stat().st_mtime_ns


def test_a_training_that_was_stopped_does_not_stand_in_the_way_of_a_named_one(finished, tmp_path):
    run = tmp_path / finished.parent.name / finished.name
    shutil.copytree(finished, run)
    (run / "retrain/random/result.json").unlink()
    named = run / "retrain/magnitude"
    assert trained_folder(named, None).path == named
    with pytest.raises(ValueError, match=r"random/result\.json: missing beside the weights"):
        trained_folder(run, None)


def code_of_the_page(file):
    """The block in docs/retrain.md that opens this file."""
    page = (Path(__file__).parents[2] / "docs/retrain.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (block,) = [block for block in blocks if f'"{file}"' in block]
    return block


@pytest.mark.parametrize("form", FORMATS)
def test_the_page_reads_an_exported_network_without_nasrun_and_gets_the_same(
    nasrun, finished, monkeypatch, capsys, form
):
    import nasrun as package

    if form == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    network = package.load(finished)
    answer = nasrun("export", finished, f"format={form}")
    assert answer.status == 0, answer.err
    path = finished / f"retrain/magnitude/network.{form}"
    assert str(path) in answer.out
    source = str(Path(package.__file__).parent).encode()
    assert source not in path.read_bytes()
    code = code_of_the_page(path.name)
    monkeypatch.chdir(path.parent)
    monkeypatch.setitem(sys.modules, "nasrun", None)  # as if it were not installed
    generator = numpy.random.default_rng(0)
    for height, width, channels in ((8, 8, 3), (20, 31, 3), (50, 17, 4)):
        pixels = generator.integers(0, 256, (height, width, channels), numpy.uint8)
        Image.fromarray(pixels).save("picture.png")
        names = {}
        exec(code, names)
        with Image.open("picture.png") as picture, torch.no_grad():
            (expected,) = network(picture)
        assert numpy.abs(numpy.asarray(names["logits"])[0] - expected.numpy()).max() < 1e-4
        assert capsys.readouterr().out == f"{network.classes[expected.argmax()]}\n"


def test_an_export_that_disagrees_is_not_written(nasrun, finished, monkeypatch):
    monkeypatch.setattr("nasrun.runs.network.TOLERATED", -1.0)
    refusal = nasrun("export", finished, "format=pt2").refusal
    assert "outputs of the exported network differ by" in refusal
    assert not (finished / "retrain/magnitude/network.pt2").exists()


def test_a_network_with_noise_is_not_exported(finished):
    import nasrun

    network = nasrun.load(finished)
    network.genotype = network.genotype.changed({next(iter(network.genotype)): "noise"})
    for form, write in FORMATS.items():
        with pytest.raises(ValueError, match="has noise operations, so its outputs are random"):
            network.export(finished / f"network.{form}", write)


def test_nothing_is_exported_or_analyzed_in_a_run_at_work(nasrun, finished):
    with Run(finished).lock():
        for words in (["export", finished], ["analyze", "search", f"run={finished}"]):
            assert "another nasrun process uses it" in nasrun(*words).refusal
        refusal = nasrun("analyze", "search", f"run={finished}").refusal
        assert "wait until that ends, or give out=DIR, another folder" in refusal
        words = ["analyze", "search", f"run={finished / 'select/magnitude'}", "out=elsewhere"]
        answer = nasrun(*words, "edges=0", "shuffles=0", "images=0")
        assert answer.status == 0, answer.err


def test_a_folder_of_a_run_that_is_no_training_is_called_so(nasrun, finished):
    told = f"run={finished}/select/magnitude: is no training; name the run or a folder of retrain/"
    assert told in nasrun("export", f"{finished}/select/magnitude").refusal
