"""The commands and rounds that are recorded in a run."""

import json


def test_a_run_keeps_its_commands_and_a_log_of_its_rounds(nasrun, here, small, short):
    assert nasrun("search", *small).status == 0
    run = here / "outputs/digits-darts-darts/v001"
    assert nasrun("select", "method=argmax", "budget.threads=1").status == 0
    records = [json.loads(line) for line in (run / "commands.jsonl").read_text().splitlines()]
    assert [record["command"] for record in records] == [
        " ".join(["nasrun", "search", *small]),
        "nasrun select method=argmax budget.threads=1",
    ]
    assert all(record["when"].startswith("20") and record["nasrun"] for record in records)
    before = {path.name: path.read_bytes() for path in run.glob("*.*")}
    lines = before["nasrun.log"].decode().splitlines()
    told = [line.partition("  ")[2] for line in lines]
    assert told[0] == f"$ nasrun search {' '.join(small)}"
    assert told[1] == "search  begins of 2"
    assert told[3].startswith("search  round 2/2  loss ")
    assert told[4].startswith("search  is done after ")
    assert nasrun("search", *small).status == 0  # it prints what is done, and does nothing
    assert {path.name: path.read_bytes() for path in run.glob("*.*")} == before


def test_a_new_version_and_a_new_branch_say_why(nasrun, finished, small, short):
    answer = nasrun("search", *small, "alpha_lr=0.01")
    assert "new beside v001: alpha_lr=0.01, not 0.003\n" in answer.out
    words = [word for word in short if not word.startswith("retrain.epochs=")]
    answer = nasrun("retrain", f"run={finished}", *words, "retrain.epochs=3")
    assert (
        "retrain magnitude-2: new beside magnitude: retrain.epochs=3, not 2 (it is trained"
        in answer.out
    )
    again = nasrun("retrain", f"run={finished}", *words, "retrain.epochs=3")
    assert "new beside" not in again.out
