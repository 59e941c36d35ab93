"""The classes that a choice recognises worst, on the page of `nasrun report`."""

import re
import shutil
from pathlib import Path

import pytest

from nasrun.files import read_json, read_yaml, write_record, write_yaml
from nasrun.pages.classes import MOST
from nasrun.pages.page import page
from nasrun.pages.sources import Sources


def told(*names):
    return page(Sources.of([str(name) for name in names], Path("outputs")))


def put(run, classes, branch="magnitude"):
    write_record(run / f"retrain/{branch}/classes.json", {"classes": classes})


def found(images, recall, precision, **answers):
    return {"images": images, "recall": recall, "precision": precision, "answers": answers}


@pytest.fixture
def seeds(finished):
    """Two finished runs that differ in their seeds, without results by class."""
    for path in finished.rglob("classes.json"):
        path.unlink()
    other = finished.with_name("v002")
    shutil.copytree(finished, other)
    write_yaml(other / "config.yaml", {**read_yaml(other / "config.yaml"), "seed": 1})
    write_record(other / "run.json", {**read_json(other / "run.json"), "seed": 1})
    return finished, other


def rows(text):
    """The texts of all cells of the tables of classes, by row."""
    section = text.split('<section aria-labelledby="classes">')[1].split("</section>")[0]
    cells = [re.findall(r"<t[hd].*?</t[hd]>", row) for row in section.split("<tr>")]
    texts = [[re.sub("<.*?>", "", cell) for cell in row] for row in cells]
    return [row for row in texts if row and row[0] != "class"]


def test_the_weakest_class_is_first_with_its_spread_and_what_it_is_taken_for(seeds):
    put(
        seeds[0],
        {"cat": found(10, 0.9, 1.0, cat=9, dog=1), "dog": found(10, 0.4, 0.8, dog=4, eel=6)},
    )
    put(seeds[1], {"cat": found(10, 1.0, 0.9, cat=10), "dog": found(10, 0.6, None, dog=6, cat=4)})
    put(seeds[0], {"cat": found(10, 0.0, 0.0, dog=10)}, branch="random")
    assert rows(told(*seeds)) == [
        ["dog", "10", "50.0 ± 14.1 %", "80.0 %", "eel 30.0 %, cat 20.0 %"],
        ["cat", "10", "95.0 ± 7.1 %", "95.0 ± 7.1 %", "dog 5.0 %"],
    ]


def test_of_many_classes_the_weakest_are_shown_and_classes_without_images_are_not(seeds):
    classes = {f"c{n}": found(5, n / 20, 0.5, **{f"c{n}": 5}) for n in range(MOST + 3)}
    put(seeds[0], {"none": found(0, None, None), **classes})
    text = told(seeds[0])
    assert [row[0] for row in rows(text)] == [f"c{n}" for n in range(MOST)]
    assert f"the {MOST} of {MOST + 4} classes with the lowest recall first" in text


def test_a_damaged_file_is_named_and_runs_without_one_have_no_such_part(seeds):
    assert 'id="classes"' not in told(*seeds)
    put(seeds[0], {"cat": found(10, 0.9, 1.0, cat=9, dog=1)})
    path = seeds[0] / "retrain/magnitude/classes.json"
    path.write_text(path.read_text().replace("0.9", "0.8"))
    text = told(*seeds)
    assert "classes.json: damaged" in text and 'id="classes"' not in text
