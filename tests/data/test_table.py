"""Tables: what they hold, what is refused, and that nobody looks before a genotype is written."""

import json
import re
from pathlib import Path

import pytest
from toys import context

from nasrun.data import table as tabular
from nasrun.data.table import Table, describe
from nasrun.evaluators.tabular import Tabular
from nasrun.genotype import Genotype
from nasrun.runs import show
from nasrun.runs.stage_folder import StageFolder
from nasrun.spaces.nasbench201 import NasBench201

SHARED = Path(__file__).parents[3] / "shared" / "data" / "nasbench201-cifar10.csv"
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
SPACE = NasBench201(operations=OPERATIONS, channels=2, layers=3)
SMALL = ["space=nasbench201", "rounds=1", "width=2", "depth=3", "images=64", "batch_size=16"]
HERE = ["budget.threads=1", "budget.device=cpu", "progress=false"]
SMALL += HERE


def value(chosen):
    """The made-up percentage of an architecture: its number in base five."""
    digits = [OPERATIONS.index(choice) for choice in chosen]
    return 10 + sum(digit * 5**place for place, digit in enumerate(digits[::-1])) / 200


def text_of(*chosen):
    return SPACE.render(Genotype("nasbench201", dict(zip(SPACE.rows, chosen, strict=True))))


def test_the_truth_is_a_fraction_and_a_rank_among_all(table):
    read = Table.read(table)
    best, worst = text_of(*["avg_pool_3x3"] * 6), text_of(*["none"] * 6)
    assert read.truth(best) == {
        "cifar10": {"accuracy": pytest.approx(0.8812), "rank": 1, "of": 15_625, "epochs": 200}
    }
    last = {"accuracy": 0.1, "rank": 15_625, "of": 15_625, "epochs": 200}
    assert read.truth(worst) == {"cifar10": last}
    assert read.accuracy(best, "cifar10_val_12ep") == pytest.approx(0.1188)
    assert describe(read.truth(best)) == "cifar10 88.12%, rank 1 of 15,625"


def test_equals_share_the_better_rank(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("architecture,a_test_200ep,b_test_200ep\nx,90,1\ny,95.5,2\nz,90,3\n")
    read = Table.read(path)
    assert [read.truth(name)["a"]["rank"] for name in "xyz"] == [2, 1, 2]
    assert [read.truth(name)["b"]["rank"] for name in "xyz"] == [3, 2, 1]
    assert [read.truth(name)["a"].get("ties") for name in "xyz"] == [1, None, 1]
    assert describe(read.truth("x")) == (
        "a 90.00%, rank 2 of 3 (shared by 2); b 1.00%, rank 3 of 3"
    )


def test_the_true_results_are_those_on_test_images_after_the_most_epochs(tmp_path):
    path = tmp_path / "t.csv"
    names = "a_test_12ep,b_val_108ep,a_test_108ep,a_val_200ep,b_test_36ep"
    path.write_text(f"index,architecture,{names},params\n0,x,1,2,3,4,5,many\n1,y,9,9,2,9,9,\n")
    read = Table.read(path)
    assert read.true == {"a": "a_test_108ep", "b": "b_test_36ep"}
    assert set(read.columns) == set(names.split(","))
    assert read.truth("x")["a"] == {"accuracy": 0.03, "rank": 1, "of": 2, "epochs": 108}
    assert tabular.validation_columns(read.columns) == ["b_val_108ep", "a_val_200ep"]


def test_another_measure_is_a_number_of_its_own(tmp_path):
    path = tmp_path / "t.csv"
    names = "scene_test_25ep,room_test_25ep_neg_loss,scene_test_25ep_ssim,scene_val_25ep_ssim"
    path.write_text(f"architecture,{names}\nx,50,-0.6,0.55,0.5\ny,51,-0.7,0.56,0.4\n")
    truth = Table.read(path).truth("x")
    assert truth == {
        "scene": {"accuracy": 0.5, "rank": 2, "of": 2, "epochs": 25},
        "room/neg_loss": {"value": -0.6, "rank": 1, "of": 2, "epochs": 25},
        "scene/ssim": {"value": 0.55, "rank": 2, "of": 2, "epochs": 25},
    }
    assert describe(truth).endswith("room/neg_loss -0.6, rank 1 of 2; scene/ssim 0.55, rank 2 of 2")
    evaluator = Tabular(table=str(path), column="scene_val_25ep_ssim")
    assert evaluator.score == "validation_ssim"


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not there")
def test_the_benchmark_has_its_published_ceiling_and_its_collapsed_cell(tmp_path):
    read = Table.read(SHARED)
    best = show.genotype("nb201_best", None, None, str(tmp_path), (), str(SHARED))
    assert best["true"]["cifar10"]["rank"] == 1
    column = read.columns["cifar10_test_200ep"]
    assert len(column) == 15_625
    assert round(100 * max(column.values()), 2) == 94.37
    assert sum(accuracy >= 0.94 for accuracy in column.values()) == 42
    collapsed = read.truth(text_of(*["skip_connect"] * 6))["cifar10"]
    assert round(100 * collapsed["accuracy"], 2) == 54.30


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "cannot be read"),
        ("", "has no column architecture; its first line is nothing"),
        ("architecture,cifar10_val_12ep\n", "has no column cifar10_test_200ep"),
        ("cell,cifar10_test_200ep\n", "has no column architecture"),
        ("architecture,cifar10_test_200ep\nx,ninety\n", "line 2: cifar10_test_200ep='ninety'"),
        ("architecture,cifar10_test_200ep\nx\n", "line 2: cifar10_test_200ep is missing; give"),
        ("architecture,cifar10_test_200ep\nx,1\ny,101\n", "line 3: cifar10_test_200ep=101"),
        ("architecture,cifar10_test_200ep\nx,nan\n", "line 2: cifar10_test_200ep=nan"),
        ("architecture,cifar10_test_200ep\nx,1\nx,1\n", "line 3 has x again"),
        ("architecture,cifar10_test_200ep\nx,\n", "line 2: cifar10_test_200ep is missing; give"),
        (
            "architecture,cifar10_test_200ep\nx,9,3\n",
            "line 2 has 3 values, but the first",
        ),
        ("architecture,cifar10_test_200ep\n", "has no architecture below its first line"),
        ("architecture,cifar10_test_200ep\nx,0.9\ny,1\n", "all of cifar10_test_200ep are at mo"),
        ("architecture,a_test_9ep,a_test_9ep\nx,9,9\n", "has the column a_test_9ep twice"),
        ("architecture,a_test_9ep,b_valid_9ep\n", "has the column b_valid_9ep; name it b_val_"),
        ("architecture,a_test_9ep,b_test_200\n", "the column b_test_200; name it b_test_<epochs"),
        ("architecture,a_test_9ep_ssim\nx,inf\n", "a_test_9ep_ssim=inf: give a finite number"),
    ],
)
def test_a_file_that_is_no_table_is_refused_by_what_is_wrong(tmp_path, content, named):
    path = tmp_path / "t.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=named) as refused:
        Table.read(path)
    assert str(refused.value).startswith(f"table={path}: ")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"\xff\xfe\x00\x80" * 10, ": byte 0xff in it is not UTF-8; save it as UTF-8"),
        ("architecture,cifar10_test_200ep\nä,1\n".encode("latin-1"), ": byte 0xe4 in it is not"),
        (b'architecture,cifar10_test_200ep\nx,1\n"y,2\nz,3\n', ": line 3: unexpected end of data"),
        (b'architecture,cifar10_test_200ep\nx,1\n"y"",2\n', ": line 3: unexpected end of data"),
        (b'architecture,cifar10_test_200ep\nx,1\n"y" ,2\n', ": line 3: ',' expected after '\"'"),
        (b"architecture,cifar10_test_200ep\nx,1\n\n,2\n", ": line 4 names no architecture"),
        (b'"architecture,cifar10_test_200ep\nx,1\n', ": line 1: unexpected end of data"),
    ],
)
def test_a_file_that_is_no_utf_8_or_has_an_open_quote_is_refused_by_its_line(
    tmp_path, content, named
):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"table={path}{named}")):
        Table.read(path)
    with pytest.raises(ValueError, match=re.escape(f"table={path}{named}")):
        tabular.check(path)


def test_a_byte_order_mark_quotes_and_empty_lines_are_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbfarchitecture,a_test_200ep\r\n"x, ""y""",90\r\n\r\nz,91\r\n')
    assert Table.read(path).columns == {"a_test_200ep": {'x, "y"': 0.9, "z": 0.91}}


def test_an_unknown_architecture_is_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("architecture,cifar10_test_200ep\nx,90\n")
    with pytest.raises(ValueError, match="it has no architecture y"):
        Table.read(path).truth("y")


def test_the_evaluator_reads_its_column_and_says_so(table):
    evaluator = Tabular(table=str(table), column="cifar10_val_12ep")
    evaluator.begin(context(SPACE))
    chosen = ("nor_conv_3x3",) * 6
    genotype = Genotype("nasbench201", dict(zip(SPACE.rows, chosen, strict=True)))
    assert evaluator(genotype).value == pytest.approx(1 - value(chosen) / 100)
    assert evaluator.report() == {
        "note": "scores are read from the table made-up.csv, column cifar10_val_12ep"
    }


# In a run


def test_test_accuracies_are_not_searched_by(table):
    for column in ("cifar10_test_200ep", "architecture"):
        with pytest.raises(ValueError, match=f"column={column}: use a validation accuracy"):
            Tabular(table=str(table), column=column)
    with pytest.raises(ValueError, match=r"made-up\.csv has cifar10_val_12ep; use one"):
        Tabular(table=str(table), column="cifar100_val_12ep")


@pytest.fixture
def looks(monkeypatch):
    """The genotype files that were there each time a table was read."""
    seen, read = [], Table.read

    def watched(path):
        seen.append(sorted(Path("outputs").rglob("genotype.json")))
        return read(path)

    monkeypatch.setattr(tabular.Table, "read", staticmethod(watched))
    return seen


@pytest.mark.parametrize("strategy", ["darts", "snas", "random evaluator=inherited"])
@pytest.mark.parametrize("verb", [["search"], ["select"]])
def test_no_search_or_selection_reads_the_table(nasrun, table, monkeypatch, strategy, verb):
    """All of a strategy and a selector runs while reading is impossible; then it is looked up."""
    short = ["strategy.num_candidates=1"] if "random" in strategy else []
    words = [*SMALL, *short, *f"strategy={strategy}".split(), f"space.table={table}"]
    written = []

    def unreadable(path):
        written.extend(Path("outputs").rglob("genotype.json"))
        raise AssertionError

    monkeypatch.setattr(tabular.Table, "read", staticmethod(unreadable))
    if verb == ["search"]:
        assert nasrun("search", *words).status == 0
        assert written == []
    else:
        from nasrun.cli.main import dispatch

        with pytest.raises(AssertionError):
            dispatch(["run", "stages=[search,select]", *words])
        assert len(written) == 1
        assert json.loads(written[0].read_text())["space"] == "nasbench201"


def test_the_result_and_the_closing_table_tell_the_truth(nasrun, table, looks):
    words = [*SMALL, "stages=[search,select]", f"space.table={table}", "selector=argmax"]
    answer = nasrun("run", *words)
    assert answer.status == 0, answer.err
    folder = Path("outputs/digits-nasbench201-darts/v001/select/argmax")
    assert looks == [[folder / "genotype.json"]]
    genotype = Genotype.read(folder / "genotype.json")
    known = json.loads((folder / "result.json").read_text())["true"]["cifar10"]
    assert known["accuracy"] == pytest.approx(value(tuple(genotype.values())) / 100)
    assert f"rank {known['rank']:,} of 15,625" in answer.out
    report = json.loads((folder.parents[1] / "report.json").read_text())
    assert report[0]["select"]["true"]["cifar10"] == known


def test_a_table_changes_no_search_and_a_finished_run_can_be_looked_up_later(nasrun, table):
    words = [*SMALL, "stages=[search,select]"]
    assert nasrun("run", *words).status == 0
    run = Path("outputs/digits-nasbench201-darts/v001")
    result = run / "select/magnitude/result.json"
    assert "true" not in json.loads(result.read_text())
    shown = nasrun("show", run, f"table={table}", "format=json")
    truth = json.loads(shown.out)["true"]["cifar10"]
    assert "true" not in json.loads(result.read_text())  # shown only
    assert nasrun("select", f"run={run}", *HERE, f"space.table={table}").status == 0
    assert [path.name for path in (run / "select").iterdir()] == ["magnitude"]
    assert json.loads(result.read_text())["true"]["cifar10"] == truth
    assert nasrun("run", *words, f"space.table={table}").status == 0
    assert [path.name for path in run.parent.iterdir()] == ["v001"]
    assert "table" not in (run / "config.yaml").read_text()
    assert "88.12%" not in nasrun("show", run).out
    assert f"rank {truth['rank']:,} of 15,625" in nasrun("show", run).out
    first, *lines = table.read_text().splitlines()
    others = ["cifar100_test_200ep", "imagenet16_test_200ep"]
    three = table.with_name("three.csv")
    three.write_text("\n".join([",".join([first, *others]), *(f"{line},9,8" for line in lines)]))
    answer = nasrun("select", f"run={run}", *HERE, f"space.table={three}")
    told = "cifar100 9.00%, rank 1 of 15,625 (shared by 15,625); imagenet16 8.00%, rank 1"
    assert told in " ".join(answer.out.split())
    judged = {
        "cifar10": truth,
        "cifar100": {"accuracy": 0.09, "rank": 1, "of": 15_625, "epochs": 200, "ties": 15_624},
        "imagenet16": {"accuracy": 0.08, "rank": 1, "of": 15_625, "epochs": 200, "ties": 15_624},
    }
    assert json.loads(result.read_text())["true"] == judged
    assert json.loads((run / "report.json").read_text())[0]["select"]["true"] == judged
    record = json.loads(nasrun("show", run, "format=json").out)
    assert record["true"] == judged
    assert record["stages"][1]["on"] == "table, cifar10"


def test_a_later_selection_uses_the_table_that_the_search_was_given(nasrun, table):
    assert nasrun("search", *SMALL, f"space.table={table}").status == 0
    assert nasrun("select", "method=argmax").status == 0
    (result,) = Path("outputs").rglob("select/argmax/result.json")
    assert json.loads(result.read_text())["true"]["cifar10"]["of"] == 15_625


@pytest.mark.parametrize("verb", ["search", "run"])
def test_a_bad_table_is_refused_before_anything_runs(nasrun, tmp_path, verb):
    missing = tmp_path / "missing.csv"
    refusal = nasrun(verb, *SMALL, f"space.table={missing}").refusal
    assert f"space.table={missing}: cannot be read" in refusal
    missing.write_text('architecture,cifar10_test_200ep\nx,1\n"y,2\n')
    refusal = nasrun(verb, *SMALL, f"space.table={missing}").refusal
    assert f"space.table={missing}: line 3: unexpected end of data" in refusal
    assert not Path("outputs").exists()


def test_a_table_that_lacks_an_architecture_is_refused_before_anything_runs(
    nasrun, table, tmp_path
):
    lines = table.read_text().splitlines(keepends=True)
    misspelt = tmp_path / "misspelt.csv"
    cell = text_of(*["skip_connect"] * 6)
    misspelt.write_text("".join(lines).replace(cell, cell.replace("skip", "ship", 1)))
    refusal = nasrun("run", *SMALL, f"space.table={misspelt}").refusal
    assert f"space.table={misspelt}: none of its 15,625 lines is the architecture {cell}" in refusal
    assert not Path("outputs").exists()
    part = tmp_path / "part.csv"  # enough for a space with fewer operations
    part.write_text("".join([lines[0], *(line for line in lines[1:] if "conv" not in line)]))
    assert "use a complete table" in nasrun("search", *SMALL, f"space.table={part}").refusal
    few = ["space.operations=[none,skip_connect,avg_pool_3x3]", f"space.table={part}"]
    assert nasrun("search", *SMALL, *few).status == 0


def test_another_table_may_be_given_later_but_no_other_space(nasrun, table, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("architecture,cifar100_test_200ep\nx,90\n")
    assert nasrun("search", *SMALL).status == 0
    assert "none of its 1 lines is the arch" in nasrun("select", f"space.table={other}").refusal
    assert "space.layers" in nasrun("select", "space.layers=4").refusal


def test_tabular_search_is_labelled_and_finds_the_best_of_its_draws(nasrun, table):
    words = [*SMALL, "strategy=random", "evaluator=tabular", "strategy.num_candidates=20"]
    refusal = nasrun("search", *words).refusal
    assert "strategy.evaluator.table=null: give one, space=nasbench201" in refusal
    answer = nasrun("run", "stages=[search,select]", *words, f"space.table={table}")
    assert answer.status == 0, answer.err
    assert "scores are read from the table made-up.csv" in answer.out
    (run,) = Path("outputs").glob("digits-nasbench201-random-tabular/v001")
    searched = json.loads((run / "search/result.json").read_text())
    selected = json.loads((run / "select/fittest/result.json").read_text())
    assert searched["candidates"] == 20
    # the made-up columns add up to one
    assert searched["validation_accuracy"] == pytest.approx(
        1 - selected["true"]["cifar10"]["accuracy"]
    )


def test_a_table_of_another_space_has_no_key_for_it(nasrun, table):
    assert "unknown key" in nasrun("search", f"space.table={table}").refusal


def test_a_published_cell_is_shown_as_the_network_of_its_benchmark(tmp_path, table):
    record = show.genotype("nb201_best", None, None, str(tmp_path), (), str(table))
    assert record["network"]["channels"] == 16
    assert record["network"]["layers"] == 15
    assert record["params"] == 1_073_466  # 4 of 3x3 and 1 of 1x1 an edge: see test_nasbench201
    assert set(record["true"]) == {"cifar10"}


def test_an_amended_result_keeps_what_it_had(tmp_path):
    folder = StageFolder(tmp_path, "mark")
    (tmp_path / "result.json").write_text('{"genotype": "x", "seconds": 1.0}')
    before = (tmp_path / "result.json").stat().st_mtime_ns
    folder.amend({"seconds": 1.0})
    assert (tmp_path / "result.json").stat().st_mtime_ns == before
    folder.amend({"true": {}})
    assert folder.result == {"genotype": "x", "seconds": 1.0, "true": {}}
