"""Stages of many runs, grouped over their seeds."""

from pathlib import Path
from types import SimpleNamespace

from nasrun.runs.groups import Group, Seeded


def test_runs_that_another_score_judges_are_not_counted_beside_the_mean():
    stage = SimpleNamespace(kind="select", title="select argmax")
    run = SimpleNamespace(path=Path("outputs/v001"))
    scored = {"training_speed": -1.5, "judged_by": "training_speed", "seconds": 60.0}
    looked_up = {**scored, "true": {"cifar10": {"accuracy": 0.94, "rank": 1}}}
    members = [Seeded(run, stage, result) for result in (scored, looked_up, scored, None)]
    _, _, count, mean, on, _ = Group("", {}, members).row()
    assert (count, mean, on) == ("2 of 4", "-1.5 ± 0", "training_speed")


def test_runs_of_which_none_has_finished_have_no_minutes():
    stage = SimpleNamespace(kind="search", title="search")
    run = SimpleNamespace(path=Path("outputs/v001"))
    group = Group("", {}, [Seeded(run, stage, None)])
    assert group.row() == ("outputs/v001", "search", "0 of 1", "-", "-", "-")
