"""Signals that ask a command to end."""

import os
import signal

import pytest

from nasrun.cli import main as front
from nasrun.cli.ending import Ended, heard


@pytest.fixture(params=["SIGTERM", "SIGHUP"])
def number(request):
    """A signal with its default handler, which is restored afterwards."""
    number = getattr(signal, request.param)
    before = signal.signal(number, signal.SIG_DFL)
    yield number
    signal.signal(number, before)


def test_a_signal_is_one_line_and_its_own_status(nasrun, monkeypatch, number):
    monkeypatch.setattr(front, "dispatch", lambda words: os.kill(os.getpid(), number))
    answer = nasrun("search")
    assert answer.status == 128 + number
    name = signal.Signals(number).name
    told = f"nasrun: ended by {name}; finished rounds are kept, the same command continues\n"
    assert answer.err == told
    assert signal.getsignal(number) == signal.SIG_DFL


def test_ctrl_c_keeps_its_line_and_its_status(nasrun, monkeypatch):
    monkeypatch.setattr(front, "dispatch", stop)
    answer = nasrun("search")
    assert answer.status == 130
    assert answer.err.startswith("nasrun: interrupted; finished rounds are kept")


def test_an_interrupted_command_tells_what_it_keeps(nasrun, monkeypatch):
    monkeypatch.setattr(front, "dispatch", stop)
    for words, told in {
        "run -m seed=0,1": "finished rounds are kept, the same command continues",
        "analyze landscape solution=x": "finished rows are kept, the same command continues",
        "pack images out=packed": "finished shards are kept, the same command continues",
        "table NATS": "the same command begins anew",
        "latency space=mobile": "the same command begins anew",
        "fly": "the same command begins anew",
        "": "the same command begins anew",
    }.items():
        assert nasrun(*words.split()).err == f"nasrun: interrupted; {told}\n"


def stop(words):
    raise KeyboardInterrupt


def test_a_signal_that_is_ignored_stays_so_as_under_nohup(number):
    signal.signal(number, signal.SIG_IGN)
    with heard():
        os.kill(os.getpid(), number)
        assert signal.getsignal(number) == signal.SIG_IGN


def test_a_terminal_that_is_gone_is_no_second_error(nasrun, monkeypatch, number):
    class Gone:
        def write(self, text):
            raise OSError(5, "Input/output error")

        def flush(self): ...

        def isatty(self):
            return False

    def ends(words):
        monkeypatch.setattr("sys.stderr", Gone())
        raise Ended(number)

    monkeypatch.setattr(front, "dispatch", ends)
    assert nasrun("search").status == 128 + number
