"""`nasrun analyze landscape`: what it measures, keeps, draws and refuses."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from nasrun.analysis.directions import normalised
from nasrun.analysis.landscape import Where, sharpness
from nasrun.analysis.solutions import Solution, moments
from nasrun.budget import Budget
from nasrun.runs.stage_folder import WEIGHTS

TINY = [
    "images=48",
    "epochs=1",
    "retrain.channels=2",
    "retrain.layers=3",
    "retrain.auxiliary=false",
]
TINY += ["dataset.size=4", "retrain.batch_size=16", "budget.threads=1", "budget.device=cpu"]
CELL = "normal skip_connect@0 dil_conv_3x3@1; reduce max_pool_3x3@0 max_pool_3x3@1"
FEW = ["images=40", "batch_size=10", "budget.threads=1", "budget.device=cpu", "engine=serial"]


@pytest.fixture
def solutions(nasrun, here):
    """The weights of two trainings of a cell."""
    (here / "a.txt").write_text(CELL)
    assert nasrun("analyze", "convergence", "genotype=a.txt", *TINY, "seeds=2", "out=c").status == 0
    return sorted(map(str, Path("c/weights").glob("*.safetensors")))


def plain(opened, split):
    """Loss and the gradients of all batches, one after the other."""
    weights = list(opened.network.parameters())
    batches = list(split.batches(10))
    losses = [F.cross_entropy(opened.network(images)[0], labels) for images, labels in batches]
    found = [
        torch.cat([g.flatten() for g in torch.autograd.grad(x, weights, materialize_grads=True)])
        for x in losses
    ]
    return float(torch.stack(losses).mean()), torch.stack(found).double()


def test_rows_are_kept_one_by_one_and_the_middle_is_the_solution(nasrun, here, solutions):
    command = ["analyze", "landscape", f"solution={','.join(solutions)}", *FEW, "grid=3", "line=7"]
    answer = nasrun(*command, "out=o")
    assert answer.status == 0, answer.err
    written = (here / "o" / "landscape.json").read_text()
    record = json.loads(written)
    kept = (here / "o" / "measured.jsonl").read_text().splitlines(keepends=True)
    assert len(kept) == 2 * 3 + 2
    budget = Budget(device="cpu", precision="auto", threads=1, max_hours=None)
    for path, plane in zip(solutions, record["planes"], strict=True):
        opened = Solution.at(path, None).opened(budget, [])
        split = opened.images("test", 40)
        loss, gradients = plain(opened, split)
        middle, mean = plane["middle"], gradients.mean(0)
        assert middle["loss"] == pytest.approx(loss)
        assert plane["grids"]["loss"][1][1] == middle["loss"]
        assert middle["gradient"] == pytest.approx(float(mean @ mean), rel=1e-4)
        variance = float((gradients - mean).square().sum(1).mean())
        assert middle["variance"] == pytest.approx(variance, rel=1e-4)
        assert plane["grids"]["loss"][0][0] != middle["loss"]
        assert moments(opened.network, split, 10) == pytest.approx(middle)
    # the line leads from the first to the second
    losses = dict(zip(record["line"]["steps"], record["line"]["points"], strict=True))
    assert losses[0.0]["loss"] == pytest.approx(record["planes"][0]["middle"]["loss"])
    assert losses[1.0]["loss"] == pytest.approx(record["planes"][1]["middle"]["loss"], rel=1e-4)
    for name in ("contours", "surfaces", "line"):
        assert (here / "o" / f"{name}.png").stat().st_size > 10_000
    (here / "o" / "measured.jsonl").write_text("".join(kept[:5]))
    assert nasrun(*command, "out=o").status == 0
    assert (here / "o" / "landscape.json").read_text() == written
    assert (here / "o" / "measured.jsonl").read_text() == "".join(kept)


def test_a_retrained_run_is_a_solution_and_its_norms_may_be_recalibrated(nasrun, finished, here):
    small = ["grid=3", "images=20", "batch_size=10", "engine=serial", "budget.threads=1"]
    command = ["analyze", "landscape", f"solution={finished}", "branch=magnitude", *small]
    for norms in ("stored", "recalibrated"):
        answer = nasrun(*command, f"norms={norms}", f"out={norms}")
        assert answer.status == 0, answer.err
    stored, other = (
        json.loads((here / norms / "landscape.json").read_text())["planes"][0]["middle"]["loss"]
        for norms in ("stored", "recalibrated")
    )
    assert stored != other


def test_rows_of_another_arithmetic_are_measured_and_a_line_leaves_those_of_a_grid(
    nasrun, here, solutions
):
    command = ["analyze", "landscape", f"solution={','.join(solutions)}", *FEW, "grid=3", "out=o"]
    for words, rows in (([], 6), (["line=3"], 7), (["budget.precision=bf16"], 13)):
        answer = nasrun(*command, *words)
        assert answer.status == 0, answer.err
        assert len((here / "o/measured.jsonl").read_text().splitlines()) == rows


def test_without_a_number_of_images_a_small_set_is_measured_whole(nasrun, finished, here):
    command = ["analyze", "landscape", f"solution={finished}", "branch=magnitude"]
    command += ["grid=3", "engine=serial", "budget.threads=1", "out=whole"]
    assert "images=1000: there are 360; use at most 360" in nasrun(*command, "images=1000").refusal
    answer = nasrun(*command)
    assert answer.status == 0, answer.err
    where = json.loads((here / "whole/landscape.json").read_text())["where"]
    assert (where["images"], where["batch_size"]) == (360, 100)


def test_the_gradient_varies_over_batches_even_of_few_images(nasrun, finished, here):
    command = ["analyze", "landscape", f"solution={finished}", "branch=magnitude", "images=20"]
    answer = nasrun(*command, "grid=3", "engine=serial", "budget.threads=1", "out=few")
    assert answer.status == 0, answer.err
    record = json.loads((here / "few/landscape.json").read_text())
    assert record["where"]["batch_size"] == 10
    assert record["planes"][0]["middle"]["variance"] > 0


def test_a_part_of_two_images_is_too_small_whatever_the_batches_are():
    points = {"grid": 3, "extent": 1.0, "line": 3, "recalibrated": True, "seed": 0}
    where = Where(**points, part="test", images=9, batch_size=2)
    with pytest.raises(ValueError, match=r"part=test: has 2 images, .*; use a part with 3 images"):
        where.at_most(2, same_batches=False)


def test_two_runs_have_names_that_tell_them_apart_and_one_training_is_given_once(nasrun, finished):
    other = finished.parent / "v002"
    shutil.copytree(finished, other)
    few = ["grid=3", "images=20", "engine=serial", "budget.threads=1", "out=two"]
    command = ["analyze", "landscape", "branch=magnitude", *few]
    again = f"solution={finished},{finished}/retrain/magnitude"
    told = f"solution={finished}/retrain/magnitude: the same training twice; give each once"
    assert told in nasrun(*command, again).refusal
    weights = load_file(other / "retrain/magnitude" / WEIGHTS)
    name = next(iter(weights))
    save_file({**weights, name: 2 * weights[name]}, other / "retrain/magnitude" / WEIGHTS)
    answer = nasrun(*command, f"solution={finished},{other}")
    assert answer.status == 0, answer.err
    planes = json.loads(Path("two/landscape.json").read_text())["planes"]
    runs = [f"{run}/retrain/magnitude" for run in (finished, other)]
    assert [plane["name"] for plane in planes] == runs


def test_a_direction_has_the_norms_of_the_filters_and_leaves_vectors_alone():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    found = normalised(network, 1)
    assert list(found) == ["0.weight"]
    w = network[0].weight.detach()
    assert found["0.weight"].flatten(1).norm(dim=1) == pytest.approx(w.flatten(1).norm(dim=1))
    assert torch.equal(found["0.weight"], normalised(network, 1)["0.weight"])
    assert not torch.equal(found["0.weight"], normalised(network, 2)["0.weight"])


def test_sharpness_is_that_of_a_known_bowl():
    places = [-1.0, -0.5, 0.0, 0.5, 1.0]
    bowl = [[1 + 3 * x * x + y * y + x * y for x in places] for y in places]
    found = sharpness(bowl, places)
    largest = float(torch.linalg.eigvalsh(torch.tensor([[6.0, 1.0], [1.0, 2.0]]))[-1])
    assert found["curvature"] == pytest.approx(largest)
    assert found["most_curvature"] == pytest.approx(largest)
    assert found["least"] == 1
    assert found["below_twice"] == sum(value < 2 for row in bowl for value in row) / 25
    bowl[0][0] = float("nan")
    assert sharpness(bowl, places)["below_twice"] == found["below_twice"]


def test_wrong_words_are_refused_in_one_line(nasrun, here):
    (here / "x.safetensors").write_bytes(b"nothing")
    for words, told in {
        "": "analyze landscape: give solution=RUN,...",
        "solution=nowhere": "run=nowhere: no run there",
        "solution=x.safetensors": "solution=x.safetensors: not weights that `nasrun analyze conv",
        "solution=x grid=4": "grid=4: use an odd number, at least 3",
        "solution=x grid=0": "grid=0 line=0: nothing to measure",
        "solution=x line=2": "line=2: use at least 3 points, or 0 for no line",
        "solution=x extent=0": "extent=0: use more than 0",
        "solution=x norms=new": "norms=new: use stored or recalibrated",
        "solution=x part=all": "part=all: use test, train or validation",
        "solution=x images=2": "images=2: use 3 or more",
        "solution=x images=50 batch_size=50": "batch_size=50: one batch has all images=50",
        "solution=x dataset=mnist5k": "dataset=mnist5k: has no effect on `nasrun analyze land",
    }.items():
        assert told in nasrun("analyze", "landscape", *words.split()).refusal, words
    assert [path.name for path in here.iterdir()] == ["x.safetensors"]


def test_a_line_needs_two_trainings_of_one_cell(nasrun, here, solutions):
    one = ["analyze", "landscape", f"solution={solutions[0]}", *FEW, "line=3", "out=o"]
    assert "line: joins two solutions, not 1" in nasrun(*one).refusal
    many = [word.replace("images=40", "images=9999") for word in one]
    assert "images=9999: there are 360" in nasrun(*many).refusal
    assert not (here / "o").exists()
