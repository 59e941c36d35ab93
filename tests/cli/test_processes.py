"""A command in several processes ends as one, and the same command continues."""

import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import SMALL
from rich.console import Console
from together import ended, together
from torch.distributed import HashStore

from nasrun.budget import Budget
from nasrun.cli import processes
from nasrun.cli.line import Line
from nasrun.cli.prepared import plan_of, source_of
from nasrun.cli.processes import start
from nasrun.pipeline.execution import execute
from nasrun.strategies.differentiable import Differentiable
from nasrun.world import ALONE, Closed, Lost

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


def test_a_training_that_was_stopped_in_its_test_ends_in_all_processes(here, tmp_path_factory):
    words = ["genotype=darts_v2", "images=64", "epochs=1", "retrain.channels=2"]
    words += ["retrain.layers=3", "retrain.auxiliary=false", "retrain.batch_size=16"]
    words += ["retrain.data=train", "budget.threads=1", "budget.device=cpu", "progress=false"]
    line = Line.parse("retrain", [*words, "budget.processes=2"])
    plan, store = plan_of(line, source_of(line)), tmp_path_factory.mktemp("store")
    together(store, lambda world: executed(plan, world))
    (result,) = Path("outputs").glob("*/v001/retrain/*/result.json")
    result.unlink()
    together(store, lambda world: executed(plan, world))
    assert result.exists()


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
    answers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert start(line, 2) == 0
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == answers
    for rank in "01":
        words = (tmp_path / rank).read_text().split()
        assert words == ["-m", "nasrun", "retrain", "genotype=darts_v2", "seed=1"]
    workers("if [ $RANK = 1 ]; then kill -9 $$; fi; sleep 60")
    with pytest.raises(Lost, match="process 2 of 2 was ended by SIGKILL"):
        start(line, 2)
    workers("if [ $RANK = 0 ]; then exit 75; fi; sleep 60")  # the other is ended by the launcher
    assert start(line, 2) == 75
    workers("if [ $RANK = 0 ]; then exit 3; fi; sleep 60")  # it has lost the other, and said why
    assert start(line, 2) == 1


def test_the_leader_tells_why_numbers_cannot_be_exchanged_unless_a_connection_was_closed(
    monkeypatch, capsys
):
    broken, closed = Lost("no numbers (NCCL error: x)"), Closed("another process has ended")
    monkeypatch.setattr(processes, "GRACE", 0.0)
    for started in (False, True):
        if started:
            monkeypatch.setenv(processes.STARTED, "1")
        store = HashStore()
        for error, status in ((broken, processes.TOLD), (closed, processes.LOST)):
            answer = processes._led(error, store)
            told = capsys.readouterr().err
            if not started:
                assert answer is error and told == ""
                continue
            assert answer.code == status
            assert ("NCCL error: x" in told) == (error is broken)
        processes._left(closed, store)
        processes._left(broken, store)
        processes._left(ValueError("a later one"), store)
        answer = processes._led(closed, store)  # as if the leader itself had met it
        told = capsys.readouterr().err
        if started:
            assert answer.code == processes.TOLD and "NCCL error: x" in told
        else:
            assert isinstance(answer, Lost) and str(answer) == str(broken)
        processes._left(ValueError("images=0: use more"), store := HashStore())
        answer = processes._led(closed, store)
        assert isinstance(answer, ValueError) and str(answer) == "images=0: use more"


def test_what_several_processes_cannot_share_is_refused_before_they_start(nasrun, monkeypatch):
    two, most = "budget.processes=2", 8 * os.cpu_count()
    for words, named in (
        (["search", two, "strategy=radars"], "strategy=radars works in one process; use 1"),
        (["search", two, "strategy=random", "evaluator=naswot"], "strategy=random works in one"),
        (["retrain", two, "genotype=darts_v2", "retrain.batch_size=2"], "batches of 2 images"),
        (["search", f"budget.processes={most + 1}"], f"use at most {most}"),
        (["plan", "retrain", two, "genotype=darts_v2"], "a plan is of one process; leave it out"),
        (["search", "budget.processes=0"], "processes=0: use at least 1, or auto"),
        (["search", "-m", "seed=0,1", two], "a job of a sweep has one process"),
    ):
        answer = nasrun(*words)
        assert answer.status == 2
        assert answer.err.count("\n") == 1
        assert named in answer.err, answer.err
    launched = {"RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    for name, value in {**launched, "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    answer = nasrun("search", "budget.processes=3")
    assert "budget.processes=3: torchrun has started 2" in answer.err
    assert not Path("outputs").exists()


def test_a_thin_slice_of_the_last_batch_is_refused():
    budget = Budget(
        device="cpu", precision="fp32", threads=1, max_hours=None, processes=4, sync_batch_norm=True
    )
    budget.refuse_thin(100, 16)  # the last one has 4
    with pytest.raises(ValueError, match=r"the last batch of 99 images has 3"):
        budget.refuse_thin(99, 16)
    budget.refuse_thin(97, 16)  # a single image is left out
    with pytest.raises(ValueError, match="each process needs 2"):
        replace(budget, sync_batch_norm=False).refuse_thin(100, 16)
