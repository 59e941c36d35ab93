"""The pipeline from end to end: stops of every kind, damaged files, data, missing files."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy
import pytest
from PIL import Image

from nasrun.runs.stage_folder import StageFolder
from nasrun.tasks.classification import Classification


def metrics(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def until_a_round(act):
    """Let a command `act` at its second step after it has saved a round."""
    save, loss, steps = StageFolder.save, Classification.loss, []

    def saved(folder, stage):
        save(folder, stage)
        steps[:] = ["saved"]

    def stepped(task, forward, batch):
        if steps:
            steps.append("step")
        if len(steps) == 3:
            act()
        return loss(task, forward, batch)

    StageFolder.save, Classification.loss = saved, stepped


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(path):
    """Return as soon as a file is there."""
    until = time.monotonic() + 90
    while not path.exists():
        assert time.monotonic() < until, f"no {path} in time"
        time.sleep(0.01)


@pytest.mark.parametrize("strategy", ["darts", "random"])
def test_a_search_killed_within_a_round_ends_as_if_it_was_not(
    forked, nasrun, here, small, strategy
):
    own = ["strategy.together=1", "engine=serial"] if strategy == "random" else []
    words = [f"strategy={strategy}", *small, *own]
    rounds = 2
    if strategy == "random":
        words, rounds = [*words, "strategy.num_candidates=3", "strategy.evaluator.epochs=1"], 3
        words.remove("rounds=2")
    name = "random-from_scratch" if strategy == "random" else strategy
    killed = Path(f"killed/digits-darts-{name}/v001/search")
    process = forked("search", *words, "outputs=killed", before=lambda: until_a_round(die))
    assert process.wait() == -signal.SIGKILL
    assert len(metrics(here / killed / "metrics.jsonl")) == 1
    assert nasrun("search", *words, "outputs=killed").status == 0
    assert nasrun("search", *words, "outputs=whole").status == 0
    whole = here / "whole" / killed.relative_to("killed")
    assert len(metrics(whole / "metrics.jsonl")) == rounds
    assert (here / killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    for outputs in ("killed", "whole"):
        assert nasrun("select", "budget.threads=1", f"outputs={outputs}").status == 0
    (chosen,) = whole.parent.glob("select/*/genotype.json")
    other = here / "killed" / chosen.relative_to(here / "whole")
    assert other.read_bytes() == chosen.read_bytes()


def test_a_selection_killed_within_a_round_ends_as_if_it_was_not(forked, nasrun, here, finished):
    shutil.copytree("outputs", "whole")
    folder = here / finished / "select/perturb"
    words = ["method=perturb", "selector.interval=3", "budget.threads=1", "discretisation=false"]
    process = forked("select", *words, before=lambda: until_a_round(die))
    assert process.wait() == -signal.SIGKILL
    assert len(metrics(folder / "metrics.jsonl")) == 1
    assert not (folder / "result.json").exists()
    assert nasrun("select", *words).status == 0
    assert nasrun("select", *words, "outputs=whole").status == 0
    whole = here / "whole" / finished.relative_to("outputs") / "select/perturb"
    assert len(metrics(whole / "metrics.jsonl")) == 7
    for name in ("metrics.jsonl", "genotype.json", "scores.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_a_gap_that_was_left_out_is_measured_later_as_at_once(nasrun, here, finished):
    shutil.copytree("outputs", "whole")
    words = ["method=argmax", "budget.threads=1"]
    assert nasrun("select", *words, "discretisation=false").status == 0
    later = here / finished / "select/argmax"
    assert not (later / "discretisation.json").exists()
    assert nasrun("select", *words).status == 0
    assert nasrun("select", *words, "outputs=whole").status == 0
    once = here / "whole" / finished.relative_to("outputs") / "select/argmax"
    name = "discretisation.json"
    assert (later / name).read_bytes() == (once / name).read_bytes()
    gaps = [json.loads((each / "result.json").read_text())["gap"] for each in (later, once)]
    assert gaps[0] == gaps[1]


KILLER = """
import os
import signal
from pathlib import Path

from nasrun import load
from nasrun.strategies.judges import Judge, Masked


class Killer(Judge):
    passes = 1

    def __init__(self, *, criterion: str, images: int | None, batch_size: int | None) -> None:
        self.masked = Masked(criterion=criterion, images=images, batch_size=batch_size)
        self.decisions = 0

    def operations(self, strategy, decision):
        self.decisions += 1
        if self.decisions == 4 and Path("kill").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return self.masked.operations(strategy, decision)

    def edges(self, strategy, decided):
        return self.masked.edges(strategy, decided)
"""


def test_a_selection_killed_within_an_event_decides_and_scores_the_same_again(
    forked, nasrun, here, finished
):
    """The fourth decision is in the middle of the second event, after one round of tuning."""
    shutil.copytree("outputs", "whole")
    (here / "killer.py").write_text(KILLER)
    (here / "kill").touch()
    words = ["select", "method=perturb", "selector.judge._target_=killer.Killer"]
    words += ["trust=[killer]", "budget.threads=1"]
    folder = here / finished / "select/perturb"
    assert forked(*words).wait() == -signal.SIGKILL
    assert len(metrics(folder / "metrics.jsonl")) == 1
    (here / "kill").unlink()
    for outputs in ("outputs", "whole"):
        answer = nasrun(*words, f"outputs={outputs}")
        assert (answer.status, answer.err) == (0, "")
    del sys.modules["killer"]
    whole = here / "whole" / finished.relative_to("outputs") / "select/perturb"
    for name in ("metrics.jsonl", "genotype.json", "scores.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert len(json.loads((folder / "scores.json").read_text())) == 6


def work():
    """Work on until a signal ends it, and tell that it does."""
    Path("working").touch()
    time.sleep(60)


def test_a_signal_is_one_line_and_a_status_and_finished_rounds_are_kept(
    forked, nasrun, here, small
):
    def heard():
        with open("err", "w") as file:
            os.dup2(file.fileno(), sys.__stderr__.fileno())
        sys.stderr = sys.__stderr__
        until_a_round(work)

    process = forked("search", *small, before=heard)
    folder = here / "outputs/digits-darts-darts/v001/search"
    wait_for(here / "working")
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == 143
    (line,) = Path("err").read_text().splitlines()
    assert line.startswith("nasrun: ended by SIGTERM; finished rounds are kept")
    before = (folder / "metrics.jsonl").read_bytes()
    assert len(before.splitlines()) == 1
    assert nasrun("search", *small).status == 0
    after = (folder / "metrics.jsonl").read_bytes()
    assert after.startswith(before)
    assert len(after.splitlines()) == 2


def test_a_second_command_on_a_run_at_work_is_refused(forked, nasrun, here, small):
    process = forked("search", *small, before=lambda: until_a_round(work))
    wait_for(here / "working")
    refusal = nasrun("search", *small).refusal
    process.kill()
    assert "run=outputs/digits-darts-darts/v001: another nasrun process uses it" in refusal


def test_spent_hours_stop_between_two_rounds_and_the_same_command_continues(nasrun, here, small):
    stopped = nasrun("search", *small, "budget.max_hours=1e-9")
    assert stopped.status == 75
    told = "budget.max_hours=1e-09 is spent; repeat the command to go on\n"
    assert stopped.out.endswith(told)
    folder = here / "outputs/digits-darts-darts/v001/search"
    assert len(metrics(folder / "metrics.jsonl")) == 1
    assert nasrun("search", *small, "budget.max_hours=1e-9").status == 0  # its last round
    assert nasrun("search", *small, "outputs=whole").status == 0
    whole = here / "whole/digits-darts-darts/v001/search/metrics.jsonl"
    assert (folder / "metrics.jsonl").read_bytes() == whole.read_bytes()
    assert len(list(here.glob("outputs/*/v*"))) == 1


def test_a_truncated_state_is_told_and_the_one_before_is_used(nasrun, here, small):
    assert nasrun("search", *small, "budget.max_hours=1e-9").status == 75
    folder = here / "outputs/digits-darts-darts/v001/search"
    shutil.copy(folder / "state.pt", folder / "state.previous.pt")
    (folder / "state.pt").write_bytes((folder / "state.pt").read_bytes()[:100])
    answer = nasrun("search", *small)
    assert answer.status == 0
    assert len(answer.err.splitlines()) == 1
    assert answer.err.startswith("nasrun: warning: damaged state")
    for name in ("state.pt", "state.previous.pt"):
        (folder / name).write_bytes(b"")
    (folder / "result.json").unlink()
    refusal = nasrun("search", *small).refusal
    assert "state.pt" in refusal
    assert "state.previous.pt" in refusal


def test_no_selection_reads_the_round_before_a_damaged_one_and_what_is_told_redoes_it(
    nasrun, finished
):
    path = finished / "search/state.pt"
    expected = (finished / "search/metrics.jsonl").read_bytes()
    genotype = (finished / "select/magnitude/genotype.json").read_bytes()
    path.write_bytes(path.read_bytes()[:-100])
    refusal = nasrun("select", "method=argmax").refusal
    assert f"{path}: damaged" in refusal
    assert "of round 1 of 2" in refusal
    assert not (finished / "select/argmax").exists()
    (finished / "search/result.json").unlink()  # as it is told
    answer = nasrun("search", f"run={finished}")
    assert answer.status == 0, answer.err
    assert (finished / "search/metrics.jsonl").read_bytes() == expected
    assert nasrun("select", "method=argmax").status == 0
    assert (finished / "select/magnitude/genotype.json").read_bytes() == genotype


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "flipped"])
def test_what_is_logged_is_rebuilt_from_the_state(nasrun, finished, damage):
    path = finished / "search/metrics.jsonl"
    expected = path.read_bytes()
    (finished / "search/result.json").unlink()  # as if it was stopped before its end
    if damage == "gone":
        path.unlink()
    else:
        flipped = bytes([expected[0] ^ 4]) + expected[1:]
        path.write_bytes({"empty": b"", "cut": expected[:40], "flipped": flipped}[damage])
    answer = nasrun("search", f"run={finished}")
    assert answer.status == 0, answer.err
    assert path.read_bytes() == expected


def test_a_flipped_bit_of_the_weights_is_refused(finished):
    from nasrun import load

    path = finished / "retrain/magnitude/weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}: damaged"):
        load(finished, "magnitude")


def files_of(run):
    """Return the files of a run without the parts that depend on the clock."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if (path.is_file() and path.suffix in (".png", ".svg")) or path.name == "genotype.json"
    }


def test_a_picture_lost_to_a_kill_is_drawn_by_the_same_command(here, pictures, nasrun, small):
    """Killed while it is written: the picture is missing, its unfinished file lies there."""
    words = ["run", *small, "stages=[search,select]"]
    assert nasrun(*words).status == 0
    (folder,) = here.glob("outputs/*/v001/select/magnitude")
    expected = files_of(folder.parents[1])
    assert {"select/magnitude/cells.svg", "select/magnitude/cells.png"} <= expected.keys()
    for lost in ("cells.svg", "cells.png"):
        (folder / lost).rename(folder / f".{lost}.{'0a' * 16}.part")
        (folder / f"{lost}.tmp").touch()  # as earlier versions called it
        assert nasrun(*words).status == 0
        assert files_of(folder.parents[1]) == expected
        assert not [*folder.glob("*.tmp"), *folder.glob(".*.part")]


def test_a_damaged_state_of_a_search_stops_its_selection(nasrun, finished):
    for path in finished.glob("search/state*.pt"):
        path.write_bytes(b"")
    assert "damaged state" in nasrun("select", "method=argmax").refusal
    assert not (finished / "select/argmax").exists()
    for path in finished.glob("search/state*.pt"):
        path.unlink()
    assert "its state is gone" in nasrun("select", "method=argmax").refusal


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("select", "run.json"),
        ("run", "run.json"),
        ("select", "config.yaml"),
        ("show", "config.yaml"),
        ("export", "config.yaml"),
    ],
)
def test_damaged_files_of_a_run_are_named_in_one_line(
    nasrun, finished, small, short, moved, name, content, verb
):
    path = finished / name
    path.write_text(content)
    words = {
        "select": ["select", "method=argmax"],
        "show": ["show", str(finished)],
        "export": ["export", str(finished)],
        "run": ["run", *small, *short, *moved],
    }[verb]
    assert str(path) in nasrun(*words).refusal


def test_a_damaged_configuration_of_a_stage_is_named(nasrun, finished):
    path = finished / "select/magnitude/config.yaml"
    path.write_text("")
    for words in (["select"], ["retrain"], ["show", finished]):
        assert str(path) in nasrun(*words).refusal


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
@pytest.mark.parametrize("name", ["run.json", "config.yaml", "select/magnitude/config.yaml"])
def test_damaged_files_are_named_below_the_list_of_runs(nasrun, finished, name, content):
    path = finished / name
    path.write_text(content)
    answer = nasrun("list", "runs")
    assert answer.status == 0
    assert f"damaged: {path}" in answer.out


def test_damaged_weights_are_named(nasrun, finished):
    path = finished / "retrain/magnitude/weights.safetensors"
    for content in (path.read_bytes()[:50], b""):
        path.write_bytes(content)
        assert str(path) in nasrun("export", finished).refusal
    path.unlink()
    assert str(path) in nasrun("export", finished).refusal


def test_a_damaged_genotype_of_a_run_is_named(nasrun, finished):
    path = finished / "select/magnitude/genotype.json"
    path.write_text("{")
    assert str(path) in nasrun("retrain").refusal
    assert str(path) in nasrun("show", finished).refusal


def paint(folder, classes=2, count=12):
    generator = numpy.random.default_rng(0)
    for label in range(classes):
        for position in range(count):
            path = Path(folder) / f"class{label}" / f"{position}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = generator.integers(0, 256, (9, 9, 3)).astype(numpy.uint8)
            Image.fromarray(noise).save(path)
    return Path(folder)


def test_an_empty_class_folder_is_refused_and_leaves_nothing(nasrun, here, small):
    (paint("set") / "class2").mkdir()
    words = [word for word in small if not word.startswith("images=")]
    refusal = nasrun("search", *words, "dataset=image_folder", "dataset.root=set").refusal
    assert "dataset.root=" in refusal
    assert "class2 has no images" in refusal
    assert [path.name for path in here.iterdir()] == ["set"]


@pytest.mark.parametrize("verb", ["search", "run", "retrain"])
def test_a_corrupt_image_is_refused_and_leaves_nothing(nasrun, here, small, verb):
    broken = paint("set") / "class1" / "0.png"
    broken.write_bytes(broken.read_bytes()[:60])
    search = ("images=", "rounds=")
    if verb == "retrain":
        search += ("width=", "depth=", "batch_size=")
    words = [word for word in small if not word.startswith(search)]
    words += ["genotype=random"] if verb == "retrain" else []
    refusal = nasrun(verb, *words, "dataset=image_folder", "dataset.root=set").refusal
    assert "class1/0.png" in refusal
    assert "dataset.root" in refusal
    assert [path.name for path in here.iterdir()] == ["set"]


def test_a_transfer_folder_is_looked_at_before_anything_runs(nasrun, here, small):
    words = ["run", *small, "transfer=folder", "transfer.dataset.root=set"]
    assert "transfer.dataset.root=set: there is no such folder" in nasrun(*words).refusal
    (paint("set") / "class2").mkdir()
    refusal = nasrun(*words).refusal
    assert "transfer.dataset.root=" in refusal
    assert "class2 has no images" in refusal
    assert [path.name for path in here.iterdir()] == ["set"]


def test_all_broken_images_of_all_stages_are_named_before_the_first_one(nasrun, here, small):
    """Also those that only the test at the end would have read."""
    broken = [path for folder in ("set", "other") for path in sorted(paint(folder).rglob("*.png"))]
    broken = broken[1::2]
    for path in broken:
        path.write_bytes(path.read_bytes()[:60])
    words = [word for word in small if not word.startswith("images=")]
    words += ["dataset=image_folder", "dataset.root=set"]
    words += ["transfer=folder", "transfer.dataset.root=other"]
    refusal = nasrun("run", *words).refusal
    ours, theirs = refusal.split("; transfer.dataset.root: ")
    for text, folder in ((ours, "set"), (theirs, "other")):
        assert "cannot read 12 of 24 images, remove or replace them: " in text
        assert all(str(path.absolute()) in text for path in broken if path.parts[0] == folder)
    assert {path.name for path in here.iterdir()} == {"set", "other"}
    for path in broken:
        path.unlink()
    searched = [word for word in words if "transfer" not in word]
    assert nasrun("search", *searched, "rounds=1").status == 0


def folder_words(small):
    words = [word for word in small if not word.startswith(("images=", "rounds="))]
    return [*words, "rounds=1", "dataset=image_folder"]


def test_a_set_is_what_is_in_it_wherever_it_lies(nasrun, here, small, monkeypatch):
    paint("imgs")
    words = folder_words(small)
    monkeypatch.setenv("HOME", str(here))
    for root in ("imgs", "./imgs", "imgs/", str(here / "imgs"), "'~/imgs'"):
        assert nasrun("search", *words, f"dataset.root={root}").status == 0
    (run,) = Path("outputs/image_folder-darts-darts").glob("v*")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    own = ["progress=false", "budget.threads=1", "budget.device=cpu", f"run={here / run}"]
    assert nasrun("select", *own).status == 0
    (here / "imgs").rename(here / "moved")
    assert "there is no such folder" in nasrun("select", *own, "selector=argmax").refusal
    moved = f"dataset.root={here / 'moved'}"
    assert nasrun("select", *own, "selector=argmax", moved).status == 0
    monkeypatch.chdir(here)
    assert nasrun("search", *words, moved).status == 0
    assert len(list(Path("outputs/image_folder-darts-darts").glob("v*"))) == 1
    paint("other", count=13)
    refusal = nasrun("select", *own, "dataset.root=other").refusal
    assert f"dataset.root: the images are not those that {here / run} began with" in refusal
    assert "2 added (class0/12.png, class1/12.png)" in refusal


def test_a_changed_folder_goes_on_with_no_run_and_says_what_changed(nasrun, here, small):
    root = paint("set")
    words = [*folder_words(small), "dataset.root=set"]
    assert nasrun("search", *words).status == 0
    before = sorted(Path("outputs").rglob("*"))
    (root / "class0/3.png").rename(root / "class0/33.png")
    with (root / "class1/4.png").open("ab") as file:
        file.write(b"more")
    changes = "1 added (class0/33.png); 1 removed (class0/3.png); 1 changed (class1/4.png)"
    for command in (["search", *words], ["select"]):
        refusal = nasrun(*command).refusal
        assert changes in refusal
        assert "put them back, or start a new run with outputs=DIR" in refusal
    assert sorted(Path("outputs").rglob("*")) == before
    assert nasrun("search", *words, "outputs=new").status == 0


def test_analyses_and_measures_find_data_that_were_moved_and_refuse_others(
    nasrun, here, small, short, no_pictures
):
    from nasrun.claims.finished import Finished
    from nasrun.claims.measures import SupernetRanks

    root = paint("imgs", count=20)
    words = [*folder_words(small), "dataset.root=imgs", "space=nasbench201", "strategy=random"]
    words = [word for word in words if not word.startswith("space.")]
    words += ["evaluator=inherited", "strategy.num_candidates=2"]
    for verb, own in (("search", words), ("select", ["budget.threads=1"]), ("retrain", short)):
        answer = nasrun(verb, *own)
        assert answer.status == 0, answer.err
    (run,) = here.glob("outputs/*/v001")
    root.rename("moved")
    paint("other", count=21)
    tau = SupernetRanks(text="", data="cifar10", count=3, seed=0)
    with pytest.raises(ValueError, match="there is no such folder"):
        tau.fact(Finished([run / "search"]))
    assert len(tau.fact(Finished([run / "search"], root="moved"))) == 3
    few = ["grid=3", "images=6", "engine=serial", "budget.threads=1", "budget.device=cpu"]
    for part, own in (
        ("ranks", [f"run={run}", "count=9", "top=1", "against=params", "against.images=8"]),
        ("landscape", [f"solution={run}", *few]),
    ):
        words = ["analyze", part, *own, f"out={part}"]
        assert "there is no such folder" in nasrun(*words).refusal
        refusal = nasrun(*words, "dataset.root=other").refusal
        assert f"dataset.root: the images are not those that {run} began with" in refusal
        answer = nasrun(*words, "dataset.root=moved")
        assert answer.status == 0, answer.err


def test_a_changed_transfer_folder_is_refused_and_a_moved_one_is_the_same(nasrun, here, finished):
    root = paint("set")
    words = ["transfer", "transfer=folder", "transfer.channels=2", "transfer.layers=3"]
    words += ["transfer.epochs=1", "transfer.auxiliary=false"]
    assert nasrun(*words, "transfer.dataset.root=set").status == 0
    root.rename("moved")
    assert nasrun(*words, "transfer.dataset.root=moved/").status == 0
    folders = list(finished.glob("transfer/*folder*"))
    assert len(folders) == 1
    Path("moved/class0/3.png").unlink()
    refusal = nasrun(*words, "transfer.dataset.root=moved").refusal
    assert "transfer.dataset.root: the images are not those that" in refusal
    assert "1 removed (class0/3.png)" in refusal


def test_escape_codes_in_names_of_files_do_not_reach_the_terminal(nasrun, here, small):
    path = paint("set") / "class1" / "\x1b[2J\n.png"
    path.write_bytes(b"not an image")
    words = [*(word for word in small if not word.startswith("images=")), "dataset=image_folder"]
    refusal = nasrun("search", *words, "dataset.root=set").refusal
    assert "class1/\\x1b[2J\\n.png (none of the formats" in refusal
    path.unlink()
    (here / "set" / "\x1b[31mred").mkdir()
    assert "\\x1b[31mred" in nasrun("search", *words, "dataset.root=set").refusal
    strange = nasrun("search", *words, "dataset.root='\x1b[2Jx'").refusal
    assert "\\x1b[2Jx" in strange


def test_a_corrupt_transfer_image_keeps_what_is_finished(nasrun, here, finished):
    broken = paint("set") / "class1" / "0.png"
    broken.write_bytes(broken.read_bytes()[:60])
    before = sorted(finished.rglob("*"))
    words = ["transfer=folder", "transfer.dataset.root=set", "images=64", "transfer.channels=2"]
    refusal = nasrun("transfer", *words).refusal
    assert "class1/0.png" in refusal
    assert "transfer.dataset.root" in refusal
    assert [path for path in finished.rglob("*") if path not in before] == []


def test_a_folder_of_pictures_goes_through_the_whole_pipeline(nasrun, here, small, short, moved):
    paint("set", classes=3)
    words = [word for word in (*small, *short, *moved) if not word.startswith("images=")]
    answer = nasrun("run", *words, "dataset=image_folder", "dataset.root=set")
    assert answer.status == 0, answer.err
    report = json.loads((here / "outputs/image_folder-darts-darts/v001/report.json").read_text())
    assert {row["branch"] for row in report} == {"magnitude", "random"}
    assert report[0]["retrain"]["data"]["classes"] == ["class0", "class1", "class2"]


def test_test_data_are_read_once_a_training_and_only_at_its_end(
    nasrun, here, small, short, moved, monkeypatch
):
    from nasrun.data.images import Digits, Mnist5k
    from nasrun.retrain import Retrain
    from nasrun.strategies.differentiable import Differentiable

    events = []

    def watched(kind, method, name):
        original = getattr(kind, method)

        def wrapper(self, *arguments, **keywords):
            text = name(arguments)
            events.append(text) if text else None
            return original(self, *arguments, **keywords)

        monkeypatch.setattr(kind, method, wrapper)

    for kind in (Digits, Mnist5k):
        watched(kind, "split", lambda parts, kind=kind: f"{kind.__name__} {'+'.join(parts)}")
    watched(Retrain, "run_round", lambda _: "round")
    watched(Differentiable, "run_round", lambda _: "search")
    assert nasrun("run", *small, *short, *moved).status == 0
    assert events == [
        *("Digits train", "Digits validation", "search", "search"),
        *("Digits train", "Digits validation"),  # for the selection
        *("Digits train+validation", "round", "round", "Digits test"),
        *("Digits train+validation", "round", "round", "Digits test"),  # the random genotype
        *("Mnist5k train+validation", "round", "Mnist5k test"),
    ]


def test_selectors_share_a_search_and_a_second_configuration_has_a_folder_of_its_own(
    nasrun, here, finished
):
    search = {path: path.read_bytes() for path in finished.glob("search/*") if path.is_file()}
    for words in (
        ["method=argmax", "budget.threads=1"],
        ["method=perturb", "budget.threads=1"],
        ["method=perturb", "budget.threads=1", "selector.weight_lr=0.1"],
        ["method=perturb", "budget.threads=1"],
    ):
        assert nasrun("select", *words).status == 0
    names = sorted(path.name for path in (finished / "select").iterdir())
    assert names == ["argmax", "magnitude", "perturb", "perturb-2"]
    assert {path: path.read_bytes() for path in search} == search
    rows = json.loads((finished / "report.json").read_text())
    assert {row["branch"] for row in rows} == {*names, "random"}


def test_a_run_with_another_selector_goes_on_from_the_same_search(nasrun, here, finished, small):
    words = [*small, "stages=[search,select]", "selector=argmax"]
    answer = nasrun("run", *words)
    assert answer.status == 0
    assert "search  round" not in answer.out
    assert (finished / "select/argmax/genotype.json").is_file()
    assert len(list(here.glob("outputs/*/v*"))) == 1


def test_the_baseline_is_the_random_genotype_of_the_seed_and_trained_equally(finished):
    random, chosen = (
        json.loads((finished / f"retrain/{name}/result.json").read_text())
        for name in ("random", "magnitude")
    )
    for key in ("epochs", "channels", "layers", "trained_on", "train_images", "weights_of"):
        assert random[key] == chosen[key]
    from nasrun.config import build
    from nasrun.config.given import random_genotype
    from nasrun.runs.run import Run

    space = build(Run(finished).config["space"], "space")
    drawn = random_genotype(space, 0)
    assert random["genotype"] == space.render(drawn)
    assert random_genotype(space, 0) == drawn
    assert any(random_genotype(space, seed) != drawn for seed in range(1, 5))


def test_results_say_what_a_reader_needs(finished):
    result = json.loads((finished / "retrain/magnitude/result.json").read_text())
    assert {"test_accuracy", "params", "macs", "seconds", "genotype", "epochs"} <= set(result)
    assert 0 <= result["test_accuracy"] <= 1
    record = json.loads((finished / "run.json").read_text())
    assert {"fingerprint", "seed", "choices", "versions", "git", "created"} <= set(record)
    assert not any("seconds" in row for row in metrics(finished / "search/metrics.jsonl"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(nasrun, here, small):
    here.chmod(0o500)
    assert "no permission" in nasrun("search", *small).refusal


def test_a_folder_that_may_not_be_written_is_refused(nasrun, here, small, monkeypatch):
    """As above, for whoever may write anywhere."""
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert "outputs=outputs: no permission to write in" in nasrun("search", *small).refusal
    assert list(here.iterdir()) == []


def test_another_cache_is_the_same_run(nasrun, here, finished, small, monkeypatch):
    monkeypatch.setenv("NASRUN_CACHE", str(here / "cache"))
    assert str(finished) in nasrun("search", *small).out
    assert [path.name for path in finished.parent.iterdir()] == ["v001"]


def test_hours_that_end_with_the_last_round_of_a_stage_stop_before_the_next(nasrun, here, small):
    words = [word for word in small if not word.startswith("rounds=")]
    words += ["stages=[search,select]", "rounds=1"]
    answer = nasrun("run", *words, "budget.max_hours=1e-6")
    assert answer.status == 75
    assert len(list(here.rglob("search/result.json"))) == 1
    assert not list(here.rglob("select/*/result.json"))
    assert nasrun("run", *words).status == 0
