"""The loop that runs every stage."""

from pathlib import Path

import pytest
import torch

from nasrun.budget import BudgetSpent
from nasrun.stage import Observer, Stage, drive, unseen
from nasrun.streams import Streams
from nasrun.world import ALONE


class Recorder:
    """Folder, observer and budget in one: what happened, in order."""

    path, settings, world = Path("here"), {"seed": 0}, ALONE

    def __init__(self, restored=0, spent_after=None):
        self.events, self.restored, self.spent_after = [], restored, spent_after
        self.checks = 0

    def restore(self, stage):
        stage.round = self.restored
        self.events.append("restore")

    def log(self, round, metrics):
        self.events.append(f"log {round} {metrics['value']}")

    def save(self, stage):
        self.events.append(f"save {stage.round}")

    def finish(self, result):
        self.events.append(f"finish {result}")

    def begin(self, stage, settings):
        self.events.append(f"begin {stage.round} {settings}")

    def step(self, done, total):
        self.events.append(f"step {done}/{total}")

    def round(self, stage, metrics):
        self.events.append(f"show {stage.round}")

    def check(self):
        self.checks += 1
        if self.checks == self.spent_after:
            raise BudgetSpent("spent")


class Rounds(Stage):
    def __init__(self, rounds):
        self._rounds = rounds

    @property
    def rounds(self):
        return self._rounds

    def run_round(self):
        return {"value": self.round * 10}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def finish(self, folder):
        return {"rounds": self.round}


def test_each_round_is_logged_and_saved_before_the_next(capsys):
    recorder, stage = Recorder(), Rounds(2)
    drive(stage, recorder, recorder, Streams(0), [recorder])
    assert recorder.events == [
        *("restore", "begin 0 {'seed': 0}"),
        *("log 1 0", "save 1", "show 1", "log 2 10", "save 2", "show 2"),
        *("finish {'rounds': 2}", "finish {'rounds': 2}"),  # written, then seen
    ]
    assert capsys.readouterr().out == ""


def test_a_stage_goes_on_where_it_was():
    recorder = Recorder(restored=3)
    drive(Rounds(4), recorder, recorder, Streams(0))
    assert recorder.events == ["restore", "log 4 30", "save 4", "finish {'rounds': 4}"]


def test_spent_hours_stop_it_after_a_round_is_saved():
    recorder = Recorder(spent_after=2)
    with pytest.raises(BudgetSpent):
        drive(Rounds(5), recorder, recorder, Streams(0))
    assert recorder.events[-1] == "save 2"


def test_the_last_round_is_finished_whatever_the_hours():
    recorder = Recorder(spent_after=1)
    drive(Rounds(1), recorder, recorder, Streams(0))
    assert recorder.events[-1] == "finish {'rounds': 1}"


def test_a_stage_without_rounds_only_finishes():
    recorder = Recorder()
    drive(Rounds(0), recorder, recorder, Streams(0))
    assert recorder.events == ["restore", "finish {'rounds': 0}"]


class Drawing(Rounds):
    """A stage of random numbers, from a stream and from torch's global generator."""

    def __init__(self, rounds, streams):
        super().__init__(rounds)
        self.streams, self.drawn = streams, {}

    def run_round(self):
        generators = (self.streams("paths"), None)
        self.drawn[self.round] = [float(torch.rand((), generator=each)) for each in generators]
        return super().run_round()

    def finish(self, folder):
        self.drawn["end"] = float(torch.rand(()))
        return {}


def test_a_round_draws_the_same_numbers_wherever_the_stage_has_begun():
    stages = []
    for begun in (0, 2, 3):
        streams = Streams(0)
        streams.enter("search")
        torch.rand(begun), torch.rand(begun, generator=streams("paths"))
        stages.append(Drawing(3, streams))
        recorder = Recorder(restored=begun)
        drive(stages[-1], recorder, recorder, streams)
    whole = stages[0].drawn
    assert len({number for round in range(3) for number in whole[round]} | {whole["end"]}) == 7
    assert stages[1].drawn == {2: whole[2], "end": whole["end"]}
    assert stages[2].drawn == {"end": whole["end"]}


def test_a_stage_may_stop_early():
    class Stopping(Rounds):
        def run_round(self):
            if self.round == 1:
                self.stopped = "enough"
            return super().run_round()

    recorder, stage = Recorder(), Stopping(5)
    drive(stage, recorder, recorder, Streams(0))
    assert stage.done
    assert stage.round == 2
    assert recorder.events[-1].startswith("finish")
    assert sum(event.startswith("save") for event in recorder.events) == 2


def test_tracked_items_are_shown_once_they_are_done():
    recorder, stage = Recorder(), Rounds(1)
    stage.enter(recorder.path, recorder.step)
    seen = []
    for item in stage.track("ab", 2):
        assert len(recorder.events) == len(seen)
        seen.append(item)
    assert seen == ["a", "b"]
    assert recorder.events == ["step 1/2", "step 2/2"]
    stage.tell(unseen)
    assert list(stage.track("ab", 2)) == ["a", "b"]
    assert len(recorder.events) == 2


class Watching(Observer):
    """An observer that notes what it is told."""

    def __init__(self):
        self.told = []

    def begin(self, stage, settings):
        self.told.append(("begin", stage.round, settings))

    def step(self, done, total):
        self.told.append(("step", done, total))

    def round(self, stage, metrics):
        self.told.append(("round", stage.round, metrics))

    def finish(self, result):
        self.told.append(("finish", result))

    def fail(self, error):
        self.told.append(("fail", str(error)))


def test_observers_see_configuration_steps_rounds_and_the_result():
    class Stepping(Rounds):
        def run_round(self):
            list(self.track("a", 1))
            return super().run_round()

    first, second = Watching(), Watching()
    drive(Stepping(1), Recorder(), Recorder(), Streams(0), [first, second])
    assert (
        first.told
        == second.told
        == [
            ("begin", 0, {"seed": 0}),
            ("step", 1, 1),
            ("round", 1, {"value": 0}),
            ("finish", {"rounds": 1}),
        ]
    )


@pytest.mark.parametrize("error", [ValueError("diverged"), KeyboardInterrupt("stopped")])
def test_observers_see_a_failure(error):
    class Failing(Rounds):
        def run_round(self):
            raise error

    watching = Watching()
    with pytest.raises(type(error)):
        drive(Failing(1), Recorder(), Recorder(), Streams(0), [watching])
    assert watching.told[-1] == ("fail", str(error))
