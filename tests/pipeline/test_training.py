"""Training from scratch as a stage of the pipeline: when it starts again, and when it continues."""

import json
import shutil
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

from nasrun.runs.finished import load

CELL = ["genotype=darts_v2"]
BUDGET = ["budget.threads=1", "budget.device=cpu"]
HOME = Path("outputs/digits-darts-darts_v2/v001")
CONSTANT = ["~retrain.schedule", "+retrain.schedule._target_=nasrun.schedules.Constant"]


def rounds(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_an_extended_training_equals_one_in_one_go_where_the_rate_is_constant(
    nasrun, short, monkeypatch
):
    words = ["retrain", *CELL, *short, *CONSTANT]
    assert nasrun(*words, "retrain.epochs=2").status == 0
    assert nasrun(*words, "retrain.epochs=4").status == 0
    short_one, whole, extended = (
        HOME / "retrain" / name for name in ("darts_v2", "darts_v2-2", "darts_v2-3")
    )
    assert len(rounds(short_one)) == 2
    for stop in (None, 3):
        if stop is not None:
            shutil.rmtree(extended)
            with monkeypatch.context() as patch:
                stopped(patch, stop)
                assert nasrun(*words, "retrain.epochs=4", "extend=true").status == 130
        assert nasrun(*words, "retrain.epochs=4", "extend=true").status == 0
        assert rounds(extended) == rounds(whole)
        weights = [(each / "weights.safetensors").read_bytes() for each in (whole, extended)]
        assert weights[0] == weights[1]
    assert yaml.safe_load((extended / "config.yaml").read_text())["extend"] == "darts_v2"
    again = nasrun(*words, "retrain.epochs=4", "extend=true")
    assert again.status == 0
    assert not (HOME / "retrain/darts_v2-4").exists()


def stopped(monkeypatch, last):
    """Interrupt a command after it has saved a round."""
    from nasrun.runs.stage_folder import StageFolder

    save = StageFolder.save

    def saved(folder, stage):
        save(folder, stage)
        if stage.round == last:
            raise KeyboardInterrupt

    monkeypatch.setattr(StageFolder, "save", saved)


def test_what_cannot_be_extended_is_refused(nasrun, short):
    words = ["retrain", *CELL, *short, "extend=true"]
    first = nasrun(*words, "retrain.epochs=2")
    assert first.status == 2
    assert "extend=true" in first.err
    assert not Path("outputs").exists()
    assert nasrun(*words[:-1], "retrain.epochs=2").status == 0
    for other in (["retrain.epochs=2"], ["retrain.epochs=1"]):
        assert "extend=true" in nasrun(*words, *other).err
    other = nasrun(*words, "retrain.epochs=3", "retrain.clip=1")
    assert "otherwise these settings (beside darts_v2: retrain.clip=1, not 5.0); " in other.refusal
    assert [path.name for path in (HOME / "retrain").iterdir()] == ["darts_v2"]
    assert nasrun("clean", HOME, "yes=true").status == 0
    gone = nasrun(*words, "retrain.epochs=3")
    assert (gone.status, "repeat the command that made it" in gone.err) == (2, True)
    assert [path.name for path in (HOME / "retrain").iterdir()] == ["darts_v2"]
    assert "extend=true" in nasrun("search", "extend=true").err
    assert "extend=true" in nasrun("plan", *words).err


def test_a_transfer_begins_from_the_weights_of_a_training(nasrun, short):
    assert nasrun("retrain", *CELL, *short, "retrain.epochs=2").status == 0
    trained = HOME / "retrain/darts_v2/weights.safetensors"
    sizes = [word.replace("retrain.", "transfer.") for word in short if word.startswith("retrain.")]
    words = ["transfer", *CELL, *sizes, *BUDGET, "transfer.epochs=1", "transfer.optimizer.lr=0"]
    small = ["transfer.dataset.images=64", "transfer.task.share=1.0"]
    answer = nasrun(*words, *small, "transfer.stem=cifar", f"transfer.weights={trained}")
    assert answer.status == 0, answer.err
    (folder,) = (HOME / "transfer").iterdir()
    found, theirs = load_file(folder / "weights.safetensors"), load_file(trained)
    matrices = [
        name for name, value in theirs.items() if value.ndim > 1 and value.is_floating_point()
    ]
    assert matrices
    for name in matrices:  # the rate is 0, and decay is multiplied by it
        assert torch.equal(found[name], theirs[name]), name
    assert json.loads((folder / "result.json").read_text())["first_weights"] == str(
        trained.resolve()
    )
    copied = Path("elsewhere/weights.safetensors")  # a folder that tells no architecture
    copied.parent.mkdir()
    shutil.copy(trained, copied)
    again = nasrun(*words, *small, "transfer.stem=cifar", f"transfer.weights={copied}")
    assert again.status == 0 and list((HOME / "transfer").iterdir()) == [folder]
    other = nasrun(*words, *small, "transfer.stem=imagenet", f"transfer.weights={copied}")
    assert "the weights of another network" in other.refusal
    words[1] = "genotype=darts_v1"
    other = nasrun(*words, *small, "transfer.stem=cifar", f"transfer.weights={trained}")
    assert "of another architecture than the one to train" in other.refusal
    shutil.rmtree(HOME / "retrain")
    copied.unlink()
    assert nasrun("predict", HOME, "picture.png").status == 2  # no such picture
    assert load(HOME).result["test_loss"] > 0


def test_weights_to_begin_from_are_refused_before_anything_is_written(nasrun, short):
    missing = nasrun("retrain", *CELL, *short, "retrain.weights=gone.safetensors")
    assert "retrain.weights=gone.safetensors: there is no such file" in missing.refusal
    unknown = nasrun("run", *short, "transfer.weights=gone.safetensors")
    assert "transfer.weights=gone.safetensors: they fit one architecture" in unknown.refusal
    assert "then type `nasrun transfer transfer.weights=...`" in unknown.refusal
    assert not Path("outputs").exists()
