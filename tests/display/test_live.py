"""The display: a redrawn line on a terminal, plain lines elsewhere."""

import io
import math
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from nasrun.display import Lines, Live, bars, duration, integer, storage, summary, watch
from nasrun.stage import Stage


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
        """Return the text that is on the screen now."""
        display.draw()
        return self.plain.split("\r")[-1]

    @property
    def plain(self):
        return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", self.text.getvalue())


def at(round, rounds, **largest):
    """A stage at a round."""
    return SimpleNamespace(round=round, rounds=rounds, largest=largest or Stage.largest)


@pytest.fixture
def terminal(monkeypatch):
    return narrow(160, monkeypatch)


def narrow(width, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    made = Terminal(width)
    monkeypatch.setattr("nasrun.display.live.time.monotonic", lambda: made.now)
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
    stage = at(0, 4)
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
    assert begun.split() == ["select", "perturb", "─" * 20, "0/4", "left", "-"]
    assert " 0.5/4 " in half
    told_ = r"select perturb ━{10}─{10} 2/4 left 1\.0 s  loss 1\.500  val 25\.00%  skip 50%"
    assert re.fullmatch(told_ + r"  \d+\.\d\d GiB", told)
    assert " 2.2/4 left " in further
    assert "loss 1.500" in further
    assert terminal.plain.splitlines()[-1].startswith("select perturb ━━━━━━━━━━━")  # and it stays


def test_the_time_left_is_that_of_the_rounds_left(terminal):
    stage = at(0, 4)
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
    stage = at(0, 100)
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


def test_a_narrow_terminal_keeps_the_accuracy_and_leaves_out_memory_first(monkeypatch):
    metrics = {"train_loss": 1.5, "validation_accuracy": 0.25, "entropy": 1.5, "skip_share": 0.5}
    words = ("25.00%", "loss", "H 75.0%", "skip", "GiB")
    least = {}
    for width in range(140, 40, -1):
        terminal, stage = narrow(width, monkeypatch), at(0, 50, entropy=2.0)
        with watch(terminal.console, "transfer perturb", True) as display:
            display.begin(stage, {})
            steps(terminal, display, 10, 10, 2.0)
            stage.round = 1
            display.round(stage, metrics)
            line = terminal.line(display)
        assert line.startswith("transfer perturb ")
        assert " 1/50 left 16 min 20 s" in line
        assert len(line) <= width - 3  # as much as ^C takes
        least.update({word: width for word in words if word in line})
    assert sorted(least, key=least.__getitem__) == list(words)
    assert least["25.00%"] <= 60
    assert least["loss"] <= 80


def test_an_interrupted_line_says_what_the_same_command_continues_after(terminal):
    stage = at(1, 5)
    with watch(terminal.console, "search", True) as display:
        display.begin(stage, {})
        steps(terminal, display, 10, 10, 2.0)
        assert " 1.9/5 " in terminal.line(display)  # it is not saved yet
        display.fail(KeyboardInterrupt())
    assert terminal.plain.splitlines()[-1].endswith(" 1/5")


def test_a_line_that_a_narrower_terminal_has_folded_is_taken_away_whole(monkeypatch):
    terminal, stage = narrow(100, monkeypatch), at(0, 50)
    with watch(terminal.console, "search", True) as display:
        display.begin(stage, {})
        steps(terminal, display, 1, 10, 2.0)
        stage.round = 1
        display.round(stage, {"train_loss": 1.5, "validation_accuracy": 0.25, "entropy": 1.5})
        length = len(terminal.line(display))
        assert 50 < length < 100
        terminal.console.width = 50
        terminal.text.seek(0)
        terminal.text.truncate()
        display.draw()
        assert terminal.text.getvalue().startswith("\x1b[2K\x1b[1A\r\x1b[2K")
        terminal.text.seek(0)
        terminal.text.truncate()
        display.draw()
        assert terminal.text.getvalue().startswith("\r\x1b[2K")


def test_a_resumed_stage_begins_at_its_round_and_foretells_by_what_it_does_itself(terminal):
    stage = at(3, 4)
    terminal.now = 1000.0
    with watch(terminal.console, "search", True) as display:
        display.begin(stage, {})
        begun = terminal.line(display)
        steps(terminal, display, 5, 10, 2.0)
        half = terminal.line(display)
    assert begun.rstrip() == f"search {'━' * 15}{'─' * 5} 3/4 left -"
    assert " 3.5/4 " in half
    assert half.endswith(" left 10.0 s")


def test_a_stage_without_rounds_is_at_work_and_then_done(terminal):
    with watch(terminal.console, "select argmax", True) as display:
        display.begin(at(0, 0), {})
        display.step(1, 2)
        begun = terminal.line(display)
        display.finish({})
        done = terminal.line(display)
    assert begun == "select argmax at work"
    assert done == "select argmax done"


def test_more_steps_than_were_predicted_do_not_lead_beyond_the_round(terminal):
    with watch(terminal.console, "search", True) as display:
        display.begin(at(1, 4), {})
        steps(terminal, display, 3, 2, 1.0)
        beyond = terminal.line(display)
        display.step(1, 0)
        unknown = terminal.line(display)
    assert re.match(r"search ━{10}─{10} 1\.9/4 ", beyond)
    assert re.match(r"search ━{10}─{10} 1\.9/4 ", unknown)


def test_without_a_terminal_a_resumed_stage_has_a_line_a_round(monkeypatch):
    now = 100.0
    monkeypatch.setattr("nasrun.display.live.time.monotonic", lambda: now)
    text = io.StringIO()
    stage = at(3, 6)
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


def test_rounds_that_are_added_on_the_way_count_in_the_time_left(monkeypatch):
    now, text = 100.0, io.StringIO()
    monkeypatch.setattr("nasrun.display.live.time.monotonic", lambda: now)
    stage = at(0, 1)
    with watch(Console(file=text, width=80), "search", True) as display:
        display.begin(stage, {})
        now += 30.0
        stage.round, stage.rounds = 1, 3
        display.round(stage, {})
    assert re.search(r"round 1/3 +left 1 min 00 s", text.getvalue())


def test_quick_rounds_have_a_line_per_second_and_the_last_one(monkeypatch):
    now, text = 100.0, io.StringIO()
    monkeypatch.setattr("nasrun.display.live.time.monotonic", lambda: now)
    for end in (lambda lines: lines.finish({}), lambda lines: lines.fail(KeyboardInterrupt())):
        text.seek(0)
        text.truncate(0)
        lines, stage = Lines(Console(file=text, width=80), "search"), at(0, 100)
        lines.begin(stage, {})
        for _ in range(100):
            now += 0.0256
            stage.round += 1
            lines.round(stage, {})
        end(lines)
        rounds = [int(found) for found in re.findall(r"round (\d+)/", text.getvalue())]
        assert rounds == [1, 41, 81, 100]


def test_an_entropy_is_shown_as_a_share_of_its_maximum_or_not_at_all():
    metrics = {"entropy_normal": 14 * math.log(8) / 2, "entropy": 1.25}
    assert summary(metrics, {"entropy_normal": 14 * math.log(8)}) == "H(normal) 50.0%"


def test_a_whole_number_is_whole():
    assert [integer(n) for n in (0, 2401, 10**8, 8**14)] == ["0", "2,401", "100,000,000", "4.40e12"]


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
