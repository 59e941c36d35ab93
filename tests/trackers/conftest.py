"""A tracker that keeps what it is told, and what a run has written, for comparison."""

from dataclasses import dataclass, field

import pytest

from nasrun.runs.run import Run
from nasrun.trackers.base import Tracker


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A busy machine may need longer for a real store than a command waits."""
    monkeypatch.setattr("nasrun.trackers.mirror.LAST", 300)


@dataclass
class Shelf:
    """What a tool keeps of a run, over several commands; `fault` is called before each access."""

    numbers: dict = field(default_factory=dict)
    calls: list = field(default_factory=list)
    fault: object = None

    def called(self, name):
        self.calls.append(name)
        if self.fault is not None:
            self.fault(name)

    def keep(self, numbers, step):
        for name, value in numbers.items():
            self.numbers.setdefault(name, []).append((step, value))


class Keeping(Tracker):
    """A tracker that writes onto a shelf."""

    def __init__(self, shelf):
        self.shelf = shelf

    def check(self):
        pass

    def open(self, run):
        self.run = run
        self.shelf.called("open")
        return {name: values[-1][1] for name, values in self.shelf.numbers.items()}

    def describe(self, stage, settings):
        self.shelf.called(f"describe {stage}")
        assert all(name.startswith(f"{stage}/") for name in settings)

    def log(self, stage, rounds):
        self.shelf.called(f"log {stage}")
        for each in rounds:
            assert all(name.startswith(f"{stage}/") for name in each.numbers)
            self.shelf.keep(each.numbers, each.round)

    def conclude(self, stage, end):
        self.shelf.called(f"conclude {stage}")
        self.shelf.keep(end.numbers, end.round)

    def close(self, ending):
        self.shelf.called(f"close {ending}")


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def keeping(shelf):
    """Returns trackers of a command, by their names."""
    return lambda: {"keeping": Keeping(shelf)}


def written(path):
    """Return all rounds in a run's files: by the whole name of a number its (round, value)s."""
    found = {}
    for folder in Run(path).stages():
        for row in folder.metrics():
            for name, value in row.items():
                whole = f"{folder.title.replace(' ', '/')}/{name}"
                found.setdefault(whole, []).append((row["round"], value))
    return found


@pytest.fixture
def rounds_of():
    return written
