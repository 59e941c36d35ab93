"""The environment that a run records."""

import platform

from nasrun.machine import processor
from nasrun.runs.environment import environment


def test_the_machine_of_a_run_is_its_processor_also_where_python_knows_none(monkeypatch):
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert environment()["machine"].startswith(processor())
    assert processor()
