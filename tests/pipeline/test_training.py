"""Training from scratch as a stage of the pipeline: when it starts again, and when it continues."""

import json
import shutil
from pathlib import Path

import yaml

CELL = ["genotype=darts_v2"]
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
