"""`nasrun report`: where the page goes, and what is refused."""

import json
import shutil
from pathlib import Path

PAGE = "<!DOCTYPE html>\n"


def test_a_page_lies_in_the_run_or_in_the_folder_of_the_runs(nasrun, finished):
    family = finished.parent
    shutil.copytree(finished, family / "v002")
    for words, path in {
        (): family / "v001/report.html",
        (finished,): finished / "report.html",
        (finished / "select/magnitude",): finished / "report.html",
        (family,): family / "report.html",
        (finished, family / "v002"): family / "report.html",
        (finished, "out=mine.html"): Path("mine.html"),
    }.items():
        (family / "v001/run.json").touch()
        answer = nasrun("report", *words)
        assert answer.status == 0, answer.err
        assert answer.out.startswith(f"{path}: ")
        assert path.read_text().startswith(PAGE)
        path.unlink()


def test_the_current_folder_may_be_that_of_runs_or_of_a_run(nasrun, finished, monkeypatch):
    family = finished.parent.absolute()
    shutil.copytree(finished, family / "v002")
    for folder, name, page in (
        (family, ".", family / "report.html"),
        (family / "v001", "..", family / "report.html"),
        (family / "v001", ".", family / "v001/report.html"),
        (family / "v001/select", ".", family / "v001/report.html"),
    ):
        monkeypatch.chdir(folder)
        answer = nasrun("report", name)
        assert answer.status == 0, answer.err
        assert page.exists(), (folder, name)
        page.unlink()


def test_a_sweep_gives_its_runs_and_the_jobs_that_failed(nasrun, finished, here, monkeypatch):
    sweep = Path("outputs/sweeps/2026-01-31/12-00-00")
    sweep.mkdir(parents=True)
    jobs = [
        {"overrides": ["seed=0"], "run": str(finished)},
        {"overrides": ["seed=1"], "error": "seed=1: no <b>luck</b>"},
        {"overrides": ["seed=2"], "error": "once"},
        {"overrides": ["seed=2"], "run": str(finished)},
    ]
    (sweep / "jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))
    (here / "other").mkdir()
    monkeypatch.chdir(here / "other")  # runs are found from the sweep, too
    answer = nasrun("report", here / sweep)
    assert answer.status == 0, answer.err
    text = (here / sweep / "report.html").read_text()
    assert "This job of the sweep failed: seed=1: seed=1: no &lt;b&gt;luck&lt;/b&gt;." in text
    assert "once" not in text.split("<main")[0].split("<header>")[1].replace("read once", "")


def test_a_page_is_written_anew_and_no_other_file_is_replaced(nasrun, finished):
    assert nasrun("report", finished).status == 0
    before = (finished / "report.html").read_bytes()
    assert nasrun("report", finished).status == 0
    assert (finished / "report.html").read_bytes() == before
    Path("notes.html").write_text("mine")
    assert (
        "out=notes.html: this file exists and is no report"
        in nasrun("report", finished, "out=notes.html").refusal
    )
    assert Path("notes.html").read_text() == "mine"


def test_wrong_words_are_refused_in_one_line(nasrun, finished, here):
    Path("empty").mkdir()
    for words, told in {
        "nowhere": "run=nowhere: no run there",
        "empty": "run=empty: no run there",
        "outputs=empty": "outputs=empty: no runs; type `nasrun run` first",
        "outputs=nowhere": "outputs=nowhere: there is no such folder",
        f"{finished} outputs=empty": "outputs=empty: has no effect with runs",
        f"{finished} out=empty": "out=empty: a page is HTML; use a name that ends in .html",
        f"{finished} out=nowhere/a.html": "out=nowhere/a.html: ",
        f"{finished} out=page.pdf": "out=page.pdf: a page is HTML",
        f"{finished} format=json": "format: unknown key",
    }.items():
        assert told in nasrun("report", *words.split()).refusal
    shutil.rmtree(finished / "search")
    for stage in ("select", "retrain", "transfer"):
        shutil.rmtree(finished / stage)
    assert "no stage has begun; there is nothing to report" in nasrun("report", finished).refusal
    assert not list(here.rglob("*.html"))
