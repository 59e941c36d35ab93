"""`nasrun latency` writes a table that limits read, and refuses what has no effect on it."""

import json
from pathlib import Path

SMALL = ["space=mobile", "depth=3", "width=2", "budget.threads=1", "budget.device=cpu"]


def test_a_limit_reads_the_table_that_was_measured(nasrun, here):
    answer = nasrun("latency", *SMALL, "repeats=1", "holdout=2", "out=mine.json")
    assert answer.status == 0, answer.err
    table = json.loads(Path("mine.json").read_text())
    assert (table["space"], table["layers"], table["repeats"]) == ("mobile", 3, 1)
    assert (table["device"], table["precision"], table["threads"]) == ("cpu", "fp32", 1)
    assert table["base"] > 0
    assert min(value for row in table["each"].values() for value in row.values()) >= 0
    rows = [line for line in answer.out.splitlines() if line.startswith("│")]
    assert len(rows) == 2
    assert "mean absolute error" in answer.out
    limit = ["images=64", "budget.latency_table=mine.json", "budget.max_latency_ms=1e-6"]
    refusal = nasrun("run", *SMALL, *limit, "stages=[search,select]").refusal
    assert "max_latency_ms=1e-06: the cheapest network" in refusal


def test_what_it_does_not_read_or_cannot_write_is_refused(nasrun, here):
    Path("there.json").touch()
    for words, told in {
        "strategy=snas": "strategy=snas: has no effect on `nasrun latency`, leave it out",
        "budget.max_hours=1": "budget.max_hours=1: has no effect on `nasrun latency`",
        "retrain.epochs=1": "retrain.epochs=1: has no effect on `nasrun latency`",
        "space=mobil": "space=mobil: unknown option, did you mean mobile?",
        "repeat=3": "repeat=3: unknown key",
        "repeats=0": "repeats=0: use 1 or more",
        "batch=big": "batch=big: expected a whole number",
        "holdout=-1": "holdout=-1: use 0 or more",
        "out=there.json": "out=there.json: this file exists already",
        "out=nowhere/table.json": "out=nowhere/table.json: its folder is missing",
        "space=gan": "a latency table needs a supernet: space=gan has none; use space=darts",
        "-m seed=0,1": "latency -m: takes no flags",
        "--cfg job": "latency --cfg: takes no flags",
    }.items():
        assert told in nasrun("latency", *words.split()).refusal
    assert [path.name for path in here.iterdir()] == ["there.json"]
