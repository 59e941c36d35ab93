"""The description of an architecture and its costs."""

import json

import pytest

from nasrun.genotype import NONE, Genotype
from nasrun.runs import show
from nasrun.runs.run import Run


@pytest.mark.parametrize(
    ("name", "network", "params"),
    [
        ("darts_v1", "cifar", 3_169_414),
        ("darts_v2", "cifar", 3_349_342),
        ("darts_v2", "imagenet", 4_718_752),
        ("milenas", "cifar", 3_874_222),
        ("milenas_2858", "cifar", 2_857_942),
        ("milenas_2090", "cifar", 2_089_846),
    ],
)
def test_the_published_cells_have_their_published_size(
    tmp_path, no_pictures, name, network, params
):
    record = show.genotype(name, network, None, str(tmp_path / "out"), ())
    assert record["params"] == params
    assert record["name"] == name
    assert record["network"]["size"] == (32 if network == "cifar" else 224)


def test_choices_and_text_are_the_same_genotype(tmp_path):
    record = show.genotype("darts_v2", "cifar", None, str(tmp_path), ())
    kept = {name: choice for name, choice in record["choices"].items() if choice != NONE}
    assert len(record["choices"]) == 28
    assert len(kept) == 16
    assert kept["normal/2-0"] == "sep_conv_3x3"
    assert kept["normal/5-2"] == "dil_conv_3x3"
    assert record["genotype"].count("@") == 16


def test_pictures_are_drawn_where_they_are_asked_for(tmp_path):
    record = show.genotype("darts_v1", "cifar", None, str(tmp_path / "a" / "b"), ())
    assert {path.rpartition(".")[2] for path in record["pictures"]} == {"svg", "png"}
    for path in record["pictures"]:
        assert path.startswith(str(tmp_path / "a" / "b" / "darts_v1"))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"out=.*file.*cannot write there"):
        show.genotype("darts_v1", "cifar", None, str(tmp_path / "file"), ())


def test_a_darts_tuple_in_a_file_is_read(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text(
        "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
        "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
        "('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
        "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
        "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], "
        "reduce_concat=[2, 3, 4, 5])"
    )
    record = show.genotype(str(path), "cifar", None, str(tmp_path / "out"), ())
    assert record["params"] == 3_349_342
    assert record["name"] == "mine"


def test_a_run_shows_its_newest_genotype_and_its_report(finished):
    record = show.run(str(finished), "cifar", ())
    assert record["run"] == str(finished)
    assert record["name"] == "magnitude"
    assert {row["branch"] for row in record["report"]} == {"magnitude", "random"}
    assert all(path.startswith(str(finished)) for path in record["pictures"])


def test_a_run_is_shown_without_a_write(nasrun, finished):
    def state():
        return {path: path.stat().st_mtime_ns for path in [finished, *finished.rglob("*")]}

    folder = finished / "select/magnitude"
    with Run(finished).lock():  # another command is working on it
        before = state()
        record = json.loads(nasrun("show", finished, "format=json").out)
        assert state() == before
    assert record["pictures"] == [f"{folder}/cells.png", f"{folder}/cells.svg"]


def test_what_has_no_effect_on_a_run_is_refused(nasrun, finished):
    for word in ("out=pictures", "space=mobile"):
        assert f"{word}: has no effect on a run" in nasrun("show", finished, word).refusal


def test_a_run_that_is_only_searched_shows_its_report(nasrun, small, capsys):
    assert nasrun("search", *small).status == 0
    record = show.run("outputs/digits-darts-darts/v001", None, ())
    assert "genotype" not in record
    answer = nasrun("show", "outputs/digits-darts-darts/v001")
    assert answer.status == 0


def test_a_layer_wise_architecture_is_shown_with_its_own_layers(tmp_path, capsys):
    from rich.console import Console

    path = tmp_path / "mine.txt"
    path.write_text("k3e6 skip_connect k5e3 k7e6")
    record = show.genotype(str(path), "cifar", "mobile", str(tmp_path / "out"), ())
    assert record["network"]["layers"] == 4
    assert record["params"] > 0
    show.print_record(Console(width=140), record)
    assert "k3e6 skip_connect k5e3 k7e6" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "label"),
    [("nb201_best", "genotype"), ("darts_v2", "reduce"), ("layers conv3_w1 pool", "skips")],
)
def test_the_rows_of_an_architecture_are_labelled_as_its_notation_is(
    tmp_path, no_pictures, capsys, name, label
):
    from rich.console import Console

    show.print_record(Console(width=400), show.genotype(name, None, None, str(tmp_path), ()))
    labels = [line.strip("│ ").split(" ")[0] for line in capsys.readouterr().out.splitlines()]
    assert label in labels
    assert ("layers" in labels) == (label == "skips")


def test_networks_that_are_no_classifiers_are_shown_without_costs(tmp_path):
    record = show.genotype("random", None, "gan", str(tmp_path), ())
    assert record["space"] == "gan"
    assert "params" not in record
    with pytest.raises(ValueError, match="network=cifar: has no effect on space=gan"):
        show.genotype("random", "cifar", "gan", str(tmp_path), ())


THREE = [("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("dil_conv_5x5", 2),
         ("max_pool_3x3", 0), ("skip_connect", 3)]  # fmt: skip


def test_a_cell_of_three_nodes_is_shown_as_such(tmp_path, no_pictures):
    path = tmp_path / "three.txt"
    path.write_text(f"Genotype({THREE}, range(2, 5), {THREE}, range(2, 5))")
    record = show.genotype(str(path), None, None, str(tmp_path / "out"), ())
    assert len(record["choices"]) == 2 * (2 + 3 + 4)
    path.write_text(record["genotype"])
    again = show.genotype(str(path), None, None, str(tmp_path / "out"), ())
    assert again["params"] == record["params"]
    path.write_text("; ".join(f"{cell} | -" for cell in record["genotype"].split("; ")))
    dead = show.genotype(str(path), None, None, str(tmp_path / "out"), ())
    assert dead["params"] - record["params"] == 337_104  # what reads a fourth map of each cell
    with pytest.raises(ValueError, match=r"genotype=.*space=darts_s1 does not fit"):
        show.genotype(str(path), None, "darts_s1", str(tmp_path / "out"), ())


@pytest.mark.parametrize("name", ["nb201_best", "darts_v2"])
def test_a_genotype_json_is_of_the_space_that_it_names(tmp_path, no_pictures, name):
    expected = show.genotype(name, None, None, str(tmp_path), ())
    path = tmp_path / "genotype.json"
    made = Genotype(expected["space"], expected["choices"])
    path.write_text(json.dumps(made.to_json()))
    found = show.genotype(str(path), None, None, str(tmp_path), ())
    assert (found["space"], found["params"]) == (expected["space"], expected["params"])
    path = tmp_path / "cell.txt"
    path.write_text(f"best: {expected['genotype']}" if "~" in expected["genotype"]
                    else expected["genotype"])  # fmt: skip
    assert show.genotype(str(path), None, None, str(tmp_path), ())["params"] == found["params"]
