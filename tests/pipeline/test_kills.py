"""A command killed before any change of a file and then repeated ends as an undisturbed one."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import MOVED, SHORT, SMALL
from rich.console import Console
from test_populations import TINY

from nasrun.cli.line import Line
from nasrun.cli.prepared import plan_of, source_of
from nasrun.pipeline.execution import execute

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
from check_kills import differences

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="it is a fork that is killed"),
    pytest.mark.usefixtures("pictures", "sketched"),
]


def planned(verb, *words):
    line = Line.parse(verb, [str(word) for word in words])
    return plan_of(line, source_of(line))


def killed(plan, met):
    """Execute a plan in a process that dies without a word before the first change not in `met`.

    A change is a file of `outputs` that is renamed, as all are that are written, or removed. It is
    told by its name and added; `None` if there was none, and so the plan was executed.
    """
    told, tell = os.pipe()
    child = os.fork()
    if not child:

        def meet(event, arguments):
            path = str(arguments[0]) if event in ("os.rename", "os.remove") else ""
            change = f"{event} {re.sub('[0-9a-f]{32}', '*', path)}"
            if path.startswith("outputs/") and change not in met:
                os.write(tell, change.encode())
                os._exit(9)

        sys.addaudithook(meet)
        try:
            with open(os.devnull, "w") as nowhere:
                execute(plan, Console(file=nowhere))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(tell)
    _, status = os.waitpid(child, 0)
    with os.fdopen(told) as file:
        change = file.read()
    assert os.waitstatus_to_exitcode(status) == (9 if change else 0), change
    return change or None


def killed_at_each_change(plan, *, but=r"os\.remove .*\.part"):
    """Execute a plan, killed before each change but those; returns the changes.

    Of drafts only that they are removed at last is of interest, not when.
    """

    class Met(list):
        def __contains__(self, change):
            return super().__contains__(change) or re.fullmatch(but, change) is not None

    met = Met()
    while change := killed(plan, met):
        met.append(change)
    return met


def test_a_search_and_a_selection(here, whole_run):
    shutil.copytree(whole_run, "whole")
    for name in ("retrain", "transfer"):
        shutil.rmtree(f"whole/digits-darts-darts/v001/{name}")
    changes = killed_at_each_change(planned("run", *SMALL, "stages=[search,select]"))
    names = {change.split("/.")[-1].removesuffix(".*.part") for change in changes}
    assert {"v001.*", "search.png", "result.json", "cells.svg", "report.json"} <= names
    report = "digits-darts-darts/v001/report.json"  # the other is of all stages
    assert differences(Path("whole"), Path("outputs")) == [report]


def test_a_retraining_and_a_transfer(here, finished):
    shutil.copytree("outputs", "whole")
    for name in ("retrain/magnitude", "transfer", "report.json"):
        path = finished / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    changes = killed_at_each_change(planned("run", *SMALL, *SHORT, *MOVED))
    names = {change.split("/.")[-1].removesuffix(".*.part") for change in changes}
    assert {"weights.safetensors", "curves.png", "result.json", "report.json"} <= names
    assert {"classes.json", "confusion.png"} <= names
    assert differences(Path("whole"), Path("outputs")) == []


def test_a_population(here, nasrun):
    words = [*TINY, "rounds=1", "stages=[search,select]", "engine=serial"]
    assert nasrun("run", *words, "outputs=whole").status == 0
    changes = killed_at_each_change(
        planned("run", *words), but=r"os\.remove .*\.part|.*/members/.*"
    )
    names = {change.split("/.")[-1].removesuffix(".*.part") for change in changes}
    assert {"lineage.png", "weights.safetensors", "best.png", "best_001.png"} <= names
    assert differences(Path("whole"), Path("outputs")) == []
