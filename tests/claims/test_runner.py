"""The runner of a claim: what each command of an arm continues, and how arms fail."""

import os
import signal
from types import SimpleNamespace

import pytest
from claims.conftest import TINY, written

from nasrun.claims import reading
from nasrun.claims.measures import BestOfFirst
from nasrun.claims.results import ResultFile
from nasrun.claims.runner import ArmRun, Lane, missing, run
from nasrun.cli import performing
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


def test_a_table_is_not_given_to_ranks_that_are_judged_without_one(finished):
    told = []

    def perform(words, folder):
        told.append([word for word in words if "=" in word][:-1])
        return [finished / "search"]

    commands = (("search", "seed=0"), ("analyze", "ranks", "against=from_scratch"))
    data = {"dataset.root": "a", "space.table": "t.csv"}
    trial = ArmRun("tiny", "p", "darts", 0, commands, {}, finished, data)
    assert Lane(perform)([trial])[0].error == ""
    assert told[1] == ["against=from_scratch", "dataset.root=a"]


def test_own_packages_and_options_reach_every_command_that_takes_them(here):
    arms = {
        "scored": ["analyze ranks evaluator=mine", "analyze cells"],
        "snas": ["search", "select"],
    }
    content = {**TINY, "words": "", "arms": arms, "comparisons": [], "minutes": {}}
    claim = reading.read(written(here / "own.yaml", content))
    own = ["trust=[mine]", "hydra.searchpath=[file://conf]"]
    results = ResultFile(here / "results.jsonl")
    trials = missing("own", claim, list(arms), 1, results, here, {}, own)
    taken = [[words[-2:] for words in trial.commands] for trial in trials]
    assert taken == [[tuple(own), ("cells", own[0])], [tuple(own)] * 2]


def test_every_command_that_computes_anew_does_so_on_the_cpu_unless_it_names_a_device(here):
    arms = {
        "mine": ["search", "select budget.device=cuda", "retrain", "analyze ranks"],
        "scored": ["analyze ranks evaluator=mine"],
        "trained": ["analyze convergence genotype=a"],
        "counted": ["analyze cells"],
    }
    content = {**TINY, "words": "", "arms": arms, "comparisons": [], "minutes": {}}
    claim = reading.read(written(here / "own.yaml", content))
    trials = missing("own", claim, list(arms), 1, ResultFile(here / "r.jsonl"), here, {}, [])
    named = [
        [word for word in words if word.startswith("budget.device")]
        for trial in trials
        for words in trial.commands
    ]
    cpu = ["budget.device=cpu"]
    assert named == [cpu, ["budget.device=cuda"], cpu, [], cpu, cpu, []]


def test_an_analysis_of_moved_data_goes_on_in_its_folder(here, monkeypatch):
    made = []
    monkeypatch.setitem(performing.PARTS, "ranks", SimpleNamespace(run=made.append))
    for root in ("a", "b"):
        words = ["analyze", "ranks", "count=9", f"dataset.root={root}", "trust=[mine]"]
        performing.perform(words, here)
    performing.perform(["analyze", "ranks", "count=8"], here)
    first, moved, other = (words[-1] for words in made)
    assert first == moved != other


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
