"""A run in its trackers: all of it, once, and without ever waiting for one."""

import json
from math import log2
from threading import Event

import pytest

from nasrun.budget import BudgetSpent
from nasrun.pipeline.preparing import prepare
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder
from nasrun.stage import Stage, drive
from nasrun.streams import Streams
from nasrun.trackers import mirror
from nasrun.trackers.mirror import tracking
from nasrun.world import ALONE

STAGES = ["search", "select/magnitude", "retrain/magnitude", "retrain/random"]
STAGES += ["transfer/magnitude-mnist5k"]


def show(run, trackers, **options):
    with tracking(trackers, Run(run), **options) as tracked:
        tracked.catch_up()


def test_a_finished_run_is_shown_whole_and_once(finished, shelf, keeping, rounds_of):
    show(finished, keeping())
    rounds, ends = {}, {}
    for name, values in shelf.numbers.items():
        (ends if name.startswith("result/") else rounds)[name] = values
    assert rounds == rounds_of(finished)
    for stage in STAGES:
        result = json.loads((finished / stage / "result.json").read_text())
        rows = rounds.get(f"{stage}/round", [])
        ((step, seconds),) = ends[f"result/{stage}/seconds"]
        assert (step, seconds) == (len(rows), result["seconds"])
    tested = json.loads((finished / "retrain/magnitude/result.json").read_text())["test_accuracy"]
    assert ends["result/retrain/magnitude/test_accuracy"] == [(2, tested)]
    told = [call for call in shelf.calls if call.startswith("conclude")]
    assert told == [f"conclude {stage}" for stage in STAGES]
    assert shelf.calls[-1] == "close finished"
    del shelf.calls[:]
    show(finished, keeping())
    assert shelf.calls == ["open", "close finished"]


def test_what_a_result_gets_later_is_sent_later(finished, shelf, keeping):
    show(finished, keeping())
    StageFolder(finished / "select/magnitude", "").amend({"true": {"cifar10": {"accuracy": 0.9}}})
    del shelf.calls[:]
    show(finished, keeping())
    assert shelf.calls == ["open", "conclude select/magnitude", "close finished"]
    (found,) = shelf.numbers["result/select/magnitude/true/cifar10/accuracy"]
    assert found[1] == 0.9
    assert all(len(x) == 1 for name, x in shelf.numbers.items() if name.startswith("result/"))
    del shelf.calls[:]
    show(finished, keeping())
    assert shelf.calls == ["open", "close finished"]


def test_what_a_failure_left_out_is_sent_later(finished, shelf, keeping, rounds_of):
    gone = {"log search": 1, "conclude select/magnitude": 1, "log retrain/random": 1}

    def fault(name):
        if gone.get(name, 0):
            gone[name] -= 1
            raise ConnectionError(f"{name}: refused\nby the server")

    shelf.fault = fault
    with pytest.warns(UserWarning, match="refused") as told:
        show(finished, keeping())
    assert [str(one.message) for one in told] == [
        "tracker=keeping: ConnectionError: log search: refused by the server; the run goes on, "
        "repeat the command later to send the rest"
    ]
    for _ in range(2):
        with pytest.warns(UserWarning, match="refused"):
            show(finished, keeping())
    show(finished, keeping())
    rounds = {name: x for name, x in shelf.numbers.items() if not name.startswith("result/")}
    assert rounds == rounds_of(finished)
    assert all(len(x) == 1 for name, x in shelf.numbers.items() if name.startswith("result/"))


class Counting(Stage):
    """A stage of many rounds that do nothing."""

    def __init__(self, rounds, before=lambda round: None):
        self._rounds, self.before = rounds, before

    @property
    def rounds(self):
        return self._rounds

    def run_round(self):
        self.before(self.round)
        return {"loss": 1 / (1 + self.round)}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def finish(self, folder):
        return {"loss": 0.0}


class Unlimited:
    world = ALONE

    def check(self):
        pass


def run_stage(run, trackers, stage):
    """Drive a search in a run with trackers, as the pipeline does."""
    with tracking(trackers, run) as tracked:
        folder = StageFolder(run.path / "search", "mark")
        drive(stage, folder, Unlimited(), Streams(0), tracked.observers(folder))
        tracked.catch_up()
    return (run.path / "search/metrics.jsonl").read_bytes()


@pytest.fixture
def run(tmp_path):
    """An empty run."""

    def make(name):
        config = {"seed": 0, "space": {"channels": 2}, "dataset": {}, "budget": {}}
        return Run.claim(tmp_path, name, config, {"choices": {"space": "toy"}, "scale": {}})

    return make


ROUNDS = 40


def test_a_server_that_is_gone_is_asked_a_few_times_and_changes_no_byte(
    run, shelf, keeping, monkeypatch
):
    plain = run_stage(run("plain"), {}, Counting(ROUNDS))
    trackers = keeping()

    def fault(name):
        if shelf.numbers.get("search/round", [(0, 0)])[-1][0] >= 3:
            raise ConnectionRefusedError(111, "refused")

    def before(round):  # every round wakes the tracker by itself
        for one in mirrors:
            while one.news.is_set():
                pass

    mirrors, made = [], mirror.Mirror.__init__

    def making(self, *given):
        made(self, *given)
        mirrors.append(self)

    shelf.fault = fault
    monkeypatch.setattr(mirror.Mirror, "__init__", making)
    with pytest.warns(UserWarning, match="ConnectionRefusedError") as told:
        found = run_stage(run("tracked"), trackers, Counting(ROUNDS, before))
    assert found == plain
    assert len(told) == 1
    refused = [call for call in shelf.calls if call == "open"][1:]
    assert 2 <= len(refused) <= log2(ROUNDS) + 2
    shelf.fault = None
    show(run("tracked").path, trackers)
    assert [step for step, _ in shelf.numbers["search/loss"]] == [*range(1, ROUNDS + 1)]


def test_a_server_that_hangs_holds_up_no_round_and_the_end_for_a_bounded_time(
    run, shelf, keeping, monkeypatch
):
    monkeypatch.setattr(mirror, "LAST", 0.02)
    plain = run_stage(run("plain"), {}, Counting(ROUNDS))
    hangs, released = Event(), Event()

    def fault(name):
        if name == "log search":
            hangs.set()
            released.wait()

    def before(round):
        if round == 1:
            hangs.wait()

    shelf.fault = fault
    with pytest.warns(UserWarning, match="tracker=keeping: did not answer in time") as told:
        assert run_stage(run("tracked"), keeping(), Counting(ROUNDS, before)) == plain
    assert len(told) == 1
    assert shelf.calls == ["open", "log search"]  # all rounds are over, and it is asked once
    released.set()


def test_a_continued_stage_is_shown_from_where_it_is(run, shelf, keeping):
    def stop(round):
        if round == 3:
            raise stopping

    for stopping, ending in (
        (BudgetSpent("spent"), "stopped"),
        (KeyboardInterrupt(), "stopped"),
        (ValueError("diverged"), "failed"),
    ):
        with pytest.raises(type(stopping)):
            run_stage(run("tracked"), keeping(), Counting(5, stop))
        assert shelf.calls[-1] == f"close {ending}"
    run_stage(run("tracked"), keeping(), Counting(5))
    assert shelf.numbers["search/round"] == [(n, n) for n in range(1, 6)]
    assert shelf.numbers["result/search/loss"] == [(5, 0.0)]


def test_a_run_is_known_wherever_it_lies_and_no_other_is_taken_for_it(run, tmp_path):
    one, other = (mirror.tracked_run(run(name), "") for name in ("a", "b"))
    assert one.mark != other.mark
    assert one.name == "a/v001"
    assert one.settings["space"] == "toy"
    assert one.settings["space.channels"] == 2
    (tmp_path / "a").rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "moved").rename(tmp_path / "elsewhere/a")
    assert mirror.tracked_run(Run(tmp_path / "elsewhere/a/v001"), "").mark == one.mark


def test_a_damaged_branch_is_named_and_the_others_are_shown(finished, shelf, keeping):
    (finished / "retrain/magnitude/metrics.jsonl").write_text("{}\n")
    with pytest.warns(UserWarning, match="retrain/magnitude/metrics.jsonl: damaged"):
        show(finished, keeping())
    told = [call.removeprefix("conclude ") for call in shelf.calls if "conclude" in call]
    assert told == [stage for stage in STAGES if stage != "retrain/magnitude"]


def test_only_the_process_that_leads_tracks(nasrun, small, monkeypatch):
    """Of several processes; and a command without trackers has no thread."""
    seen = []
    monkeypatch.setattr(
        "nasrun.pipeline.execution.tracking",
        lambda trackers, *given: seen.append(dict(trackers)) or tracking({}, *given),
    )

    def led(command, source):
        plan = prepare(command, source)
        world = type("Second", (type(ALONE),), {"leads": False})()
        plan.budget.join(world)
        return plan

    words = ["search", *small, "tracker=tensorboard"]
    monkeypatch.setattr("nasrun.trackers.base.find_spec", lambda name: name)
    monkeypatch.setattr("nasrun.pipeline.preparing.prepare", led)
    nasrun(*words)
    assert seen == [{}]
