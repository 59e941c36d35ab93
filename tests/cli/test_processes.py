"""A command in several processes ends as one, and the same command continues."""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from conftest import SMALL
from rich.console import Console
from together import ended, together

from nasrun.cli import processes
from nasrun.cli.line import Line
from nasrun.cli.prepared import plan_of, source_of
from nasrun.cli.processes import start
from nasrun.pipeline.execution import execute
from nasrun.strategies.differentiable import Differentiable
from nasrun.world import ALONE, Lost

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
from check_kills import differences

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")
WORDS = [*SMALL, "space.operations=[none,skip_connect,sep_conv_3x3]", "stages=[search]"]
WORDS += ["strategy.watchdog=null"]


def planned(*words):
    line = Line.parse("run", [*WORDS, *words])
    return plan_of(line, source_of(line))


def executed(plan, world):
    plan.budget.join(world)
    with open(os.devnull, "w") as nowhere:
        execute(plan, Console(file=nowhere))


def test_a_lost_process_ends_the_command_and_the_same_command_continues(here, tmp_path_factory):
    plan, store = planned("budget.processes=2"), tmp_path_factory.mktemp("store")
    executed(planned("outputs=alone"), ALONE)  # imports what all processes need
    together(store, lambda world: executed(plan, world))
    shutil.move("outputs", "whole")

    def dies(world):
        round_of = Differentiable.run_round

        def run_round(self):
            if self.round == 1 and not world.leads:
                os.kill(os.getpid(), signal.SIGKILL)
            return round_of(self)

        Differentiable.run_round = run_round
        with pytest.raises(Lost):
            executed(plan, world)

    assert ended(store, dies)[1] == [0, -signal.SIGKILL]
    shutil.copytree("outputs", "other")
    together(store, lambda world: executed(plan, world))
    assert differences(Path("whole"), Path("outputs")) == []
    shutil.rmtree("outputs")
    shutil.move("other", "outputs")  # one process goes on where two were
    executed(planned(), ALONE)
    assert Path("outputs/digits-darts-darts/v001/search/result.json").exists()


@pytest.fixture
def workers(monkeypatch, tmp_path):
    """Start a script of the shell in place of each process."""

    def write(script):
        path = tmp_path / "worker"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o700)
        monkeypatch.setattr(processes.sys, "executable", str(path))

    return write


def test_the_launcher_gives_the_words_to_each_process_and_tells_of_a_lost_one(workers, tmp_path):
    line = Line.parse("retrain", ["genotype=darts_v2", "seed=1"])
    workers(f'echo "$@" > {tmp_path}/$RANK')
    assert start(line, 2) == 0
    for rank in "01":
        words = (tmp_path / rank).read_text().split()
        assert words == ["-m", "nasrun", "retrain", "genotype=darts_v2", "seed=1"]
    workers("if [ $RANK = 1 ]; then kill -9 $$; fi; sleep 60")
    with pytest.raises(Lost, match="process 2 of 2 was ended by SIGKILL"):
        start(line, 2)
    workers("exit 75")
    assert start(line, 2) == 75
