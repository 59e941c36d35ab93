"""Measurements of a plan are used again only for the same work on the same machine."""

import platform

import pytest

from nasrun.cli.line import Line
from nasrun.cli.prepared import plan_of
from nasrun.pipeline import notes
from nasrun.pipeline.forecast import Forecast, Outlook

WORDS = ["stages=[search,select,retrain]", "rounds=2", "width=2", "images=64", "budget.threads=1"]
WORDS += ["budget.device=cpu", "space=mobile", "depth=3"]


def note(*words, verb="run"):
    typed = WORDS if verb == "run" else []
    line = Line.parse(verb, [*typed, *words], only_foreseen=True)
    return notes.note_of(plan_of(line, None), None)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("NASRUN_CACHE", str(tmp_path))
    return tmp_path


def test_a_note_is_another_wherever_the_time_may_be(monkeypatch):
    first = note()
    assert first == note()
    assert first == note("outputs=elsewhere", "progress=false", "budget.max_hours=3")
    others = [
        ["rounds=3"],
        ["dataset.validation=0.3"],
        ["images=65"],
        ["budget.threads=2"],
        ["budget.max_memory_gib=4"],
        ["selector=argmax"],
        ["retrain.epochs=3"],
        ["baseline=false"],
        ["discretisation=false"],
        ["stages=[search]"],
        ["seed=1"],  # another random network is retrained
    ]
    marks = {note(*words) for words in others}
    assert len(marks) == len(others)
    assert first not in marks
    monkeypatch.setattr(platform, "node", lambda: "another machine")
    assert note() != first


def test_an_outlook_is_read_as_it_was_written(cache):
    stages = [Forecast("search", 1.5, 0.1, 20, 0.25, 0.01, scaled=True), Forecast("select")]
    path = cache / "plans" / "note.json"
    assert notes.read(path) is None
    notes.write(path, Outlook({"genotypes": "343"}, stages))
    assert notes.read(path) == Outlook({"genotypes": "343"}, stages, str(path))


def test_a_damaged_note_and_one_of_another_form_are_none(cache):
    path = cache / "note.json"
    texts = ["", "[]", "{}", "[" * 10**5]
    texts += ['{"facts": {}, "stages": [{"colour": "red"}]}', '{"facts": 3, "stages": []}']
    for text in texts:
        path.write_text(text)
        assert notes.read(path) is None


def test_a_run_that_cannot_be_is_asked_about_anew(cache):
    path = cache / "note.json"
    notes.write(path, Outlook({}, [Forecast("search", refusal="too large")]))
    assert not path.exists()


def test_a_cache_that_cannot_be_written_is_no_error(cache):
    (cache / "plans").write_text("no folder")
    notes.write(cache / "plans" / "note.json", Outlook({}, []))
