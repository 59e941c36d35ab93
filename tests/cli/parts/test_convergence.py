"""`nasrun analyze convergence`: what it trains, keeps, compares and refuses."""

import json
import pickle

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from nasrun.engines.local import Serial
from nasrun.runs.stage_folder import WEIGHTS

TINY = [
    "images=48",
    "epochs=2",
    "retrain.channels=2",
    "retrain.layers=3",
    "retrain.auxiliary=false",
]
TINY += ["dataset.size=4", "retrain.batch_size=16", "budget.threads=1", "budget.device=cpu"]
CELL = "normal skip_connect@0 {}@1; reduce max_pool_3x3@0 max_pool_3x3@1"


@pytest.fixture
def cells(here):
    """Three cells with one node: files, separated by commas."""
    for name, operation in (("a", "skip_connect"), ("b", "max_pool_3x3"), ("c", "dil_conv_3x3")):
        (here / f"{name}.txt").write_text(CELL.format(operation))
    return "genotype=a.txt,b.txt"


class Backwards(Serial):
    """Several processes as seen from outside: jobs and orders are sent, and the last ends first."""

    def run(self, job, orders, cores):
        for place, order in reversed(list(enumerate(orders))):
            for _, result in super().run(pickle.loads(pickle.dumps(job)), [order], 1):
                yield place, result


def test_trainings_are_kept_one_by_one_and_their_order_changes_nothing(
    nasrun, here, cells, monkeypatch
):
    command = ["analyze", "convergence", cells, *TINY, "seeds=2", "engine=serial"]
    answer = nasrun(*command, "out=o")
    assert answer.status == 0, answer.err
    written = (here / "o" / "convergence.json").read_text()
    record = json.loads(written)
    kept = (here / "o" / "measured.jsonl").read_text().splitlines(keepends=True)
    assert len(kept) == 4
    files = sorted(path.name for path in (here / "o" / "weights").iterdir())
    assert [name.rpartition("-")[0] for name in files] == [
        "a-seed0",
        "a-seed1",
        "b-seed0",
        "b-seed1",
    ]
    spent = nasrun(*command, "budget.max_hours=1e-9", "out=q")
    assert (spent.status, "repeat the command to go on" in spent.out) == (75, True)
    assert (here / "q" / "measured.jsonl").read_text() == kept[0]
    first, second = record["rows"][0]["curves"]
    assert len(first) == 2
    assert first != second
    assert (here / "o" / "convergence.png").stat().st_size > 10_000
    # interrupted after three, of which one lost its weights
    (here / "o" / "measured.jsonl").write_text("".join(kept[:3]))
    (here / "o" / "weights" / files[0]).unlink()
    trained = []
    run = Serial.run
    monkeypatch.setattr(Serial, "run", lambda s, j, o, c: trained.extend(o) or run(s, j, o, c))
    assert nasrun(*command, "out=o").status == 0
    assert [order.file.name for order in trained] == [files[0], files[3]]
    assert (here / "o" / "convergence.json").read_text() == written
    monkeypatch.setattr(Serial, "run", run)
    monkeypatch.setattr("nasrun.engines.local.Serial.run", run)
    from nasrun.analysis import convergence

    build = convergence.build_all
    monkeypatch.setattr(convergence, "build_all", lambda *a: {**build(*a), "engine": Backwards()})
    assert nasrun(*command, "out=p").status == 0
    assert (here / "p" / "convergence.json").read_text() == written
    for name in files:
        one, other = ((here / folder / "weights" / name).read_bytes() for folder in "op")
        assert one == other


@pytest.mark.parametrize("recipe", [[], ["retrain.ema=0.5"]])
def test_a_training_is_that_of_retrain_with_its_seed(nasrun, here, cells, recipe):
    command = ["analyze", "convergence", "genotype=c.txt", *TINY, *recipe, "seeds=1", "out=o"]
    assert nasrun(*command).status == 0
    space = ["space.nodes=1", "space.kept_edges=2"]
    answer = nasrun("retrain", "genotype=c.txt", *space, *TINY, *recipe)
    assert answer.status == 0, answer.err
    (result,) = here.glob("outputs/*/v001/retrain/*/result.json")
    found = json.loads(result.read_text())
    (row,) = json.loads((here / "o" / "convergence.json").read_text())["rows"]
    last = row["curves"][0][-1]
    assert last["accuracy"] == found["test_accuracy"]
    assert last["loss"] == found["test_loss"]
    assert row["params"] == found["params"]
    kept, weights = load_file(here / "o" / row["weights"][0]), load_file(result.parent / WEIGHTS)
    assert kept.keys() == weights.keys()
    assert all(torch.equal(kept[name], weights[name]) for name in kept)


def test_trainings_of_another_precision_are_not_taken_for_these(nasrun, here, cells):
    command = ["analyze", "convergence", "genotype=c.txt", *TINY, "seeds=1", "out=o"]
    curves = []
    for precision in ("fp32", "bf16"):
        assert nasrun(*command, f"budget.precision={precision}").status == 0
        (row,) = json.loads((here / "o" / "convergence.json").read_text())["rows"]
        curves.append(row["curves"])
    assert curves[0] != curves[1]


def test_two_cells_of_one_name_and_two_lengths_do_not_overwrite_each_others_weights(
    nasrun, here, cells
):
    for folder, name in (("x", "a"), ("y", "b")):
        (here / folder).mkdir()
        (here / f"{name}.txt").rename(here / folder / "cell.txt")
    for genotype, epochs in (("x", 2), ("y", 2), ("x", 1)):
        words = [f"genotype={genotype}/cell.txt", *TINY, f"epochs={epochs}", "seeds=1", "out=o"]
        assert nasrun("analyze", "convergence", *words).status == 0
    assert len(list((here / "o/weights").glob("cell-seed0-*.safetensors"))) == 3


def test_weights_know_where_their_data_are_from_every_folder(nasrun, here, cells):
    from nasrun.analysis.solutions import Solution

    for name in ("one", "two"):
        (here / "imgs" / name).mkdir(parents=True)
        for grey in range(20):
            Image.new("L", (8, 8), grey).save(here / "imgs" / name / f"{grey}.png")
    small = [word for word in TINY if not word.startswith("images=")]
    words = ["dataset=image_folder", "dataset.root=imgs", "retrain.batch_size=4"]
    command = ["analyze", "convergence", "genotype=a.txt", *small, *words, "seeds=1", "out=o"]
    answer = nasrun(*command)
    assert answer.status == 0, answer.err
    (file,) = (here / "o/weights").iterdir()
    assert Solution.at(str(file), None).nodes["dataset"]["root"] == str(here / "imgs")


def test_measures_are_those_of_their_formulas():
    from nasrun.analysis.convergence import _compared

    def curve(*pairs):
        return [{"accuracy": accuracy, "loss": loss} for accuracy, loss in pairs]

    slow, fast = curve((0.2, 2.0), (0.5, 1.0)), curve((0.6, 1.0), (0.7, 0.6))
    rows = [
        {"name": "n", "width": 2.0, "depth": 4, "params": 1, "curves": [slow, slow]},
        {"name": "m", "width": 3.0, "depth": 3, "params": 2, "curves": [slow, fast]},
        {"name": "w", "width": 4.0, "depth": 2, "params": 2, "curves": [fast, curve((0.9, 0.1))]},
    ]
    record = _compared(rows, None, 2)
    assert record["threshold"] == 0.5
    assert rows[1]["measures"]["epochs_to_threshold"] == pytest.approx(
        {"n": 2, "mean": 1.5, "std": 0.5**0.5}
    )
    assert rows[1]["measures"]["area"]["mean"] == pytest.approx((1.5 + 0.8) / 2)
    assert rows[2]["measures"]["accuracy"] == {"n": 1, "mean": 0.7, "std": None}  # one diverged
    found = record["correlations"]
    assert found["width"]["area"]["spearman"] == pytest.approx(-1)
    assert found["depth"]["area"]["spearman"] == pytest.approx(1)
    assert _compared(rows[:2], 0.99, 2)["rows"][0]["measures"]["epochs_to_threshold"]["n"] == 0
    assert _compared(rows[:2], None, 2)["correlations"]["width"]["area"]["spearman"] is None


def test_a_training_that_diverged_counts_nowhere():
    from nasrun.analysis.convergence import _compared

    whole = [{"accuracy": 0.4, "loss": 2.0}, {"accuracy": 0.6, "loss": 1.0}]
    row = {"name": "n", "width": 2.0, "depth": 4, "params": 1}
    for lost in ([], [{"accuracy": 0.9, "loss": 1.0}]):
        record = _compared([{**row, "curves": [whole, lost]}], None, 2)
        assert record["threshold"] == 0.6
        measures = record["rows"][0]["measures"]
        assert {spread["n"] for spread in measures.values()} == {1}
        assert measures["epochs_to_threshold"]["mean"] == 2.0
        with pytest.raises(ValueError, match="every training diverged; use a smaller one"):
            _compared([{**row, "curves": [lost, lost]}], None, 2)


def test_wrong_words_are_refused_in_one_line(nasrun, here):
    for words, told in {
        "": "analyze convergence: give genotype=NAME,...",
        "genotype=darts_v3": "genotype=darts_v3: neither a published cell nor a file",
        "genotype=darts_v2 seeds=0": "seeds=0: use 1 or more",
        "genotype=darts_v2 threshold=80": "threshold=80: a fraction; use more than 0, at most 1",
        "genotype=darts_v2 threshold=x": "threshold=x: expected a number",
        "genotype=darts_v2 strategy=snas": "strategy=snas: has no effect on `nasrun analyze conv",
        "genotype=darts_v2 space.nodes=2": "space.nodes=2: the genotypes have their spaces",
        "genotype=darts_v2 retrain.epochs=0": "epochs=0: use at least 1",
        "genotype=darts_v2 retrain=cifar epochs=2": "retrain=cifar has its own; type",
        "genotype=darts_v2 -m": "analyze convergence -m: takes no flags",
    }.items():
        assert told in nasrun("analyze", "convergence", *words.split()).refusal, words
    assert list(here.iterdir()) == []


def test_an_own_key_without_a_value_is_named(nasrun):
    for part in ("convergence", "landscape", "ranks evaluator=params"):
        assert nasrun("analyze", *part.split(), "out").refusal.startswith("nasrun: out: ")
