"""The overview of a run."""

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from nasrun.runs.overview import overview, print_overview
from nasrun.runs.run import Run


def shown(run):
    text = io.StringIO()
    print_overview(Console(file=text, width=160), overview(Run(run)))
    return text.getvalue()


def test_a_file_that_goes_while_a_run_is_shown_is_left_out(finished, monkeypatch):
    gone = finished / "search/.state.pt.0123.part"
    below = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda path, form: [gone, *below(path, form)])
    there = [path for path in below(finished, "*") if path.is_file()]
    assert overview(Run(finished))["bytes"] == sum(path.stat().st_size for path in there)


def test_it_tells_what_a_run_was_made_with_and_what_it_reached(finished):
    record = overview(Run(finished))
    assert record["made"] == {
        "space": "darts",
        "dataset": "digits",
        "strategy": "darts",
        "task": "classification",
        "genotype": None,
        "seed": 0,
    }
    assert record["scale"]["rounds"] == 2
    ran_on = record["ran_on"]
    assert (ran_on["device"], ran_on["precision"], ran_on["threads"]) == ("cpu", "fp32", 1)
    files = [path for path in finished.rglob("*") if path.is_file()]
    assert record["bytes"] == sum(path.stat().st_size for path in files)
    stages = {(stage["stage"], stage["branch"]): stage for stage in record["stages"]}
    retrained = json.loads((finished / "retrain/magnitude/result.json").read_text())
    row = stages["retrain", "magnitude"]
    assert (row["score"], row["on"]) == (retrained["test_accuracy"], "test")
    assert (row["rounds"], row["params"]) == (2, retrained["params"])
    last = json.loads((finished / "search/metrics.jsonl").read_text().splitlines()[-1])
    assert record["search"] == last
    assert record["next"] is None
    text = shown(finished)
    for words in ("strategy=darts", "seed=0", "search ended with", "search/search.png", "(gap "):
        assert words in text
    assert len([line for line in text.splitlines() if "magnitude" in line and "%" in line]) >= 3


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        (["search/result.json"], "search: not finished, the same command continues"),
        (
            ["retrain/random/result.json", "retrain/magnitude/result.json"],
            "retrain magnitude, retrain random: not finished, the same command continues",
        ),
    ],
)
def test_it_tells_what_is_not_finished(finished, gone, told):
    for name in gone:
        (finished / name).unlink()
    assert overview(Run(finished))["next"] == told
    rows = [line for line in shown(finished).splitlines() if "not finished" in line]
    assert len(rows) == len(gone) + 1
    assert ("search so far" in shown(finished)) == (gone == ["search/result.json"])


def test_it_tells_what_comes_next(nasrun, small):
    path = Path("outputs/digits-darts-darts/v001")
    assert nasrun("search", *small).status == 0
    assert overview(Run(path))["next"] == f"nasrun select run={path}"
    assert nasrun("select", "budget.threads=1").status == 0
    assert f"nasrun retrain run={path}" in nasrun("show", path).out


def test_no_retraining_is_next_for_a_network_that_the_search_has_trained(finished):
    for kind in ("retrain", "transfer"):
        shutil.rmtree(finished / kind, ignore_errors=True)
    assert overview(Run(finished))["next"] == f"nasrun retrain run={finished}"
    file = finished / "select/magnitude/result.json"
    result = json.loads(file.read_text())
    del result["check"]
    file.write_text(json.dumps({**result, "judged_by": "test_fid", "test_fid": 41.5}))
    assert overview(Run(finished))["next"] is None
