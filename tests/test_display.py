"""What a user watches: the line that is redrawn at a terminal, plain lines elsewhere."""

import io
import math
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from nasrun.display import Lines, Live, bars, duration, storage, summary, watch


class Terminal:
    """A terminal without colours, by a clock that the test sets."""

    def __init__(self, width):
        self.now = 0.0
        self.text = io.StringIO()
        self.console = Console(
            force_terminal=True,
            color_system=None,
            file=self.text,
            width=width,
            get_time=lambda: self.now,
        )

    def line(self, display):
        """What stands there now."""
        display.bar.refresh()
        return self.plain.split("\r")[-1]

    @property
    def plain(self):
        return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", self.text.getvalue())


@pytest.fixture
def terminal(monkeypatch):
    return narrow(160, monkeypatch)


def narrow(width, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    made = Terminal(width)
    monkeypatch.setattr("nasrun.display.time.monotonic", lambda: made.now)
    return made


def steps(terminal, display, count, of, seconds):
    for done in range(1, count + 1):
        terminal.now += seconds
        display.step(done, of)


def test_a_line_is_redrawn_only_at_a_terminal_and_where_it_is_wanted(terminal):
    pipe = Console(file=io.StringIO())
    assert isinstance(watch(terminal.console, "search", True), Live)
    assert isinstance(watch(terminal.console, "search", False), Lines)
    assert isinstance(watch(pipe, "search", True), Lines)


def test_a_terminal_shows_the_title_the_round_and_the_last_metrics(terminal):
    stage = SimpleNamespace(round=0, rounds=4)
    metrics = {"train_loss": 1.5, "lr": 0.1, "validation_accuracy": 0.25, "skip_share": 0.5}
    with watch(terminal.console, "select perturb", True) as display:
        display.begin(stage, {})
        begun = terminal.line(display)
        steps(terminal, display, 1, 2, 1.0)
        half = terminal.line(display)
        stage.round = 2
        display.round(stage, metrics)
        told = terminal.line(display)
        steps(terminal, display, 1, 4, 1.0)
        further = terminal.line(display)
    assert begun.split() == ["select", "perturb", "0.0/4", "left", "-"]
    assert " 0.5/4 " in half
    assert re.match(r"select perturb ━{10} +2\.0/4 left 1\.0 s \d+\.\d\d GiB ", told)
    assert told.rstrip().endswith(" GiB loss 1.500  val 25.00%  skip 50%")
    assert " 2.2/4 left " in further
    assert "loss 1.500" in further
    assert terminal.plain.splitlines()[-1].startswith("select perturb ━━━━━━━━━━━")  # and it stays


def test_the_time_left_is_that_of_the_rounds_left(terminal):
    stage = SimpleNamespace(round=0, rounds=4)
    with watch(terminal.console, "search", True) as display:
        display.begin(stage, {})
        steps(terminal, display, 10, 10, 2.0)
        stage.round = 1
        display.round(stage, {})
        steps(terminal, display, 5, 10, 2.0)
        line = terminal.line(display)
    assert " 1.5/4 " in line
    assert " left 50.0 s " in line


def test_the_time_left_of_slow_rounds_is_theirs_and_not_that_of_saving(terminal):
    stage = SimpleNamespace(round=0, rounds=100)
    with watch(terminal.console, "search", True) as display:
        display.begin(stage, {})
        lines = []
        for _ in range(2):
            steps(terminal, display, 1, 1, 299.0)
            terminal.now += 1.0
            stage.round += 1
            display.round(stage, {})
            lines.append(terminal.line(display))
    assert " left 8 h 15 min " in lines[0]  # 99 times 300 s
    assert " left 8 h 10 min " in lines[1]


def test_a_narrow_terminal_has_room_for_the_round_and_the_time_left(monkeypatch):
    terminal, stage = narrow(80, monkeypatch), SimpleNamespace(round=0, rounds=50)
    with watch(terminal.console, "retrain perturb", True) as display:
        display.begin(stage, {})
        steps(terminal, display, 10, 10, 2.0)
        stage.round = 1
        display.round(stage, dict.fromkeys(("train_loss", "entropy_normal", "entropy_reduce"), 1.5))
        line = terminal.line(display)
    assert re.match(r"retrain perturb ━* +1\.0/50 left 16 min 20 s \d\.\d\d GiB ", line)


def test_a_resumed_stage_begins_at_its_round_and_foretells_by_what_it_does_itself(terminal):
    stage = SimpleNamespace(round=3, rounds=4)
    terminal.now = 1000.0
    with watch(terminal.console, "search", True) as display:
        display.begin(stage, {})
        begun = terminal.line(display)
        steps(terminal, display, 5, 10, 2.0)
        half = terminal.line(display)
    assert re.match(r"search ━{15} +3\.0/4 +left - ", begun)
    assert " 3.5/4 " in half
    assert " left 10.0 s " in half


def test_a_stage_without_rounds_is_shown_as_done(terminal):
    with watch(terminal.console, "select argmax", True) as display:
        display.begin(SimpleNamespace(round=0, rounds=0), {})
        line = terminal.line(display)
    assert re.match(r"select argmax ━{20} 0\.0/0 ", line)


def test_more_steps_than_were_foretold_do_not_lead_beyond_the_round(terminal):
    with watch(terminal.console, "search", True) as display:
        display.begin(SimpleNamespace(round=1, rounds=4), {})
        steps(terminal, display, 3, 2, 1.0)
        beyond = terminal.line(display)
        display.step(1, 0)
        unknown = terminal.line(display)
    assert re.match(r"search ━{9}╸ +2\.0/4 ", beyond)
    assert re.match(r"search ━{9}╸ +2\.0/4 ", unknown)


def test_without_a_terminal_a_resumed_stage_has_a_line_a_round(monkeypatch):
    now = 100.0
    monkeypatch.setattr("nasrun.display.time.monotonic", lambda: now)
    text = io.StringIO()
    stage = SimpleNamespace(round=3, rounds=6)
    with watch(Console(file=text, width=80), "retrain [a]", True) as display:
        display.begin(stage, {})
        for seconds, loss in ((30.0, 2.0), (50.0, 1.0)):
            now += seconds
            stage.round += 1
            display.round(stage, {"train_loss": loss})
    begun, fourth, fifth = text.getvalue().splitlines()
    assert begun == "retrain [a]  continues after round 3"
    assert fourth.startswith("retrain [a]  round 4/6  loss 2.000  left 1 min 00 s  mem ")
    assert fifth.startswith("retrain [a]  round 5/6  loss 1.000  left 40.0 s  mem ")


@pytest.mark.parametrize(
    ("scores", "drawn"),
    [
        ([0.0, math.nan, 2 / 7, 1.0], "▁ ▃█"),
        ([1.0, math.inf, 0.0, -math.inf], "█ ▁ "),
        ([0.5, 0.5], "▁▁"),
        ([math.nan, math.nan], ""),
        ([-9.0, 7.0, 6.0, 5.0, 4.0, 3.0, 0.0, -5.0], "▁█▇▆▅▄▁▁"),
    ],
    ids=["one diverged", "without bounds", "alike", "all diverged", "two below the lowest quarter"],
)
def test_a_population_is_drawn_from_its_lowest_quarter_to_its_best(scores, drawn):
    assert bars(scores) == drawn
    metrics = {f"score_{slot}": score for slot, score in enumerate(scores)}
    assert summary({"best_score": 1.0, **metrics}) == f"best 1.000  {drawn}"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "-"),
        (0.0, "0.0 s"),
        (59.4, "59.4 s"),
        (59.96, "1 min 00 s"),
        (60.0, "1 min 00 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (3600.0, "1 h 00 min"),
        (3 * 3600 + 5 * 60 + 59, "3 h 05 min"),
        (100 * 3600, "100 h 00 min"),
    ],
)
def test_a_duration_is_said_in_the_unit_that_fits(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("gib", "said"),
    [(0.0, "0.0 MiB"), (1 / 1024, "1.0 MiB"), (1023 / 1024, "1023.0 MiB"), (1.0, "1.00 GiB")],
)
def test_a_size_below_one_gib_is_said_in_mib(gib, said):
    assert storage(gib) == said
