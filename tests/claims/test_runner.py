"""The runner of a claim: what each command of an arm continues, and how arms fail."""

import os
import signal

import pytest
from claims.conftest import TINY, written

from nasrun.claims import reading
from nasrun.claims.measures import BestOfFirst
from nasrun.claims.results import ResultFile
from nasrun.claims.runner import ArmRun, Lane, run
from nasrun.cli.performing import perform


def test_a_training_continues_the_selection_of_its_own_arm_also_if_another_is_newer(
    nasrun, finished
):
    assert nasrun("select", "method=argmax", "budget.threads=1").status == 0
    made = {"search": ["search"], "select": ["select/magnitude"], "retrain": ["retrain/magnitude"]}
    continued = {}

    def perform(words, folder):
        continued[words[0]] = words[-1]
        return [finished / name for name in made.get(words[0], [])]

    later = (("select", "method=magnitude"), ("retrain",), ("transfer",), ("analyze", "search"))
    trial = ArmRun("tiny", "p", "darts", 0, (("search", "seed=0"), *later), {}, finished)
    (done,) = Lane(perform)([trial])
    assert done.error == ""
    assert continued == {
        "search": "seed=0",
        "select": f"run='{finished}'",
        "retrain": f"run='{finished}/select/magnitude'",
        "transfer": f"run='{finished}/select/magnitude'",
        "analyze": f"run={finished}",
    }


def test_a_training_that_names_its_selector_continues_the_selection_of_its_own_arm(
    nasrun, finished
):
    other = ["select", "method=magnitude", "discretisation=true", "budget.threads=1"]
    assert nasrun(*other, "selector.rule._target_=nasrun.supernet.supernet.argmax").status == 0
    made = {"search": ["search"], "select": ["select/magnitude-2"]}
    continued = {}

    def told(words, folder):
        continued[words[0]] = words[-1]
        return [finished / name for name in made.get(words[0], [])]

    later = (("select", "method=magnitude"), ("retrain", "method=magnitude"))
    trial = ArmRun("tiny", "p", "darts", 0, (("search", "seed=0"), *later), {}, finished)
    (done,) = Lane(told)([trial])
    assert done.error == ""
    assert continued["retrain"] == f"run='{finished}/select/magnitude-2'"
    words = ["retrain", "method=magnitude", continued["retrain"], "--cfg", "job"]
    assert nasrun(*words).status == 0


def test_every_later_command_is_told_where_the_data_are_as_far_as_it_takes_them(nasrun, finished):
    made = {"search": ["search"], "select": ["select/magnitude"], "retrain": ["retrain/magnitude"]}
    told = {}

    def perform(words, folder):
        told[" ".join(words[: 1 + (words[0] == "analyze")])] = words[2:-1]
        return [finished / name for name in made.get(words[0], [])]

    later = [("select", "x"), ("retrain", "x"), ("transfer", "dataset.root=own")]
    later += [("analyze", part) for part in ("search", "ranks", "cells")]
    data = {"dataset.root": "a b", "space.table": "t.csv", "task.distance.weights": "w"}
    trial = ArmRun("tiny", "p", "darts", 0, (("search", "seed=0"), *later), {}, finished, data)
    (done,) = Lane(perform)([trial])
    assert done.error == ""
    assert told == {
        "search": [],
        "select": ["dataset.root='a b'", "space.table='t.csv'"],
        "retrain": ["dataset.root='a b'"],
        "transfer": [],
        "analyze search": ["dataset.root=a b"],
        "analyze ranks": ["dataset.root=a b", "space.table=t.csv"],
        "analyze cells": [],
    }


def test_a_measure_opens_a_search_of_a_package_that_its_arm_trusts(here, table, no_pictures):
    (here / "myscores.py").write_text(
        "from nasrun.evaluators.tabular import Tabular\nclass Mine(Tabular): pass\n"
    )
    words = ["stages=[search,select]", "space=nasbench201", "strategy=random", "budget.threads=1"]
    words += ["evaluator=tabular", "strategy.num_candidates=3", f"space.table={table}"]
    words += ["strategy.evaluator._target_=myscores.Mine", "trust=[myscores]"]
    first = BestOfFirst(text="", data="cifar10", count=2)
    trial = ArmRun("tiny", "p", "mine", 0, (("run", *words),), {"first": first}, here / "runs")
    (done,) = Lane(perform)([trial])
    assert done.error == ""
    assert done.line.facts["first"].startswith("|")


def killed(words, folder):
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_arm_that_is_killed_is_told_with_the_key_that_is_typed(here):
    claim = reading.read(written(here / "tiny.yaml", TINY))
    trials = [
        ArmRun("tiny", "p", arm, 0, (("search", arm),), {}, here) for arm in ("darts", "snas")
    ]
    results = ResultFile(here / "results.jsonl")
    with pytest.raises(ValueError, match=r"jobs=2: the process of an arm died, .* use fewer jobs"):
        run(claim, trials, results, killed, 2, lambda done: None, lambda: False)
