"""The output of a command, wherever it goes."""

import io
import os
import subprocess
import sys

from rich.console import Console

from nasrun.cli import screen
from nasrun.display import table


def answered(shell, **environment):
    """Run a command of a shell, in which `$NASRUN` is nasrun."""
    ran = {**os.environ, "NASRUN": f"'{sys.executable}' -m nasrun", **environment}
    return subprocess.run(
        ["bash", "-c", shell.replace("$NASRUN", ran["NASRUN"])],
        env=ran,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )


def test_a_closed_output_and_a_full_one_are_no_traceback(here):
    assert (closed := answered("$NASRUN list space >&-")).returncode == 0
    assert closed.stderr == ""
    full = answered("$NASRUN list space >/dev/full")
    assert full.returncode == 2
    assert full.stderr == "nasrun: standard output: No space left on device\n"


def test_letters_that_an_encoding_lacks_are_escapes(nasrun, finished):
    """A table with ± was a UnicodeEncodeError."""
    ascii_only = answered("$NASRUN list runs", PYTHONIOENCODING="ascii")
    assert ascii_only.returncode == 0, ascii_only.stderr
    assert "mean \\xb1 std" in ascii_only.stdout


def test_nothing_printed_is_markup(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(sys, "stdout", written)
    screen.console().print("o[/b] [red]x[/red] :smile: [a, b]")
    assert written.getvalue() == "o[/b] [red]x[/red] :smile: [a, b]\n"
    text = io.StringIO()
    table(Console(file=text, width=100), "t[/b]", ("c[/b]", ""), [("nasrun[rl]", "[/x] :smile:")])
    for word in ("t[/b]", "c[/b]", "nasrun[rl]", "[/x] :smile:"):
        assert word in text.getvalue()
