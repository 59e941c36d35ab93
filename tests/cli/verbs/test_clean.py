"""`nasrun clean` deletes states of finished stages and nothing else."""

import json
import shutil
from pathlib import Path

import pytest

from nasrun.runs.run import Run

STATES = {
    "select/magnitude/state.pt",
    "retrain/magnitude/state.pt",
    "retrain/random/state.pt",
    "transfer/magnitude-mnist5k/state.pt",
}


def files(run):
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}


def test_stages_after_the_search_keep_no_state_before_the_last(finished):
    kept = {name for name in files(finished) if Path(name).match("state*.pt")}
    assert kept - {"select/magnitude/state.pt"} == {
        "search/state.pt", "search/state.previous.pt", *STATES - {"select/magnitude/state.pt"},
    }  # fmt: skip


def test_what_is_shown_is_freed_with_yes_and_nothing_else(nasrun, finished):
    before = files(finished)
    states = STATES & before
    size = sum((finished / name).stat().st_size for name in states) / 2**20
    shown = nasrun("clean")
    assert (shown.status, files(finished)) == (0, before)
    for name in states:
        assert f"{(finished / name).stat().st_size / 2**20:.1f} MiB" in shown.out
    assert f"{size:.1f} MiB can be freed; type yes=true" in shown.out
    assert f"{size:.1f} MiB freed" in nasrun("clean", finished, "yes=true").out
    assert before - files(finished) == states
    assert nasrun("clean").out == "0.0 MiB can be freed\n"
    assert nasrun("select", "method=argmax", "budget.threads=1").status == 0
    assert (
        nasrun("predict", finished, finished / "select").status == 0
    )  # its picture, by the network


def test_a_search_without_its_state_says_how_to_get_it_back(nasrun, finished, small):
    assert nasrun("clean", "search=true", "yes=true").status == 0
    assert not [name for name in files(finished) if name.endswith(".pt")]
    searched = ["analyze", "search", f"run={finished}"]
    for words in (["select", "method=argmax", "budget.threads=1"], searched):
        refusal = nasrun(*words).refusal
        assert f"{finished}/search: its state is gone" in refusal
        assert f"delete result.json there and type `nasrun search run={finished}`" in refusal
    metrics = (finished / "search/metrics.jsonl").read_bytes()
    (finished / "search/result.json").unlink()
    assert nasrun("search", f"run={finished}").status == 0
    assert (finished / "search/metrics.jsonl").read_bytes() == metrics
    assert nasrun("select", "method=argmax", "budget.threads=1").status == 0


def test_an_unfinished_stage_keeps_its_state(nasrun, finished):
    for name in ("search", "retrain/magnitude"):
        (finished / name / "result.json").unlink()
    before = files(finished)
    assert nasrun("clean", "search=true", "yes=true").status == 0
    gone = before - files(finished)
    assert "retrain/random/state.pt" in gone
    assert not [name for name in gone if name.startswith(("search", "retrain/magnitude"))]


@pytest.mark.parametrize("folder", ["members", "trials"])
def test_the_networks_of_a_population_go_with_the_state_that_names_them(nasrun, finished, folder):
    kept = finished / "search" / folder / "001/00.pt"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(bytes(2**20))
    assert nasrun("clean", "yes=true").status == 0
    assert kept.exists()
    assert nasrun("clean", "search=true", "yes=true").status == 0
    assert not (finished / "search" / folder).exists()


def test_a_run_that_another_works_on_is_left_alone_and_the_others_are_cleaned(nasrun, finished):
    other = finished.with_name("v002")
    shutil.copytree(finished, other)
    before = files(finished)
    with Run(finished).lock():
        answer = nasrun("clean", "yes=true")
    assert answer.status == 2
    told = f"run={finished}: another nasrun process uses it; wait until that ends"
    assert answer.err == f"nasrun: left alone: {told}\n"
    assert files(finished) >= before
    assert not STATES & files(other)


def test_only_a_whole_run_that_is_there_is_cleaned(nasrun, finished, monkeypatch):
    before, whole = files(finished), finished.absolute()
    monkeypatch.chdir(finished)
    for name, told in (
        ("retrain/magnitude", "run=retrain/magnitude: is only a part of a run; use run="),
        ("v002", "run=v002: no run there"),
        (whole / "retrain/nope", "nope: no run there"),
    ):
        assert told in nasrun("clean", name, "search=true", "yes=true").refusal
    assert files(whole) == before
    once, twice = (nasrun("clean", *names).out for names in (["."], [".", whole]))
    assert once.splitlines()[-1] == twice.splitlines()[-1]
    assert "can be freed" in once


def test_wrong_words_are_refused_in_one_line(nasrun, finished):
    before = files(finished)
    for words, told in {
        "nowhere yes=true": "run=nowhere: no run there",
        f"{finished} outputs=x": "outputs=x: has no effect with runs; leave it out",
        "yes=maybe": "yes=maybe: use false or true",
        "outputs=nowhere": "outputs=nowhere: there is no such folder",
    }.items():
        assert told in nasrun("clean", *words.split()).refusal
    assert files(finished) == before
    assert json.loads((finished / "report.json").read_text())
