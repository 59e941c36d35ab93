"""`nasrun show`."""

import json

from nasrun.cli.parts.cells import KEYS as CELLS
from nasrun.cli.verbs.show import KEYS
from nasrun.runs.show import NETWORKS


def test_the_words_of_network_are_all_networks():
    assert KEYS["network"] == "|".join(sorted(NETWORKS))
    assert CELLS["network"] == "|".join(sorted({*NETWORKS} - {"morph"}))  # it has no cells


def test_a_cell_cannot_be_a_network_whose_depth_is_its_own(nasrun):
    answer = nasrun("show", "genotype=darts_v2", "network=morph")
    assert answer.status == 2
    assert answer.err.endswith(
        "network=morph: its depth is that of its genotype, and one of "
        "space=darts has none; use another\n"
    )


def test_show_counts_the_published_parameters(nasrun, here, pictures):
    words = ["show", "genotype=darts_v2", "network=imagenet", "format=json", "out=pictures"]
    record = json.loads(nasrun(*words).out)
    assert record["params"] == 4_718_752
    assert record["macs"] > 5e8
    assert len(record["pictures"]) >= 2
    assert all((here / path).stat().st_size > 1000 for path in record["pictures"])


def test_show_prints_a_runs_report_and_names_its_pictures(nasrun, finished, pictures):
    answer = nasrun("show", finished)
    assert answer.status == 0
    text = answer.out
    assert "magnitude" in text
    assert "random" in text
    assert "magnitude-mnist5k" in text
    assert "parameters" in text
    assert "select/magnitude/cells.svg" in "".join(text.split())
    record = json.loads(nasrun("show", finished, "format=json").out)
    assert {row["branch"] for row in record["report"]} == {"magnitude", "random"}


def test_what_is_no_run_and_no_table_is_refused_before_anything_is_written(nasrun, here, finished):
    for inside in ("select/nope", "search", "retrain/magnitude", "nope"):
        assert (
            f"run={finished}/{inside}: neither a run nor a selection"
            in nasrun("show", f"{finished}/{inside}").refusal
        )
    before = sorted(here.rglob("*"))
    assert "nope.csv" in nasrun("show", "genotype=nb201_best", "table=nope.csv").refusal
    assert sorted(here.rglob("*")) == before


def test_words_about_an_architecture_have_an_effect_or_are_refused(nasrun, finished):
    import shutil

    shutil.rmtree(finished / "select")
    for word in ("network=imagenet", "table=t.csv"):
        told = f"{word}: {finished} has no selected architecture; leave it out"
        assert told in nasrun("show", finished, word).refusal
    assert nasrun("show", finished).status == 0


def test_a_selection_is_shown_from_the_folders_around_and_inside_it(nasrun, finished, monkeypatch):
    def shown(name):
        answer = nasrun("show", name, "format=json")
        assert answer.status == 0, answer.err
        return json.loads(answer.out)["genotype"]

    words = ["method=argmax", "budget.threads=1", "discretisation=false"]
    assert nasrun("select", *words).status == 0
    folder = finished.absolute() / "select/magnitude"
    told = shown(folder)
    assert shown(finished) != told  # the newest selection
    for place, name in (
        (folder.parent, "magnitude"),
        (folder, "."),
        (folder.parent, "../select/magnitude"),
    ):
        monkeypatch.chdir(place)
        assert shown(name) == told
