"""No damaged file of a run is read silently: it is named."""

import json
import os
import re
from pathlib import Path

import pytest

from nasrun.data.table import Table
from nasrun.files import read_json, read_yaml, write_record, write_yaml
from nasrun.genotype import Genotype, sealed, unsealed
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder


def test_a_record_keeps_its_values_and_names_every_flipped_bit_that_changes_them(tmp_path):
    content = {"a": 0.1, "b": [1, None, "é"], "c": {"10": 1, "2": True}, "d": float("nan")}
    kept = {**content, "d": None}
    for path, write, read in (
        (tmp_path / "x.json", write_record, read_json),
        (tmp_path / "x.yaml", write_yaml, read_yaml),
    ):
        write(path, content if path.suffix == ".json" else kept)
        assert read(path) == kept
        sound, told = path.read_bytes(), []
        for place in range(0, 8 * len(sound), 3):
            changed = bytearray(sound)
            changed[place // 8] ^= 1 << place % 8
            path.write_bytes(changed)
            try:
                found = read(path)
            except ValueError as error:
                told.append(str(error))
            else:  # the bit was in the name of the check itself, or between the values
                assert {name: found[name] for name in kept} == kept
        assert len(told) > 100
        assert all(str(path) in each and len(each.splitlines()) == 1 for each in told)


def test_a_record_without_a_check_is_read_as_it_is():
    assert unsealed({"a": 1}) == unsealed(sealed({"a": 1})) == {"a": 1}
    with pytest.raises(ValueError, match="take check out if you changed it yourself"):
        unsealed({**sealed({"a": 1}), "a": 2})
    mark = sealed({"a": 1})["check"]
    with pytest.raises(ValueError, match=f"damaged, chebk={mark} does not fit it"):
        unsealed({"chebk": mark, "a": 1})


def test_a_changed_digit_of_any_file_is_named_by_what_reads_it(finished):
    def reads(path):
        folder = StageFolder(finished / path.parent, "")
        return {
            "run.json": lambda: Run(finished).record,
            "config.yaml": lambda: Run(finished).config if len(path.parts) == 1 else folder.config,
            "result.json": lambda: folder.result,
            "metrics.jsonl": folder.metrics,
            "timing.jsonl": folder.timing,
            "genotype.json": lambda: Genotype.read(finished / path),
        }[path.name]

    places = [path.relative_to(finished) for path in finished.rglob("*")]
    names = ("run.json", "config.yaml", "result.json", "metrics.jsonl", "timing.jsonl")
    seen = [path for path in places if path.name in (*names, "genotype.json")]
    assert len(seen) > 15
    for path in seen:
        sound = (finished / path).read_text()
        reads(path)()
        for digit in [*re.finditer(r"\b\d", sound)][:: max(1, len(sound) // 100)]:
            other = str((int(digit[0]) + 1) % 10)
            (finished / path).write_text(sound[: digit.start()] + other + sound[digit.end() :])
            with pytest.raises(ValueError, match=re.escape(str(path))):
                reads(path)()
        (finished / path).write_text(sound)


def test_a_changed_digit_or_a_missing_round_of_a_log_is_named_before_the_stage_is_done(
    nasrun, small, monkeypatch
):
    from nasrun.budget import Budget, BudgetSpent

    def spent(budget):
        raise BudgetSpent("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(Budget, "check", spent)
        assert nasrun("search", *small).status == 75
    log = Path("outputs/digits-darts-darts/v001/search/metrics.jsonl")
    sound = log.read_text()
    assert json.loads(nasrun("list", "runs", "format=json").out)[0]["rounds"] == 1
    log.write_text(sound.replace('"round": 1', '"round": 7'))
    assert str(log) in nasrun("list", "runs", "format=json").err
    assert f"{log}: damaged, round 7" in nasrun("show", log.parents[1]).refusal
    log.write_text("")  # as if it had fewer rounds
    assert f"{log}: damaged, it has 0 of 1 rounds" in nasrun("show", log.parents[1]).refusal
    log.unlink()
    assert nasrun("search", *small).status == 0
    assert log.read_text().startswith(sound)


def test_a_stage_that_lost_its_configuration_or_its_result_is_named(finished, nasrun):
    import nasrun as package

    lost = finished / "retrain/magnitude/config.yaml"
    lost.rename(finished / "kept")
    for words in (("show", finished), ("retrain", f"run={finished}", "retrain.epochs=2")):
        assert str(lost) in nasrun(*words).refusal
    assert str(lost) in nasrun("list", "runs", "format=json").err
    with pytest.raises(ValueError, match=str(lost)):
        package.load(finished)
    (finished / "kept").rename(lost)
    (finished / "retrain/magnitude/result.json").unlink()
    with pytest.raises(ValueError, match=r"magnitude/result\.json: missing beside the weights"):
        package.load(finished)
    assert package.load(finished, branch="magnitude-mnist5k").classes


def test_a_run_that_lost_its_record_is_named_and_makes_no_second_version(finished, nasrun, small):
    lost = finished / "run.json"
    lost.unlink()
    assert str(lost) in nasrun("list", "runs", "format=json").err
    assert str(lost) in nasrun("list", "runs").out
    assert str(lost) in nasrun("search", *small).refusal
    assert [path.name for path in finished.parent.glob("v*")] == ["v001"]


def test_a_result_whose_numbers_are_none_is_named_and_its_neighbours_are_listed(finished, nasrun):
    path = finished / "search/result.json"
    record = unsealed(json.loads(path.read_text()))
    for wrong in ({"seconds": []}, {"validation_accuracy": "high"}, {"params": {}}):
        write_record(path, {**record, **wrong})
        assert f"{path}: damaged, {next(iter(wrong))} is no number" in nasrun("list", "runs").out
        assert "is no number" in nasrun("show", finished).refusal
    write_record(path, {**record, "digests": 3})
    assert f"{path}: damaged, digests is no dict" in nasrun("show", finished).refusal


def test_nobody_waits_for_a_pipe(tmp_path):
    path = tmp_path / "x.json"
    os.mkfifo(path)
    for read in (read_json, read_yaml):
        with pytest.raises(ValueError, match=r"x\.json: damaged, it is a pipe"):
            read(path)
    with pytest.raises(ValueError, match=r"x\.json: is a pipe; name a file"):
        Table.read(path)
