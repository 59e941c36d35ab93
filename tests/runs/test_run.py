"""Runs on disk: versions, locks, states that survive interruptions and damage, no code executed."""

import json
import math
import multiprocessing
import os
import pickle
import random
import shutil
import sys
from pathlib import Path

import numpy
import pytest
import torch

from nasrun.files import read_json, read_yaml
from nasrun.runs import rows as logged
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder
from nasrun.runs.state import write_state
from nasrun.stage import Stage
from nasrun.streams import Streams

RECORD = {"choices": {}, "scale": {}}
CONFIG = {"seed": 0, "space": {}, "dataset": {}, "budget": {"threads": 1}}


STREAMS = Streams(0)


class Count(Stage):
    """A stage of random numbers."""

    rounds = 4

    def __init__(self):
        self.drawn = []

    def run_round(self):
        self.drawn.append(float(torch.rand(())))
        return {"drawn": self.drawn[-1], "python": random.random(), "numpy": numpy.random.rand()}

    def state_dict(self):
        return {"drawn": list(self.drawn)}

    def load_state_dict(self, state):
        self.drawn = list(state["drawn"])

    def finish(self, folder):
        return {"sum": sum(self.drawn)}


def one_round(stage, folder):
    STREAMS.at(stage.round)
    metrics = stage.run_round()
    stage.round += 1
    folder.log(stage.round, metrics)
    folder.save(stage)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_same_configuration_has_one_version_and_another_one_the_next(tmp_path):
    first = Run.claim(tmp_path, "a", CONFIG, RECORD)
    second = Run.claim(tmp_path, "a", {**CONFIG, "seed": 1}, RECORD)
    again = Run.claim(tmp_path, "a", dict(CONFIG), RECORD)
    assert [run.path.name for run in (first, second, again)] == ["v001", "v002", "v001"]
    assert Run.find(tmp_path, "a", {**CONFIG, "seed": 1}) == second
    assert Run.find(tmp_path, "a", {**CONFIG, "seed": 2}) is None
    assert Run.find(tmp_path, "b", CONFIG) is None
    assert first.config == CONFIG
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["v001", "v002"]


def test_a_thousandth_version_is_followed_by_the_next(tmp_path):
    for number in (1, 999, 1000):
        (tmp_path / "a" / f"v{number:03d}").mkdir(parents=True)
        (tmp_path / "a" / f"v{number:03d}" / "mine").touch()
    assert Run.claim(tmp_path, "a", CONFIG, RECORD).path.name == "v1001"


def test_a_copy_that_a_user_made_is_no_version(tmp_path):
    run = Run.claim(tmp_path, "a", CONFIG, RECORD)
    shutil.copytree(run.path, run.path.with_name("v001.old"))
    shutil.copytree(run.path, run.path.with_name("v001-copy"))
    assert Run.all(tmp_path) == [run]
    assert Run.claim(tmp_path, "a", {**CONFIG, "seed": 1}, RECORD).path.name == "v002"


def claim(outputs, seed, barrier, answers):
    barrier.wait()
    run = Run.claim(outputs, "a", {**CONFIG, "seed": seed}, RECORD)
    answers.put((seed, str(run.path), sorted(path.name for path in run.path.iterdir())))


@pytest.mark.parametrize("seeds", [(0, 1, 2, 3), (7, 7, 7, 7)], ids=["different", "same"])
def test_processes_that_race_for_a_version_get_complete_ones(tmp_path, seeds):
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(len(seeds)), context.Queue()
    racers = [
        context.Process(target=claim, args=(tmp_path, seed, barrier, answers)) for seed in seeds
    ]
    for racer in racers:
        racer.start()
    got = [answers.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join()
    assert len({path for _, path, _ in got}) == len(set(seeds))
    assert all(files == ["config.yaml", "run.json"] for *_, files in got)
    for seed, path, _ in got:
        assert Run(Path(path)).config["seed"] == seed
    assert len(list((tmp_path / "a").iterdir())) == len(set(seeds))  # no drafts are left


def test_a_half_made_version_of_a_killed_command_goes(tmp_path):
    half, mine = tmp_path / f"a/.v001.{'0a' * 16}", tmp_path / "a/.v001.old"
    for folder in (half, mine):
        folder.mkdir(parents=True)
        (folder / "config.yaml").touch()
    (tmp_path / f"a/.v002.{'0b' * 16}").symlink_to(mine)
    Run.claim(tmp_path, "a", CONFIG, RECORD)
    assert not half.exists()
    assert (mine / "config.yaml").exists()


def test_a_run_is_locked_against_a_second_worker(tmp_path):
    run = Run.claim(tmp_path, "a", CONFIG, RECORD)
    with run.lock(), pytest.raises(ValueError, match="another nasrun process uses it"), run.lock():
        pass
    with run.lock():
        pass


def test_a_system_without_locks_of_folders_refuses_a_second_worker_at_once(tmp_path, monkeypatch):
    pytest.importorskip("filelock")  # which needs it when it is imported
    monkeypatch.setitem(sys.modules, "fcntl", None)
    run = Run.claim(tmp_path, "a", CONFIG, RECORD)
    with run.lock(), pytest.raises(ValueError, match="another nasrun process uses it"), run.lock():
        pass
    with run.lock():
        pass


def test_a_lock_is_released_when_the_work_fails(tmp_path):
    run = Run.claim(tmp_path, "a", CONFIG, RECORD)
    with pytest.raises(RuntimeError, match="failed"), run.lock():
        raise RuntimeError("failed")
    with run.lock():
        pass


def test_the_run_used_last_is_the_newest(tmp_path):
    first = Run.claim(tmp_path, "a", CONFIG, RECORD)
    second = Run.claim(tmp_path, "b", CONFIG, RECORD)
    assert Run.all(tmp_path) == [first, second]
    os.utime(first.path / "run.json", ns=(2**62, 2**62))
    assert Run.all(tmp_path) == [second, first]


def test_a_stage_continues_from_its_last_saved_round(tmp_path):
    whole, parts = (StageFolder(tmp_path / name / "search", "mark") for name in ("whole", "parts"))
    stage = Count()
    whole.restore(stage)
    for _ in range(4):
        one_round(stage, whole)
    stage = Count()
    parts.restore(stage)
    one_round(stage, parts)
    one_round(stage, parts)
    parts.log(3, stage.run_round())  # stopped between log and save
    with (parts.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"round": 4, "dra\xff')  # and within a line, or in the middle of a block
    stage = Count()
    parts.restore(stage)
    assert stage.round == 2
    assert len(lines(parts.path / "metrics.jsonl")) == 2
    for _ in range(2):
        one_round(stage, parts)
    for name in ("metrics.jsonl",):
        assert (parts.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert len(lines(parts.path / "timing.jsonl")) == 4


def test_a_state_of_an_earlier_version_goes_on_without_its_generators(tmp_path):
    folder, stage = StageFolder(tmp_path / "search", "mark"), Count()
    folder.restore(stage)
    one_round(stage, folder)
    state = torch.load(folder.path / "state.pt", weights_only=True)
    assert "random" not in state
    write_state(folder.path, {**state, "random": {"torch": torch.get_rng_state()}}, {}, {})
    other = Count()
    folder.restore(other)
    assert (other.round, other.drawn) == (1, stage.drawn)


def test_a_stopped_stage_reports_the_seconds_of_all_its_parts(tmp_path, monkeypatch):
    """Time counts from a restoring to the last save, without what came after it or the pause."""
    now = 0.0
    monkeypatch.setattr("nasrun.runs.stage_folder.time.monotonic", lambda: now)
    for begun, seconds in ((100.0, 7.0), (1000.0, 10.5)):
        now = begun
        folder, stage = StageFolder(tmp_path / "search", "mark"), Count()
        now += 40.0
        folder.restore(stage)
        now += seconds
        one_round(stage, folder)
        now += 300.0
        folder.log(stage.round + 1, stage.run_round())
    now = 5000.0
    folder, stage = StageFolder(tmp_path / "search", "mark"), Count()
    folder.restore(stage)
    now += 0.25
    folder.finish({})
    assert folder.result["seconds"] == 7.0 + 10.5 + 0.25
    assert [row["seconds"] for row in folder.timing()] == [7.0, 10.5]


def test_a_stage_stopped_between_its_two_renames_continues_from_the_state_before(tmp_path):
    folder, stage = StageFolder(tmp_path / "search", "mark"), Count()
    folder.restore(stage)
    one_round(stage, folder)
    one_round(stage, folder)
    (folder.path / "state.pt").rename(folder.path / "state.tmp")
    stage = Count()
    folder.restore(stage)
    assert stage.round == 1


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "another object"])
def test_a_damaged_state_falls_back_to_the_one_before_with_a_warning(tmp_path, damage):
    folder, stage = StageFolder(tmp_path / "search", "mark"), Count()
    folder.restore(stage)
    one_round(stage, folder)
    one_round(stage, folder)
    path = folder.path / "state.pt"
    if damage == "another object":
        torch.save({"weights": torch.ones(1)}, path)
    else:
        whole = path.read_bytes()
        path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b""}.get(damage, b"hi"))
    again = Count()
    with pytest.warns(UserWarning, match=r"damaged state .*state\.pt.*going on from .*previous"):
        folder.restore(again)
    assert again.round == 1
    assert again.drawn == stage.drawn[:1]
    assert len(lines(folder.path / "metrics.jsonl")) == 1


def test_two_damaged_states_are_an_error_that_names_both(tmp_path):
    folder, stage = StageFolder(tmp_path / "search", "mark"), Count()
    folder.restore(stage)
    one_round(stage, folder)
    one_round(stage, folder)
    for name in ("state.pt", "state.previous.pt"):
        (folder.path / name).write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"state\.pt.*and.*state\.previous\.pt.*delete"):
        folder.restore(Count())
    assert len(lines(folder.path / "metrics.jsonl")) == 2  # nothing was thrown away


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", [torch.save, lambda o, path: path.write_bytes(pickle.dumps(o))])
def test_a_state_that_would_run_code_is_refused_and_does_not_run_it(tmp_path, write):
    folder = StageFolder(tmp_path / "search", "mark")
    folder.path.mkdir()
    written = {"round": 1, "stage": Malicious(tmp_path / "hacked"), "random": {}, "seconds": 0.0}
    write(written, folder.path / "state.pt")
    with pytest.raises(ValueError, match="damaged state"):
        folder.restore(Count())
    assert not (tmp_path / "hacked").exists()
    with pytest.raises(pickle.UnpicklingError):  # it is malicious: torch would refuse it too
        torch.load(folder.path / "state.pt", weights_only=True)
    assert not (tmp_path / "hacked").exists()


def test_a_state_of_another_configuration_is_an_error(tmp_path):
    folder, stage = StageFolder(tmp_path / "search", "mark"), Count()
    folder.restore(stage)
    one_round(stage, folder)

    class Other(Count):
        def load_state_dict(self, state):
            self.drawn = state["other"]

    with pytest.raises(ValueError, match="does not fit, probably because the code"):
        folder.restore(Other())
    (folder.path / "result.json").write_text('{"seconds": 1.0}')
    with pytest.raises(ValueError, match=r"does not fit.*'other'"):
        folder.load(Other())


@pytest.mark.parametrize("kind", ["select", "retrain", "transfer"])
def test_a_branch_that_is_called_search_is_no_search(tmp_path, kind):
    folder = StageFolder(tmp_path / "a" / kind / "search", "mark")
    assert (folder.kind, folder.branch, folder.run) == (kind, "search", tmp_path / "a")
    assert StageFolder(tmp_path / "a/search", "mark").kind == "search"
    (tmp_path / kind).mkdir()
    (tmp_path / kind / "run.json").touch()  # a run that is called as a stage
    assert StageFolder(tmp_path / kind / "search", "mark").kind == "search"


def test_a_round_that_is_logged_while_its_log_is_read_is_no_damage(tmp_path, monkeypatch):
    folder, stage = StageFolder(tmp_path / "search", "mark"), Count()
    folder.restore(stage)
    one_round(stage, folder)
    read = logged.read_lines

    def meanwhile(path):
        rows = read(path)
        one_round(stage, folder)
        return rows

    monkeypatch.setattr(logged, "read_lines", meanwhile)
    assert len(StageFolder(folder.path, "mark").metrics()) == 1


def test_a_second_configuration_of_a_branch_gets_the_next_name(tmp_path):
    run = Run.claim(tmp_path, "a", CONFIG, RECORD)
    names = []
    for interval in (1, 2, 1, 3):
        folder = run.branch("select", "perturb", {"selector": {"interval": interval}}, "parent")
        folder.restore(Count())
        names.append(folder.branch)
    assert names == ["perturb", "perturb-2", "perturb", "perturb-3"]
    assert run.branch("select", "perturb", {"selector": {"interval": 1}}, "other").branch == (
        "perturb-4"
    )


def finish(run, kind, branch, parent, result):
    """A finished stage that follows another one or, by its name, a genotype."""
    named = isinstance(parent, str)
    source, mark = (parent, parent) if named else (parent.branch, parent.fingerprint)
    folder = run.branch(kind, branch, {"x": branch, "source": source}, mark)
    folder.restore(Count())
    folder.finish(result)
    return folder


def test_a_report_has_a_row_for_each_branch_and_puts_results_where_they_belong(tmp_path):
    run = Run.claim(tmp_path, "a", CONFIG, RECORD)
    one = finish(run, "select", "perturb", "", {"genotype": "one"})
    two = finish(run, "select", "perturb-2", "", {"genotype": "two"})
    finish(run, "retrain", "perturb", one, {"test_accuracy": 0.1})
    finish(run, "retrain", "perturb-2", two, {"test_accuracy": 0.2})
    finish(run, "retrain", "random", "random", {"test_accuracy": 0.3})
    finish(run, "transfer", "perturb-2-mnist5k", two, {"test_accuracy": 0.4})
    rows = {row["branch"]: row for row in run.write_report()}
    assert list(rows) == ["perturb", "perturb-2", "random"]
    assert rows["perturb"]["retrain"]["test_accuracy"] == 0.1
    assert "transfer" not in rows["perturb"]
    assert rows["perturb-2"]["select"]["genotype"] == "two"
    assert rows["perturb-2"]["retrain"]["test_accuracy"] == 0.2
    assert rows["perturb-2"]["transfer"]["mnist5k"]["test_accuracy"] == 0.4
    assert json.loads((run.path / "report.json").read_text()) == list(rows.values())


def test_a_second_retraining_of_a_branch_is_a_row_of_its_own(tmp_path):
    run = Run.claim(tmp_path, "a", CONFIG, RECORD)
    chosen = finish(run, "select", "perturb", "", {"genotype": "one"})
    finish(run, "retrain", "perturb", chosen, {"test_accuracy": 0.1})
    again = run.branch("retrain", "perturb", {"epochs": 2, "source": "perturb"}, chosen.fingerprint)
    again.restore(Count())
    again.finish({"test_accuracy": 0.2})
    rows = run.write_report()
    assert [row["branch"] for row in rows] == ["perturb", "perturb-2"]
    assert [row["retrain"]["test_accuracy"] for row in rows] == [0.1, 0.2]
    assert [row["select"]["genotype"] for row in rows] == ["one", "one"]


def test_a_genotype_named_as_a_selection_is_no_retraining_of_it(tmp_path):
    run = Run.claim(tmp_path, "a", CONFIG, RECORD)
    finish(run, "select", "perturb", "", {"genotype": "one"})
    finish(run, "retrain", "perturb", "perturb", {"test_accuracy": 0.1})  # of perturb.json
    selection, retraining = run.report()
    assert "retrain" not in selection
    assert retraining == {"branch": "perturb", "retrain": retraining["retrain"]}


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"a": 1}', "\udcff"])
@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, read, content):
    path = tmp_path / "file"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=str(path)) as error:
        read(path, "needed")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="missing"):
        read(tmp_path / "missing", "needed")


def test_a_folder_that_cannot_be_made_is_named_with_its_key(tmp_path):
    (tmp_path / "file").write_text("")
    outputs = tmp_path / "file" / "below"
    with pytest.raises(ValueError, match=r"outputs=.*below: cannot make .* \(Not a dir.*; choose"):
        Run.claim(outputs, "digits", {"seed": 0}, {})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match=r"outputs=.*no permission"):
        Run.check_writable(tmp_path / "outputs")
    with pytest.raises(ValueError, match=r"outputs=.*no permission"):
        Run.claim(tmp_path / "outputs", "a", CONFIG, RECORD)


def test_a_family_that_cannot_be_written_is_named_with_its_key(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    access = os.access
    own = str(tmp_path / "a")
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != own and access(path, mode))
    for act in (
        lambda: Run.check_writable(tmp_path, "a"),
        lambda: Run.claim(tmp_path, "a", CONFIG, RECORD),
    ):
        with pytest.raises(ValueError, match=rf"^outputs={tmp_path}: no permission to write in"):
            act()


def test_outputs_below_a_file_are_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"outputs=.*file is not a folder"):
        Run.check_writable(tmp_path / "file" / "outputs")


def test_what_is_no_number_is_null_in_json_and_none_when_read(tmp_path):
    folder = StageFolder(tmp_path / "search", "mark")
    folder.path.mkdir()
    folder.log(1, {"loss": math.nan, "accuracy": 0.5, "score": -math.inf})
    text = (folder.path / "metrics.jsonl").read_text()
    assert text == '{"round": 1, "loss": null, "accuracy": 0.5, "score": null}\n'
    (read,) = folder.metrics()
    assert math.isnan(read["loss"]) and math.isnan(read["score"])
    assert (read["round"], read["accuracy"]) == (1, 0.5)
    folder.finish({"test_loss": math.inf, "scores": [["a", math.nan]], "untrained": {"fid": 2.0}})
    result = json.loads((folder.path / "result.json").read_text(), parse_constant=pytest.fail)
    assert result["test_loss"] is None
    assert result["scores"] == [["a", None]]
    assert result["untrained"] == {"fid": 2.0}


def test_nothing_is_done_in_a_run_with_a_link_to_a_folder_elsewhere(tmp_path):
    run = Run.claim(tmp_path, "a", CONFIG, RECORD)
    (outside := tmp_path / "outside").mkdir()
    for name in ("search", "select/magnitude/members"):
        link = run.path / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(outside, target_is_directory=True)
        with pytest.raises(ValueError, match=f"{link}: is a link out of"), run.lock():
            pass
        link.unlink()
    (run.path / "latest").symlink_to(run.path / "select", target_is_directory=True)
    with run.lock():
        pass


def hold(run, held, over):
    with run.lock():
        held.set()
        over.wait(60)


def test_no_deletion_of_a_file_lets_a_second_process_in(tmp_path):
    run = Run.claim(tmp_path, "a", CONFIG, RECORD)
    context = multiprocessing.get_context("fork")
    held, over = context.Event(), context.Event()
    worker = context.Process(target=hold, args=(run, held, over))
    worker.start()
    assert held.wait(60)
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        path.unlink()
    with pytest.raises(ValueError, match="another nasrun process uses it"), run.lock():
        pass
    over.set()
    worker.join()
    with run.lock():
        pass
