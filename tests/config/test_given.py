"""The architecture on a command line: by name, in a file, or written out."""

import json

import pytest
import torch

import nasrun as package
from nasrun.config import build, compose, options, resolve
from nasrun.config.given import Given, placed_architecture, several
from nasrun.costs.cost import params
from nasrun.genotype import Misfit
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.layout import Layout

OPERATIONS = ("none", "skip_connect", "sep_conv_3x3")
EDGES = [("skip_connect", 0), ("sep_conv_3x3", 1)] * 4
TEXT = f"Genotype(normal={EDGES}, normal_concat=[4, 5], reduce={EDGES}, reduce_concat=range(2, 6))"
STRING = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
SMALL = ["retrain.epochs=1", "retrain.channels=2", "retrain.layers=3", "retrain.auxiliary=false",
         "images=64", "retrain.batch_size=16", "budget.threads=1", "budget.device=cpu"]  # fmt: skip


def space(option):
    return build(resolve(compose([f"space={option}"]).config["space"]), "space")


def read(name, option="darts"):
    return Given.find(name).within(space(option), option, seed=0)


def test_several_names_have_commas_between_and_what_is_written_out_is_one():
    assert several("darts_v2,snas_mild,a/b.json") == ["darts_v2", "snas_mild", "a/b.json"]
    assert several(TEXT) == [TEXT]
    assert several(STRING) == [STRING]
    assert several(",") == several("") == []


def test_a_file_of_many_architectures_has_one_by_name(here):
    other = TEXT.replace("sep_conv_3x3", "dil_conv_3x3")
    (here / "genotypes.py").write_text(f"import os\nA = {TEXT}\nB = {other}\nBEST = B\n")
    assert Given.find("genotypes.py:A").short == "A"
    assert read("genotypes.py:A")["normal/2-1"] == "sep_conv_3x3"
    assert read("genotypes.py:BEST") == read("genotypes.py:B")
    assert read("genotypes.py:B")["normal/2-1"] == "dil_conv_3x3"
    with pytest.raises(
        ValueError, match=r"genotype=genotypes.py: .*FILE:NAME, where NAME is A or B"
    ):
        read("genotypes.py")
    with pytest.raises(ValueError, match=r"genotype=genotypes.py:C: nothing in it is named C; .*A"):
        read("genotypes.py:C")
    with pytest.raises(
        ValueError, match=r"genotype=absent.py:C: neither a published cell nor a file"
    ):
        read("absent.py:C")


def test_a_file_is_read_whatever_its_encoding_and_where_home_is(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    expected = read(TEXT)
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (here / "cell.txt").write_text(TEXT, encoding=encoding)
        assert read("~/cell.txt") == expected
    assert Given.find("~/cell.txt").short == "cell"
    (here / "cell.txt").write_text(f"A = {TEXT}")
    assert read("~/cell.txt:A") == expected


def test_an_architecture_may_be_typed(here):
    assert read(STRING, "nasbench201") == read("9930", "nasbench201").changed(
        {"cell/2-0": "none", "cell/3-1": "none", "cell/3-2": "skip_connect"}
    )
    assert Given.find("9930").short == "nats_9930"
    assert Given.find(STRING).short == Given.find(f" {STRING}").short
    assert Given.find(TEXT).home == "darts"
    assert Given.find("k3e6 skip_connect k5e3w50se").home == "mobile"


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("mobile", "k3e6 skip_connect k5e3"),
        ("morph", "layers conv3_w1 pool conv3_w2; skips 1-3=add"),
        ("nasbench101", "input conv3x3-bn-relu output 011/001/000"),
        ("nasbench201", STRING),
        ("darts", "normal skip_connect@0 | - | - | -; reduce -"),
    ],
)
def test_comments_and_quotes_around_an_architecture_in_a_file_are_left_out(here, option, text):
    settings = {"mobile": ["space.layers=3"]}.get(option, [])
    made = build(resolve(compose([f"space={option}", *settings]).config["space"]), "space")
    for content in (f"# best\n{text}", f"{text}  # seed 3", f'"{text}"\n', f"# best\n'{text}'\n"):
        (here / "cell.txt").write_text(content)
        given = Given.find("cell.txt")
        assert given.home == option
        assert given.within(made, option, seed=0) == made.parse(text)
    (here / "cells.py").write_text(f'OLD = ""\nBEST = "{text}"  # seed 3\n')
    assert Given.find("cells.py:BEST").within(made, option, seed=0) == made.parse(text)


def test_an_architecture_in_a_comment_is_read_where_there_is_no_other(here):
    (here / "log.txt").write_text(f"epoch 3\n# {TEXT}\n")
    assert read("log.txt") == read(TEXT)


@pytest.mark.parametrize("option", options("space"))
def test_what_is_printed_of_an_architecture_of_any_space_can_be_typed(option):
    made = space(option)
    genotype = made.sample(torch.Generator().manual_seed(0))
    text = made.render(genotype)
    assert several(text) == [text]
    assert Given.find(text).home == made.name
    assert read(text, option) == genotype


def test_an_architecture_beyond_several_limits_of_a_space_is_placed_in_one_that_has_it():
    text = "layers conv7_w32 conv3_w1"
    _, genotype, made, settings = placed_architecture(text, None, ())
    assert made.render(genotype) == f"{text}; skips none"
    assert (settings["kernels"], settings["widest"]) == ([1, 3, 5, 7], 32)


def test_another_space_is_named(here):
    (here / "cell.txt").write_text(f"arch {STRING}")
    for name in ("cell.txt", STRING, "9930", "nb201_best"):
        with pytest.raises(
            ValueError, match=r"space=darts does not fit: .*one of space=nasbench201"
        ):
            read(name)
    for name in (TEXT, "darts_v2"):
        with pytest.raises(
            ValueError, match=r"space=nasbench201 does not fit: .*one of space=darts"
        ):
            read(name, "nasbench201")
    (here / "own.json").write_text(json.dumps(read("9930", "nasbench201").to_json()))
    with pytest.raises(ValueError, match=r"own.json: space=darts .*one of space=nasbench201"):
        read("own.json")
    assert Given.find("own.json").home == "nasbench201"


def test_a_json_file_is_a_genotype_of_ours_or_a_form_of_others(here):
    (here / "own.json").write_text(json.dumps(read(TEXT).to_json()))
    assert read("own.json") == read(TEXT)
    fields = {"normal": EDGES, "normal_concat": [4, 5], "reduce": EDGES}
    (here / "fields.json").write_text(json.dumps(fields))
    assert read("fields.json") == read(TEXT)
    for content in (
        str(fields),
        json.dumps([EDGES, [4, 5], EDGES]),
        json.dumps(TEXT),
        json.dumps({"epoch": 3, "genotype": fields}),
        json.dumps({"epoch": 3, "genotype": TEXT}),
    ):
        (here / "other.json").write_text(content)
        assert read("other.json") == read(TEXT)
    (here / "other.json").write_text(json.dumps(STRING))
    assert read("other.json", "nasbench201") == read(STRING, "nasbench201")
    for content in ("", "[", "[1]", "null", "{}", '{"schema": 1}', "[" * 9999, "NaN", '"a"'):
        (here / "bad.json").write_text(content)
        with pytest.raises(ValueError, match=r"genotype=bad.json: ") as caught:
            read("bad.json")
        assert len(str(caught.value).splitlines()) == 1


def test_nothing_that_can_be_read_is_refused_by_what_is_there(here):
    (here / "run").mkdir()
    for name, told in (
        ("run", "is a folder; give the genotype.json in it"),
        ("darts_v3", "did you mean darts_v"),
        ("~nobody/cell.txt", "neither a published cell nor a file"),
        ("\0", "neither a published cell nor a file"),
        ("x" * 9999, "neither a published cell nor a file"),
    ):
        with pytest.raises(ValueError, match=told) as caught:
            Given.find(name)
        assert len(str(caught.value)) < 500
    (here / "large.txt").write_text(TEXT + " " * 2**20)
    (here / "binary.txt").write_bytes(b"\xc3\x28")
    (here / "random.txt").write_text(TEXT)
    for name in ("large.txt", "binary.txt", "random.txt"):
        with pytest.raises(ValueError, match=f"genotype={name}: "):
            Given.find(name)


def test_a_smaller_cell_is_refused_with_the_setting_that_would_do(here):
    text = f"Genotype(normal={EDGES[:6]}, reduce={EDGES[:6]})"
    with pytest.raises(Misfit, match=r"^genotype=.*set space.nodes=3$") as caught:
        read(text)
    assert caught.value.settings == {"nodes": 3}


def test_a_cell_that_joins_some_nodes_is_retrained_limited_and_loaded_as_such(nasrun, here):
    text = f"Genotype(normal={EDGES[:4]}, normal_concat=[3], reduce={EDGES[:4]})"
    (here / "cells.py").write_text(f"MINE = {text}")
    two = DartsSpace(operations=OPERATIONS, nodes=2, kept_edges=2, channels=2, layers=3)
    layout = Layout(channels=2, layers=3)
    made = two.network(two.parse(text), inputs=1, outputs=10, layout=layout)
    size = params(made)
    words = [*SMALL, "space.nodes=2", f"space.operations=[{','.join(OPERATIONS)}]"]
    words.append(f"budget.max_params_m={(size + 0.5) / 1e6:.7f}")  # joining all would be more
    for _ in range(2):
        answer = nasrun("retrain", "genotype=cells.py:MINE", *words)
        assert answer.status == 0, answer.err
    run = here / "outputs/digits-darts-MINE/v001"
    assert [path.name for path in run.parent.iterdir()] == ["v001"]
    result = json.loads((run / "retrain/MINE/result.json").read_text())
    assert result["genotype"].count(" concat 3;") == 1
    assert result["params"] == size
    loaded = package.load(run)
    assert loaded.genotype.concat == {"normal": (3,)}
    assert {name: tensor.shape for name, tensor in loaded.network.state_dict().items()} == {
        name: tensor.shape for name, tensor in made.state_dict().items()
    }
    words[-1] = f"budget.max_params_m={(size - 0.5) / 1e6:.7f}"
    assert "budget.max_params_m" in nasrun("retrain", "genotype=cells.py:MINE", *words).refusal
